"""Bytes into text, whatever charset they claim to be in (rule 7.7)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from shared.mime import iso2022
from shared.mime.charset_labels import codec_for, is_ascii_compatible
from shared.mime.defects import Defects, shown

_MULTI_BYTE = frozenset(
    {
        "big5hkscs", "cp932", "cp949", "cp950", "euc_jis_2004", "euc_jisx0213", "euc_jp", "gb18030", "johab",
        "shift_jis_2004", "shift_jisx0213",
    }
)  # fmt: skip

# Single-byte charsets that have letters from 80 to BF, where UTF-8 has its continuation bytes: there, a short text may
# be valid UTF-8 by chance.
_LETTERS_BELOW_C0 = (
    "cp4",
    "cp7",
    "cp8",
    "iso8859_5",
    "mac_",
    "hp_roman8",
    "kz1048",
    "ptcp154",
    "koi8_t",
    "cp1006",
    "cp1125",
)
_SEVERAL = 2
_SEVERAL_WITH_LETTERS = 4
_SEQUENCE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")

# cp1252 with the five bytes that it leaves undefined read as the C1 controls they are in Latin-1: never fails.
_CP1252 = "".join(bytes([n]).decode("cp1252", "ignore") or chr(n) for n in range(256))

_META = re.compile(rb"<meta\s[^>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_BOMS = (
    (b"\xef\xbb\xbf", "utf_8_sig"),
    (b"\xff\xfe\x00\x00", "utf_32"),
    (b"\xff\xfe", "utf_16"),
    (b"\xfe\xff", "utf_16"),
)
_MARKS = tuple(mark for mark, _ in _BOMS)


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


def declared_in_html(data: bytes) -> str | None:
    """Return the charset that a page names in its first kilobyte.

    A page that names UTF-16 where its markup is ASCII is in UTF-8 (HTML Standard, 13.2.3.2).
    """
    match = _META.search(data[:1024])
    if match is None:
        return None
    label = match[1].decode("ascii")
    codec = codec_for(label)
    return label if codec is None or is_ascii_compatible(codec) or codec.startswith("iso2022") else "utf-8"


def decode(data: bytes, charset: str | None, defects: Defects, *, inner: str | None = None) -> str:
    """Return bytes as text.

    Args:
        data: the bytes.
        charset: the charset that they are declared to be in, or None.
        defects: where repairs are noted; has the message's hints.
        inner: the charset that the text itself names (`meta` in HTML), for text that declares no other, or a wrong one.
    """
    if charset is None:
        charset, inner = inner, None
    codec = codec_for(charset) if charset else None
    is_ascii = data.isascii()
    if codec in {None, "ascii", "utf_8"} and b"\x1b" in data and iso2022.has_designation(data):
        defects.add(f"{_undeclared_because(charset)}: the text has escape sequences of ISO-2022, and is read so")
        return iso2022.decode(data)[0]
    if is_ascii and (codec is None or is_ascii_compatible(codec)):
        if charset and codec is None:
            defects.add(f"the charset {shown(charset)} is unknown: read as ASCII")
        return data.decode("ascii")
    if data.startswith(_MARKS) and (bom := next((name for mark, name in _BOMS if data.startswith(mark)), None)):
        return clean(data.decode(bom, "replace"))
    if codec is None or codec == "ascii":
        return _undeclared(data, charset, defects, inner)
    if codec.startswith("iso2022"):
        return _iso2022(data, charset or "", codec, defects)
    if codec == "utf_8":
        return _utf_8(data, defects, inner)
    return _declared(data, charset or "", codec, defects)


def decode_header(raw: bytes, defects: Defects) -> str:
    """Return a header's raw bytes as text: UTF-8 (RFC 6532), ISO-2022-JP (RFC 1468), or as the message hints."""
    if b"\x1b" in raw and iso2022.has_designation(raw):
        defects.add("a header has raw ISO-2022 text")
        return iso2022.decode(raw)[0]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    codec, named = defects.charset_hints.codec_of(raw)
    how = ", which the message names elsewhere" if named else "" if codec == "cp1252" else ", by its looks"
    defects.add(f"a header has raw 8-bit text that is not UTF-8: read as {_name(codec)}{how}")
    return _with_replacements(raw, codec)


def _undeclared_because(charset: str | None) -> str:
    if not charset:
        return "no charset is named"
    codec = codec_for(charset)
    if codec is None:
        return f"the charset {shown(charset)} is unknown"
    return "the text is said to be ASCII and is not" if codec == "ascii" else "the text is not in UTF-8"


