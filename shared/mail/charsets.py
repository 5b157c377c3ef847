"""Bytes into text, whatever charset they claim to be in (rule 7.7)."""

from __future__ import annotations

import codecs
import re
from encodings import normalize_encoding
from encodings.aliases import aliases
from functools import lru_cache

from shared.mail.defects import Defects, shown

_LONGEST_NAME = 80

_DETECTED_FROM = 16 * 1024
"""Bytes that a charset is guessed from: guessing costs far more than decoding."""

# What mailers call a charset, and the superset that they really send.
_SUPERSETS = {
    "ascii": "cp1252",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "hz_gb_2312": "hz",
    "iso8859_11": "cp874",
    "iso8859_9": "cp1254",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_8_i": "iso8859_8",
    "ks_c_5601_1987": "cp949",
    "latin_1": "cp1252",
    "shift_jis": "cp932",
    "tis_620": "cp874",
    "unicode_1_1_utf_7": "utf_7",
    "utf8mb4": "utf_8",
    "windows_874": "cp874",
    "x_euc_jp": "euc_jp",
    "x_gbk": "gb18030",
    "x_sjis": "cp932",
    "x_windows_949": "cp949",
}

# These are codecs of Python's and no charsets of mail; some of them are slow on purpose-made input.
_NO_CHARSETS = frozenset(
    {
        "base64_codec", "bz2_codec", "hex_codec", "idna", "mbcs", "oem", "punycode", "quopri_codec",
        "raw_unicode_escape", "rot_13", "undefined", "unicode_escape", "uu_codec", "zlib_codec",
    }
)  # fmt: skip

_KNOWN = (frozenset(aliases.values()) | frozenset({"iso8859_1", "utf_8_sig"})) - _NO_CHARSETS

# Those in which a byte below 128 may be something else than ASCII.
_NOT_ASCII = frozenset({"utf_7", "hz"})
_NOT_ASCII_PREFIXES = ("utf_16", "utf_32", "iso2022", "cp037", "cp273", "cp424", "cp500", "cp1026", "cp1140", "cp875")

# cp1252 with the five bytes that it leaves undefined read as the C1 controls they are in Latin-1: never fails.
_CP1252 = "".join(bytes([n]).decode("cp1252", "ignore") or chr(n) for n in range(256))

_META = re.compile(rb"<meta\s[^>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_BOMS = (
    (b"\xef\xbb\xbf", "utf_8_sig"),
    (b"\xff\xfe\x00\x00", "utf_32"),
    (b"\xff\xfe", "utf_16"),
    (b"\xfe\xff", "utf_16"),
)


def clean(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates become U+FFFD, paired ones the character that they stand for."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def western(data: bytes) -> str:
    """Bytes as Windows-1252, never failing."""
    return codecs.charmap_decode(data, "strict", _CP1252)[0]


def codec_of(charset: str) -> str | None:
    """The codec that reads a charset, or None if the charset is unknown."""
    name = _codec_named(charset)
    name = _SUPERSETS.get(name, name)
    return name if name in _KNOWN else None


def _codec_named(charset: str) -> str:
    """Python's name for a charset, without loading anything.

    A look-up in `codecs` by an unknown name tries to import a module, and remembers the name for good.
    """
    return _looked_up(charset) if len(charset) <= _LONGEST_NAME else ""


@lru_cache(maxsize=256)
def _looked_up(charset: str) -> str:
    if not charset.isascii() or "\0" in charset:
        return ""
    name = normalize_encoding(charset.strip(" '\"").lower())
    return aliases.get(name) or aliases.get(name.replace("_", "")) or name


def is_ascii_compatible(codec: str) -> bool:
    """Whether bytes below 128 are always ASCII in it."""
    return codec not in _NOT_ASCII and not codec.startswith(_NOT_ASCII_PREFIXES)


def declared_in_html(data: bytes) -> str | None:
    """The charset that a page names in its first kilobyte."""
    match = _META.search(data[:1024])
    return match[1].decode("ascii") if match else None


def decode(data: bytes, charset: str | None, defects: Defects, *, detect: bool = False) -> str:
    """Bytes as text.

    Args:
        data: the bytes.
        charset: what they claim to be in, or None.
        defects: where repairs are noted.
        detect: whether the charset of bytes that name none, or an unknown one, may be guessed (slow).
    """
    codec = codec_of(charset) if charset else "cp1252"
    if data.isascii() and (codec is None or is_ascii_compatible(codec)):
        if codec is None:
            defects.add(f"the charset {shown(charset or '')} is unknown: read as ASCII")
        return data.decode("ascii")
    if bom := next((name for mark, name in _BOMS if data.startswith(mark)), None):
        return clean(data.decode(bom, "replace"))
    if codec is None or charset is None:
        return _undeclared(data, charset, defects, detect=detect)
    if codec == "cp1252":
        return _as_western(data, charset, defects)
    return _declared(data, charset, codec, defects)


def _declared(data: bytes, charset: str, codec: str, defects: Defects) -> str:
    try:
        return clean(data.decode(codec))
    except UnicodeError:
        pass
    if codec != "utf_8":
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            defects.add(f"some bytes are not in the charset {shown(charset)}: replaced")
            return _with_replacements(data, codec)
        defects.add(f"the text is not in the charset {shown(charset)} but in UTF-8")
        return text
    text = data.decode("utf-8", "replace")
    wrong = text.count("\N{REPLACEMENT CHARACTER}")
    right = sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text)))
    if wrong > right:
        defects.add("the text is not in UTF-8: read as Windows-1252")
        return western(data)
    defects.add("some bytes are not UTF-8: replaced")
    return text


def _with_replacements(data: bytes, codec: str) -> str:
    try:
        return clean(data.decode(codec, "replace"))
    except UnicodeError:  # a few codecs (UTF-16 and its kin) give up rather than replace
        return western(data)


def _as_western(data: bytes, charset: str, defects: Defects) -> str:
    """Latin-1 and Windows-1252, and ASCII that is not: there, UTF-8 is likelier than either."""
    if _codec_named(charset) == "ascii":
        defects.add("the text is said to be ASCII and is not")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return western(data)


def _undeclared(data: bytes, charset: str | None, defects: Defects, *, detect: bool) -> str:
    what = f"the charset {shown(charset)} is unknown" if charset else "no charset is named"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        defects.add(f"{what}: read as UTF-8")
        return text
    codec = _detected(data) if detect else None
    if codec is None:
        defects.add(f"{what}: read as Windows-1252")
        return western(data)
    defects.add(f"{what}: read as {codec}, by its looks")
    return western(data) if codec == "cp1252" else _with_replacements(data, codec)


def _detected(data: bytes) -> str | None:
    from charset_normalizer import from_bytes  # noqa: PLC0415 - slow to import, and few messages need it

    best = from_bytes(data[:_DETECTED_FROM], steps=5, chunk_size=512).best()
    codec = codec_of(best.encoding) if best is not None else None
    # Two bytes of Latin-1 may as well be one letter of UTF-16, which nobody sends unnamed.
    return codec if codec is not None and is_ascii_compatible(codec) else None
