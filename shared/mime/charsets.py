"""Decode bytes to text, whatever charset they declare (rule 7.7)."""

from __future__ import annotations

import codecs
import re

from shared.mime import iso2022
from shared.mime.charset_labels import codec_for, is_ascii_compatible
from shared.mime.code_tables import decode_code_table, decode_with_fallback
from shared.mime.damaged_utf8 import count_western, decode_damaged, decode_damaged_against, has_sequences
from shared.mime.defects import Defects, quote_excerpt

_MULTI_BYTE = frozenset(
    {
        "big5hkscs", "cp932", "cp949", "cp950", "euc_jis_2004", "euc_jisx0213", "euc_jp", "gb18030", "johab",
        "shift_jis_2004", "shift_jisx0213",
    }
)  # fmt: skip

# Single-byte charsets with letters from 80 to BF, the range of UTF-8 continuation bytes. A short text in them may be
# valid UTF-8 by coincidence.
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
_MIN_SEQUENCES = 2
_MIN_SEQUENCES_WITH_LETTERS = 4

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_MIN_WORDS = 3
_MAX_PIECES = 10_000  # limits the memory for a hostile list of addresses

# cp1252, with its five undefined bytes mapped to the C1 controls of Latin-1, so that decoding never fails.
_CP1252 = "".join(bytes([n]).decode("cp1252", "ignore") or chr(n) for n in range(256))

_META = re.compile(rb"<meta\s[^>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_BOMS = (
    (b"\xef\xbb\xbf", "utf_8_sig"),
    (b"\xff\xfe\x00\x00", "utf_32"),
    (b"\xff\xfe", "utf_16"),
    (b"\xfe\xff", "utf_16"),
)
_BOM_BYTES = tuple(bom for bom, _ in _BOMS)


