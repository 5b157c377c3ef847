"""Characters that mailers send in a charset, and that Python's codec lacks or decodes as another character.

The tables follow the indexes of the Encoding Standard (section 5), which all browsers use.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MAX_FALLBACKS = 5000  # each costs microseconds

# ruff: noqa: RUF001 - symbols that look alike are intended

# Characters that Python decodes otherwise. EUC-JP: as in Shift_JIS, for which the standard has the same index. Big5: as
# in code page 950. KOI8-U: the Belarusian letters of KOI8-RU. GB 18030: the wide space.
_SYMBOLS = {
    "euc_jp": ("〜‖−¢£¬", "～∥－￠￡￢"),
    "big5hkscs": ("•､‾∼♁☉¥¢£￭", "‧﹑¯～⊕⊙￥￠￡▓"),
    "koi8_u": ("╝╬", "ўЎ"),
    "gb18030": (
        "\ue5e5\ue78d\ue78e\ue78f\ue790\ue791\ue792\ue793\ue794\ue795\ue796\ue7c7\ue81e\ue826\ue82b\ue82c\ue832\ue843\ue854\ue864",
        "\u3000\ufe10\ufe12\ufe11\ufe13\ufe14\ufe15\ufe16\ufe17\ufe18\ufe19\u1e3f\u9fb4\u9fb5\u9fb6\u9fb7\u9fb8\u9fb9\u9fba\u9fbb",
    ),
}

# Two characters of Big5 that Python's codec has twice.
_BIG5_SLASHES = {b"\xa2A": "∕", b"\xa2B": "﹨"}
_BIG5_RUN = re.compile(rb"(?:[\x00-\x80\xff]++|(?!\xa2[AB])[\x81-\xfe].?)++|\xa2[AB]", re.DOTALL)


def decode_code_table(data: bytes, codec: str, errors: str = "strict") -> str:
    """Decode bytes with a codec and its corrections."""
    if codec == "big5hkscs" and 0 < sum(map(data.count, _BIG5_SLASHES)) <= _MAX_FALLBACKS:
        runs = (match[0] for match in _BIG5_RUN.finditer(data))
        return "".join([_BIG5_SLASHES.get(run) or _decode(run, codec, errors) for run in runs])
    return _decode(data, codec, errors)


def decode_with_fallback(data: bytes, codec: str) -> str:
    """Decode bytes with U+FFFD for undefined codes, and with the characters that Python's codec lacks."""
    text = decode_code_table(data, codec, "replace")
    if codec in _FALLBACK_HANDLERS and 0 < text.count(_REPLACEMENT) <= _MAX_FALLBACKS:
        return decode_code_table(data, codec, _FALLBACK_HANDLERS[codec])
    return text


def replace_symbols(text: str, codec: str) -> str:
    """Return text with the characters of the Encoding Standard where Python's codec has others."""
    for wrong, right in zip(*_SYMBOLS.get(codec, ("", "")), strict=True):
        if wrong in text:
            text = text.replace(wrong, right)
    return text


def decode_pair_with(code: bytes, codec: str) -> str:
    """Return the character of a code, or "" if the codec has none."""
    try:
        return code.decode(codec)
    except UnicodeDecodeError:
        return ""


def decode_cp932_pair(code: bytes) -> str:
    """Return the character of code page 932 for two bytes of EUC-JP (NEC row 13, IBM extensions), or ""."""
    row, cell = code[0] - 0xA0, code[1] - 0xA0
    if not (1 <= row <= 94 and 1 <= cell <= 94):  # noqa: PLR2004 - JIS X 0208 has 94 rows of 94 cells
        return ""
    lead = (row - 1) // 2 + (0x81 if row <= 62 else 0xC1)  # noqa: PLR2004 - Shift_JIS leaves A0 to DF to kana
    trail = cell + 0x9E if row % 2 == 0 else cell + 0x3F + (cell >= 64)  # noqa: PLR2004 - 7F is left out
    return decode_pair_with(bytes([lead, trail]), "cp932")


def _decode(data: bytes, codec: str, errors: str) -> str:
    text = data.decode(codec, errors)
    return replace_symbols(text, codec) if codec in _SYMBOLS else text


def _fallback_handler(decode_pair: Callable[[bytes], str]) -> Callable[[UnicodeError], tuple[str, int]]:
    """Return an error handler that decodes a double-byte character with `decode_pair`, or replaces it."""

    def handle(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        code = error.object[error.start : error.start + 2]
        char = decode_pair(code) if len(code) == 2 and code[0] >= 0x80 else ""  # noqa: PLR2004 - a double-byte character
        return (char, error.start + 2) if char else (_REPLACEMENT, error.end)

    return handle


def _replace_euro(error: UnicodeError) -> tuple[str, int]:
    """Decode the byte 80 of GBK, which is the euro sign (Encoding Standard, gb18030 decoder)."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    if error.object[error.start] == 0x80:  # noqa: PLR2004 - the euro sign
        return "€", error.start + 1
    return _REPLACEMENT, error.end


# EUC-JP: code page 51932 (NEC row 13, IBM extensions). Big5: code page 950 (the euro sign), and for code page 950, the
# characters of Hong Kong.
_FALLBACK_HANDLERS = {
    "euc_jp": "mailroom-euc-jp",
    "big5hkscs": "mailroom-big5",
    "cp950": "mailroom-cp950",
    "gb18030": "mailroom-gb18030",
}
codecs.register_error("mailroom-euc-jp", _fallback_handler(decode_cp932_pair))
codecs.register_error("mailroom-big5", _fallback_handler(lambda code: decode_pair_with(code, "cp950")))
codecs.register_error("mailroom-cp950", _fallback_handler(lambda code: decode_pair_with(code, "big5hkscs")))
codecs.register_error("mailroom-gb18030", _replace_euro)
