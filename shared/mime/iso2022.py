"""ISO-2022 charsets as mailers send them: ISO-2022-JP with all its extensions, ISO-2022-KR and ISO-2022-CN.

Python's codecs reject a whole text because of a single unknown character. Mailers send many of those: NEC row 13 and
the IBM extensions (code pages 50220 to 50222 of Microsoft), half-width kana, and characters of extensions that are not
declared. This decoder reads every designation of RFC 1468, RFC 1554, RFC 1557, RFC 1922 (GB 2312 only), RFC 2237 and
JIS X 0213, whichever is declared. An unknown character costs only itself.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from shared.mime.code_tables import decode_cp932_pair, decode_pair_with, replace_symbols

_Set = Literal["ascii", "roman", "kana", "jis", "jis-supplement", "jis-2000", "jis-2000-2", "ksc", "gb"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_CONTROL = re.compile(
    rb"\x1b(?:\([BJHI@]|\$\(?[@AB]|\$\([CDOPQ]|\$\)[AC]|\.[AF]|&@|N[\x20-\x7f])|[\x0e\x0f]|[\r\n]+", re.DOTALL
)
_DESIGNATED = re.compile(rb"\x1b(?:\$(?:\(?[@AB]|\([CDOPQ])[\x21-\x7e]{2}|\(I[\x21-\x5f]++\x1b\([BJ])")
_DESIGNATED_G1 = re.compile(rb"\x1b\$\)[AC]")
_SHIFTED = re.compile(rb"\x0e[\x21-\x7e]{2}")
_CHARACTER = re.compile(rb"[\x21-\x7e]{2}|.", re.DOTALL)

_G0: dict[bytes, _Set] = {
    b"(B": "ascii", b"(@": "ascii", b"(H": "ascii", b"(J": "roman", b"(I": "kana",
    b"$@": "jis", b"$B": "jis", b"$(@": "jis", b"$(B": "jis", b"$A": "gb", b"$(A": "gb", b"$(C": "ksc",
    b"$(D": "jis-supplement", b"$(O": "jis-2000", b"$(Q": "jis-2000", b"$(P": "jis-2000-2",
}  # fmt: skip
_G1: dict[bytes, _Set] = {b"$)C": "ksc", b"$)A": "gb"}
_G2 = {b".A": "iso8859_1", b".F": "iso8859_7"}

_CODECS = {"jis": "euc_jp", "jis-2000": "euc_jis_2004", "ksc": "cp949", "gb": "gb2312"}
"""Codecs that decode a set's pairs with the high bits set."""

_HIGH = bytes(byte | 0x80 if 0x20 < byte < 0x7F else byte for byte in range(256))  # noqa: PLR2004 - printable ASCII
_ROMAN = str.maketrans({"\\": "¥", "~": "\N{OVERLINE}"})
_KANA = {byte: chr(0xFF40 + byte) for byte in range(0x21, 0x60)}
_KANA_8BIT = {byte: chr(0xFEC0 + byte) for byte in range(0xA1, 0xE0)}
_EIGHT_BIT = dict.fromkeys(range(0x80, 0x100), _REPLACEMENT) | _KANA_8BIT


def has_designation(data: bytes) -> bool:
    """Return whether bytes contain an ISO-2022 escape sequence followed by characters of the set that it selects.

    Escape sequences of terminals (`ESC [`, and `ESC ( B` alone) do not count.
    """
    if _DESIGNATED.search(data):
        return True
    match = _DESIGNATED_G1.search(data)
    return match is not None and _SHIFTED.search(data, match.end()) is not None


def decode(data: bytes, *, korean: bool = False) -> tuple[str, bool]:
    """Decode bytes in any ISO-2022 charset of mail.

    A line's end selects ASCII again (RFC 1468). Bytes above 127 are UTF-8 if a run of them is, or else half-width kana
    (code page 50220).

    Args:
        data: the bytes.
        korean: whether Shift Out selects KS X 1001 where nothing is designated, and not half-width kana (JIS7).

    Returns:
        The text, and whether every character was decoded.
    """
    out: list[str] = []
    g0: _Set = "ascii"
    g1: _Set = "ksc" if korean else "kana"
    g2 = "iso8859_1"
    shifted = False
    end = 0
    for match in _CONTROL.finditer(data):
        if match.start() > end:
            out.append(_decode_run(data[end : match.start()], g1 if shifted else g0))
        end = match.end()
        sequence = match[0]
        if sequence[:1] in b"\r\n":
            g0, shifted = "ascii", False
            out.append(sequence.decode("ascii"))
        elif sequence in b"\x0e\x0f":
            shifted = sequence == b"\x0e"
        elif sequence[1:2] == b"N":
            out.append(bytes([sequence[2] | 0x80]).decode(g2, "replace"))
        elif new := _G0.get(sequence[1:]):
            g0 = new
        elif sequence[1:] in _G1:
            g1 = _G1[sequence[1:]]
        else:
            g2 = _G2.get(sequence[1:], g2)
    out.append(_decode_run(data[end:], g1 if shifted else g0))
    text = "".join(out)
    return text, _REPLACEMENT not in text


def _decode_run(run: bytes, selected: _Set) -> str:
    """Decode bytes of a single character set."""
    if selected == "ascii" or selected == "roman":  # noqa: PLR1714 - narrows the type
        text = run.decode("ascii") if run.isascii() else _decode_eight_bit(run)
        return text.translate(_ROMAN) if selected == "roman" else text
    if selected == "kana":
        return run.decode("latin-1").translate(_KANA | _EIGHT_BIT)
    if run.isascii() and (codec := _CODECS.get(selected)):
        try:
            return replace_symbols(run.translate(_HIGH).decode(codec), codec)
        except UnicodeDecodeError:
            pass
    return "".join([_decode_character(code, selected) for code in _CHARACTER.findall(run)])


def _decode_eight_bit(run: bytes) -> str:
    try:
        return run.decode("utf-8")
    except UnicodeDecodeError:
        return run.decode("latin-1").translate(_EIGHT_BIT)


@lru_cache(maxsize=16_384)
def _decode_character(code: bytes, selected: _Set) -> str:
    if len(code) == 1:  # half a character, or a byte outside every set
        return _EIGHT_BIT.get(code[0], code.decode("latin-1") if code[0] <= 0x20 or code[0] == 0x7F else _REPLACEMENT)  # noqa: PLR2004 - white space and controls
    high = code.translate(_HIGH)
    if selected == "jis":
        return replace_symbols(decode_pair_with(high, "euc_jp"), "euc_jp") or decode_cp932_pair(high) or _REPLACEMENT
    if selected == "jis-supplement":
        return decode_pair_with(b"\x8f" + high, "euc_jp") or _REPLACEMENT
    if selected == "jis-2000-2":
        return decode_pair_with(b"\x8f" + high, "euc_jis_2004") or _REPLACEMENT
    return decode_pair_with(high, _CODECS[selected]) or _REPLACEMENT