def replace_surrogates(text: str) -> str:
    """Return text that UTF-8 can encode: paired surrogates become their character, lone surrogates become U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def decode_windows_1252(data: bytes) -> str:
    """Decode bytes as Windows-1252 without ever failing."""
    return codecs.charmap_decode(data, "strict", _CP1252)[0]


def html_charset(data: bytes) -> str | None:
    """Return the charset that an HTML page names in its first kilobyte.

    A page that names UTF-16 and has ASCII markup is in UTF-8 (HTML Standard, 13.2.3.2).
    """
    match = _META.search(data[:1024])
    if match is None:
        return None
    label = match[1].decode("ascii")
    codec = codec_for(label)
    return label if codec is None or is_ascii_compatible(codec) or codec.startswith("iso2022") else "utf-8"


def decode(data: bytes, charset: str | None, defects: Defects, *, inner: str | None = None) -> str:
    """Decode bytes to text.

    Args:
        data: the bytes.
        charset: the declared charset, or None.
        defects: collects the repairs, and provides the message's charset hints.
        inner: the charset that the text itself names (`meta` in HTML), used without a correct declared charset.
    """
    if charset is None:
        charset, inner = inner, None
    codec = codec_for(charset) if charset else None
    is_ascii = data.isascii()
    if codec in {None, "ascii", "utf_8"} and b"\x1b" in data and iso2022.has_designation(data):
        defects.add(f"{_undeclared_reason(charset)}: the text has escape sequences of ISO-2022: read as ISO-2022")
        return iso2022.decode(data)[0]
    if is_ascii and (codec is None or is_ascii_compatible(codec)):
        if charset and codec is None:
            defects.add(f"the charset {quote_excerpt(charset)} is unknown: read as ASCII")
        return data.decode("ascii")
    if data.startswith(_BOM_BYTES) and (encoding := next((name for bom, name in _BOMS if data.startswith(bom)), None)):
        return replace_surrogates(data.decode(encoding, "replace"))
    if codec is None or codec == "ascii":
        return _decode_undeclared(data, charset, defects, inner)
    if codec.startswith("iso2022"):
        return _decode_iso2022(data, charset or "", codec, defects)
    if codec == "utf_8":
        return _decode_utf_8(data, defects, inner)
    return _decode_declared(data, charset or "", codec, defects)


def decode_header(raw: bytes, defects: Defects) -> str:
    """Decode a header's raw bytes: UTF-8 (RFC 6532), ISO-2022-JP (RFC 1468), or a charset from the message's hints."""
    if b"\x1b" in raw and iso2022.has_designation(raw):
        defects.add("a header has raw ISO-2022 text")
        return iso2022.decode(raw)[0]
    if (text := _decode_strictly(raw)) is not None:
        if codec := defects.charset_hints.multi_byte_codec(raw):
            defects.add(f"a header has raw 8-bit text: read as {codec}, which the message names elsewhere")
            return decode_code_table(raw, codec)
        return text
    if b"@" in raw and 0 < raw.count(b",") <= _MAX_PIECES and (text := _decode_pieces(raw, defects)) is not None:
        return text
    return _decode_raw(raw, defects)


def _decode_pieces(raw: bytes, defects: Defects) -> str | None:
    """Decode a list of addresses in which some names are in UTF-8 and others are not, or return None.

    No charset of mail has the comma within a character.
    """
    pieces = raw.split(b",")
    decoded = [_decode_strictly(piece) for piece in pieces]
    utf_8 = b",".join(piece for piece, text in zip(pieces, decoded, strict=True) if text is not None)
    if utf_8.isascii() or not (count_western(utf_8) or has_sequences(utf_8)):
        return None
    others = b",".join(piece for piece, text in zip(pieces, decoded, strict=True) if text is None)
    rest = iter(_decode_raw(others, defects).split(","))
    return ",".join(next(rest, "") if text is None else text for text in decoded)


def _decode_strictly(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _decode_raw(raw: bytes, defects: Defects) -> str:
    """Decode a header's bytes that are not valid UTF-8."""
    if (text := decode_damaged(raw, named=defects.charset_hints.names_utf_8())) is not None:
        defects.add("a header has raw 8-bit text with bytes that are not UTF-8: replaced")
        return text
    codec, is_named = defects.charset_hints.choose_codec(raw)
    source = ", which the message names elsewhere" if is_named else "" if codec == "cp1252" else ", a guess"
    defects.add(f"a header has raw 8-bit text that is not UTF-8: read as {_charset_name(codec)}{source}")
    return _decode_with_replacements(raw, codec)


def _undeclared_reason(charset: str | None) -> str:
    if not charset:
        return "no charset is named"
    codec = codec_for(charset)
    if codec is None:
        return f"the charset {quote_excerpt(charset)} is unknown"
    return "the text is declared ASCII and is not" if codec == "ascii" else "the text is not in UTF-8"


def _decode_undeclared(data: bytes, charset: str | None, defects: Defects, inner: str | None) -> str:
    reason = _undeclared_reason(charset)
    text = _decode_strictly(data)
    if text is not None and (codec := defects.charset_hints.multi_byte_codec(data)):
        defects.add(f"{reason}: read as {codec}, which the message names elsewhere")
        return decode_code_table(data, codec)
    if text is None:
        text = decode_damaged(data)
        if text is None:
            return _decode_with_hints(data, reason, defects, inner)
        defects.add("some bytes are not UTF-8: replaced")
    defects.add(f"{reason}: read as UTF-8")
    return text


def _decode_with_hints(data: bytes, reason: str, defects: Defects, inner: str | None) -> str:
    codec, is_named = defects.charset_hints.choose_codec(data, inner)
    source = ", which the message names elsewhere" if is_named else "" if codec == "cp1252" else ", a guess"
    defects.add(f"{reason}: read as {_charset_name(codec)}{source}")
    return _decode_with_replacements(data, codec)


def _charset_name(codec: str) -> str:
    return "Windows-1252" if codec == "cp1252" else codec


