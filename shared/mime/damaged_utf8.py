"""UTF-8 text with some bytes that are not UTF-8, and emoji in CESU-8.

Causes are a text cut by bytes, a name or a footer in another charset, and Java and Oracle, which encode the two
surrogates of an emoji one by one (CESU-8, Unicode Technical Report 26).

Texts in other charsets contain few sequences that are valid in UTF-8, and many bytes that are not. In 6,800 excerpts of
texts in 33 languages, none had four valid sequences and at least three for each error. Except for two words in DOS code
page 866 and two in Thai, none had two valid sequences, and as only error an incomplete sequence at the end.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_FEW = 2
_MIN_SEQUENCES = 4
_SEQUENCES_PER_ERROR = 3
_SEQUENCES_PER_DECLARED_ERROR = 6

# Most texts in other charsets are recognised by their beginning, which saves time.
_PREFIXES = (512, 64 * 1024)
_MANY_ERRORS = 10

_PAIR = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
# The beginning of a sequence, then the end of a word.
_INCOMPLETE = re.compile(
    rb"(?:[\xc2-\xf4]|\xe0[\xa0-\xbf]|[\xe1-\xef][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]?|[\xf1-\xf4][\x80-\xbf]{1,2})"
    rb"(?![0-9A-Za-z\x80-\xff])"
)
_ESCAPED = re.compile(r"[\udc80-\udcff]+")
_SEQUENCE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
# A Western letter (U+00C0 to U+00FF) next to an ASCII letter. In other charsets, these three bytes are never a word.
_WESTERN = re.compile(rb"\xc3[\x80-\xbf](?:(?=[A-Za-z])|(?<=[A-Za-z]\xc3[\x80-\xbf]))")


class _Evidence(NamedTuple):
    data: bytes  # without surrogates
    text: str
    sequences: int  # a pair of surrogates has the bits of several
    errors: int


def decode_damaged(data: bytes, *, named: bool = False) -> str | None:
    """Return the text of damaged UTF-8 with U+FFFD for bytes that are not UTF-8, or None if it is in another charset.

    Args:
        data: bytes that are not valid UTF-8.
        named: whether the message names UTF-8.
    """
    evidence = _find_evidence(data)
    if evidence is None:
        return None
    data, text, sequences, errors = evidence
    if errors == 0:
        return text if sequences or named else None
    western = count_western(data)
    if errors == 1 and (sequences >= _FEW or western) and _is_incomplete(data):
        return text
    if sequences >= (_FEW if named else _MIN_SEQUENCES) and sequences >= errors * (_SEQUENCES_PER_ERROR - named):
        return text
    return text if western >= max(errors, _FEW) else None


def decode_damaged_against(codec: str, data: bytes, minimum: int) -> str | None:
    """Return the text of damaged UTF-8 that declares a single-byte charset, or None if it is in that charset.

    An incomplete sequence at the end is U+FFFD. Other bytes are in the declared charset: a reply in Windows-1252 may
    quote many letters that were decoded wrongly before.

    Args:
        codec: the codec of the declared charset.
        data: bytes that are not valid UTF-8.
        minimum: number of sequences that a text needs if its only error is an incomplete sequence at the end.
    """
    evidence = _find_evidence(data)
    if evidence is None:
        return None
    data, text, sequences, errors = evidence
    if sequences >= minimum and (errors == 0 or (errors == 1 and _is_incomplete(data))):
        return text
    if sequences < errors * _SEQUENCES_PER_DECLARED_ERROR:
        return None
    escaped = data.decode("utf-8", "surrogateescape")
    return _ESCAPED.sub(lambda run: run[0].encode("utf-8", "surrogateescape").decode(codec, "replace"), escaped)


def _find_evidence(data: bytes) -> _Evidence | None:
    """Return what speaks for UTF-8 and against it, or None if the beginning shows that it is another charset."""
    for size in _PREFIXES:
        if len(data) > size:
            prefix = _count(data[:size])
            if prefix.errors > max(prefix.sequences, _MANY_ERRORS):
                return None
    return _count(data)


def is_partly_utf_8(data: bytes) -> bool:
    """Return whether bytes contain as many sequences of UTF-8 as errors, or a Western letter in UTF-8."""
    evidence = _count(data)
    return evidence.sequences >= evidence.errors or count_western(data) > 0


def combine_surrogates(data: bytes) -> bytes:
    """Return bytes with pairs of surrogates in UTF-8 (CESU-8) as one character, and lone surrogates as U+FFFD."""
    return _SURROGATE.sub(_REPLACEMENT.encode(), _PAIR.sub(_combine, data)) if b"\xed" in data else data


def has_sequences(data: bytes, minimum: int = _MIN_SEQUENCES) -> bool:
    """Return whether bytes have at least `minimum` multi-byte sequences of UTF-8."""
    matches = _SEQUENCE.finditer(data)
    return all(next(matches, None) for _ in range(minimum))


def count_western(data: bytes) -> int:
    """Return the number of Western letters in UTF-8 next to ASCII letters."""
    return len(_WESTERN.findall(data)) if b"\xc3" in data else 0


def _combine(pair: re.Match[bytes]) -> bytes:
    _, high, high_end, _, low, low_end = pair[0]
    code = (high & 0xF) << 16 | (high_end & 0x3F) << 10 | (low & 0xF) << 6 | (low_end & 0x3F)
    return chr(0x10000 + code).encode()


def _count(data: bytes) -> _Evidence:
    combined = combine_surrogates(data)
    pairs = (len(data) - len(combined)) // 2
    data = combined
    text = data.decode("utf-8", "replace")
    errors = text.count(_REPLACEMENT) - data.count(_REPLACEMENT.encode())
    sequences = len(text) - len(text.encode("ascii", "ignore")) - text.count(_REPLACEMENT)
    return _Evidence(data, text, sequences + pairs * (_MIN_SEQUENCES - 1), errors)


def _is_incomplete(data: bytes) -> bool:
    """Return whether the first error is an incomplete sequence at the end of a word."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _INCOMPLETE.match(data, error.start) is not None
    return False