def _undeclared(data: bytes, charset: str | None, defects: Defects, inner: str | None) -> str:
    because = _undeclared_because(charset)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _as_hinted(data, because, defects, inner)
    defects.add(f"{because}: read as UTF-8")
    return text


def _as_hinted(data: bytes, because: str, defects: Defects, inner: str | None) -> str:
    codec, named = defects.charset_hints.codec_of(data, inner)
    how = ", which the message names elsewhere" if named else "" if codec == "cp1252" else ", by its looks"
    defects.add(f"{because}: read as {_name(codec)}{how}")
    return _with_replacements(data, codec)


def _name(codec: str) -> str:
    return "Windows-1252" if codec == "cp1252" else codec


def _iso2022(data: bytes, charset: str, codec: str, defects: Defects) -> str:
    if not data.isascii() and not iso2022.has_designation(data):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return _as_hinted(data, f"the text is not in the charset {shown(charset)}", defects, charset)
        defects.add(f"the text is not in the charset {shown(charset)} but in UTF-8")
        return text
    text, whole = iso2022.decode(data, korean=codec == "iso2022_kr")
    if not whole:
        defects.add(f"some bytes are not in the charset {shown(charset)}: replaced")
    return text


def _utf_8(data: bytes, defects: Defects, inner: str | None) -> str:
    try:
        return data.decode("utf-8")  # which refuses surrogates
    except UnicodeDecodeError:
        pass
    text = data.decode("utf-8", "replace")
    wrong = text.count("\N{REPLACEMENT CHARACTER}")
    right = sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text)))
    if wrong > right:
        return _as_hinted(data, "the text is not in UTF-8", defects, inner)
    defects.add("some bytes are not UTF-8: replaced")
    return text


def _declared(data: bytes, charset: str, codec: str, defects: Defects) -> str:
    if codec not in _MULTI_BYTE and is_ascii_compatible(codec) and (text := _utf_8_by_looks(data, codec)) is not None:
        defects.add(f"the text is not in the charset {shown(charset)} but in UTF-8")
        return text
    if codec == "cp1252":
        return western(data)
    try:
        return clean(data.decode(codec))
    except UnicodeError:
        pass
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = _with_replacements(data, codec)
        if "\N{REPLACEMENT CHARACTER}" in text:
            defects.add(f"some bytes are not in the charset {shown(charset)}: replaced")
        return text
    defects.add(f"the text is not in the charset {shown(charset)} but in UTF-8")
    return text


def _utf_8_by_looks(data: bytes, codec: str) -> str | None:
    """Return text as UTF-8 that is declared to be in a single-byte charset, or None if it is not UTF-8.

    One sequence is not enough: it may be two letters, or a letter and a symbol.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    several = _SEVERAL_WITH_LETTERS if codec.startswith(_LETTERS_BELOW_C0) else _SEVERAL
    matches = _SEQUENCE.finditer(data)
    return text if all(next(matches, None) for _ in range(several)) else None


def _with_replacements(data: bytes, codec: str) -> str:
    if codec == "cp1252":
        return western(data)
    try:
        text = clean(data.decode(codec, "replace"))
    except UnicodeError:  # a few codecs (UTF-16 and its kin) give up rather than replace
        return western(data)
    if codec in _COMPANIONS and 0 < text.count("\N{REPLACEMENT CHARACTER}") <= _MOST_FROM_COMPANION:
        return clean(data.decode(codec, _COMPANIONS[codec]))
    return text


def _companion(read: Callable[[bytes], str]) -> Callable[[UnicodeError], tuple[str, int]]:
    """Return an error handler that decodes two bytes in another way, and replaces what that does not decode either."""

    def handle(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        code = error.object[error.start : error.start + 2]
        char = read(code) if len(code) == 2 and code[0] >= 0x80 else ""  # noqa: PLR2004 - a double-byte character
        return (char, error.start + 2) if char else ("\N{REPLACEMENT CHARACTER}", error.end)

    return handle


# Characters that mailers send in these charsets and Python's codecs do not have: code page 51932 (NEC row 13, IBM
# extensions) in EUC-JP, code page 950 (the euro sign) in Big5 and the other way round (Hong Kong's characters).
_MOST_FROM_COMPANION = 5000
_COMPANIONS = {"euc_jp": "mailroom-euc-jp", "big5hkscs": "mailroom-big5", "cp950": "mailroom-cp950"}
codecs.register_error("mailroom-euc-jp", _companion(iso2022.cp932_pair))
codecs.register_error("mailroom-big5", _companion(lambda code: iso2022.decoded_pair(code, "cp950")))
codecs.register_error("mailroom-cp950", _companion(lambda code: iso2022.decoded_pair(code, "big5hkscs")))