def _decode_iso2022(data: bytes, charset: str, codec: str, defects: Defects) -> str:
    if not data.isascii() and not iso2022.has_designation(data):
        utf_8 = _decode_strictly(data) or decode_damaged(data)
        if utf_8 is None:
            reason = f"the text is not in the charset {quote_excerpt(charset)}"
            return _decode_with_hints(data, reason, defects, charset)
        defects.add(f"the text is not in the charset {quote_excerpt(charset)} but in UTF-8")
        return utf_8
    text, complete = iso2022.decode(data, korean=codec == "iso2022_kr")
    if not complete:
        defects.add(f"some bytes are not in the charset {quote_excerpt(charset)}: replaced")
    return text


def _decode_utf_8(data: bytes, defects: Defects, inner: str | None) -> str:
    text = _decode_strictly(data)  # rejects surrogates
    if text is not None:
        return text
    text = decode_damaged(data, named=True)
    if text is None:
        text = data.decode("utf-8", "replace")
        error_count = text.count("\N{REPLACEMENT CHARACTER}")
        decoded_count = sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text)))
        if error_count > decoded_count:
            return _decode_with_hints(data, "the text is not in UTF-8", defects, inner)
    defects.add("some bytes are not UTF-8: replaced")
    return text


def _decode_declared(data: bytes, charset: str, codec: str, defects: Defects) -> str:
    if codec in _MULTI_BYTE or not is_ascii_compatible(codec):
        text = _decode_as_certain_utf_8(data, codec)
    else:
        text = _decode_as_probable_utf_8(data, codec)
    if text is not None:
        defects.add(f"the text is not in the charset {quote_excerpt(charset)} but in UTF-8")
        return text
    if codec == "cp1252":
        return decode_windows_1252(data)
    try:
        return replace_surrogates(decode_code_table(data, codec))
    except UnicodeError:
        pass
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = _decode_with_replacements(data, codec)
        if "\N{REPLACEMENT CHARACTER}" in text:
            defects.add(f"some bytes are not in the charset {quote_excerpt(charset)}: replaced")
        return text
    defects.add(f"the text is not in the charset {quote_excerpt(charset)} but in UTF-8")
    return text


def _decode_as_probable_utf_8(data: bytes, codec: str) -> str | None:
    """Return text in UTF-8 that declares a single-byte charset, or None if it is not UTF-8.

    A single multi-byte sequence is not enough: it may be two letters, or a letter and a symbol.
    """
    minimum = _MIN_SEQUENCES_WITH_LETTERS if codec.startswith(_LETTERS_BELOW_C0) else _MIN_SEQUENCES
    text = _decode_strictly(data)
    if text is None:
        return decode_damaged_against(codec, data, minimum)
    return text if has_sequences(data, minimum) or count_western(data) >= _MIN_SEQUENCES else None


def _decode_as_certain_utf_8(data: bytes, codec: str) -> str | None:
    """Return text in UTF-8 that declares a multi-byte charset, or None if it may be in that charset.

    Real text in a double-byte charset is not valid UTF-8 beyond three characters, and has common characters. Real text
    in UTF-16 has NUL in each space and line end.
    """
    text = _decode_strictly(data)
    if text is None:
        return None
    if codec.startswith(("utf_16", "utf_32")):
        words = len(data.split(None, _MIN_WORDS))
        return text if not _CONTROL.search(data) and (words >= _MIN_WORDS or count_western(data)) else None
    if count_western(data) >= _MIN_SEQUENCES:
        return text
    if not has_sequences(data):
        return None
    from shared.mime.charset_guess import is_common_text  # noqa: PLC0415 - few messages need it, and its tables are large

    return None if is_common_text(data, codec) else text


def _decode_with_replacements(data: bytes, codec: str) -> str:
    if codec == "cp1252":
        return decode_windows_1252(data)
    try:
        return replace_surrogates(decode_with_fallback(data, codec))
    except UnicodeError:  # a few codecs (UTF-16 and related ones) fail instead of replacing
        return decode_windows_1252(data)
