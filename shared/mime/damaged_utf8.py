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
_SEARCH_SIZE = 64 * 1024
_MANY_ERRORS = 100

_SURROGATES = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]|\xed[\xa0-\xbf][\x80-\xbf]")
# The beginning of a sequence, then the end of a word.
_INCOMPLETE = re.compile(
    rb"(?:[\xc2-\xf4]|\xe0[\xa0-\xbf]|[\xe1-\xef][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]?|[\xf1-\xf4][\x80-\xbf]{1,2})"
    rb"(?![0-9A-Za-z\x80-\xff])"
)
_SEQUENCE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
# A Western letter (U+00C0 to U+00FF) next to an ASCII letter. In other charsets, these three bytes are never a word.
_WESTERN = re.compile(rb"[A-Za-z]\xc3[\x80-\xbf]|\xc3[\x80-\xbf][A-Za-z]")


class _Evidence(NamedTuple):
    text: str
    sequences: int
    errors: int


def decode_damaged(data: bytes, *, minimum: int = _FEW, named: bool = False) -> str | None:
    """Return the text of damaged UTF-8 with U+FFFD for bytes that are not UTF-8, or None if it is in another charset.

    Args:
        data: bytes that are not valid UTF-8.
        minimum: number of sequences that a text needs if its only error is an incomplete sequence at the end.
        named: whether the message names UTF-8.
    """
    if len(data) > _SEARCH_SIZE:
        start = _count(data[:_SEARCH_SIZE])
        if start.errors > max(start.sequences, _MANY_ERRORS):
            return None
    data = combine_surrogates(data)
    text, sequences, errors = _count(data)
    if errors == 0:
        return text if sequences or named else None
    western = count_western(data)
    if errors == 1 and _INCOMPLETE.search(data) and (sequences >= minimum or (western and minimum <= _FEW)):
        return text
    if sequences >= (_FEW if named else _MIN_SEQUENCES) and sequences >= errors * (_SEQUENCES_PER_ERROR - named):
        return text
    return text if western >= max(errors, _FEW) else None


def combine_surrogates(data: bytes) -> bytes:
    """Return bytes with pairs of surrogates in UTF-8 (CESU-8) as one character, and lone surrogates as U+FFFD."""
    return _SURROGATES.sub(_combine, data) if b"\xed" in data else data


def has_sequences(data: bytes, minimum: int = _MIN_SEQUENCES) -> bool:
    """Return whether bytes have at least `minimum` multi-byte sequences of UTF-8."""
    matches = _SEQUENCE.finditer(data)
    return all(next(matches, None) for _ in range(minimum))


def count_western(data: bytes) -> int:
    """Return the number of Western letters in UTF-8 next to ASCII letters."""
    return len(_WESTERN.findall(data)) if b"\xc3" in data else 0


def _combine(match: re.Match[bytes]) -> bytes:
    text = match[0].decode("utf-8", "surrogatepass")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _count(data: bytes) -> _Evidence:
    text = data.decode("utf-8", "replace")
    errors = text.count(_REPLACEMENT) - data.count(_REPLACEMENT.encode())
    other = sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text)))
    return _Evidence(text, other, errors)
