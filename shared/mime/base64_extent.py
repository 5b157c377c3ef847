"""Text where base64 is declared: prose in its place, or a footer behind it (RFC 2045 section 6.8).

Mailing lists and scanners append plain text to encoded content. Some mailers declare base64 and do not encode.
"""

from __future__ import annotations

import binascii
import re

from shared.mime.buffer import Buffer

_EDGE = 128
"""Bytes at both ends that tell well-formed content, so that nearly all content needs no more."""

_SAMPLE = 2 * 1024
_LONGEST_FOOTER = 64 * 1024

_LONG_LINE = 40
"""Letters of a line that hardly any word or number has."""

_SHORT_LINE = 16
_LONG_TOKEN = 60
_MANY_WORDS = 4
_MANY_BYTES = 6

_EXPECTED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n"
_ASCII = bytes(range(128))
_ENCODED = re.compile(rb"[A-Za-z0-9+/]++={0,2}")
_CONTROL = re.compile(rb"[\x00-\x08\x10-\x1a\x1c-\x1f\x7f]")  # not the shifts of ISO 2022
_TAG = re.compile(rb"\s*+<[A-Za-z!/]")


def end_of_data(buffer: Buffer, start: int, end: int) -> int:
    """Return where the base64 data of a part ends: `start` if the content is prose, `end` if no text follows the data.

    Junk between the data, and whatever else does not look like words, is left to the decoder.
    """
    head = buffer.slice(start, min(start + _EDGE, end))
    if head.translate(None, _EXPECTED) and _is_prose(buffer.slice(start, min(start + _SAMPLE, end))):
        return start
    if not buffer.slice(max(start, end - _EDGE), end).translate(None, _EXPECTED):
        return end
    region = max(start, end - _LONGEST_FOOTER)
    data = buffer.slice(region, end)
    if region > start:
        skipped = data.find(b"\n") + 1
        region, data = region + skipped, data[skipped:]
    return region + _data_length(data)


def _is_prose(sample: bytes) -> bool:
    """Return whether content is words, a page, or text in another script, without a line of base64."""
    lines = [words for line in sample.splitlines() if (words := line.lstrip(b"> \t").split())]
    if lines and len(lines[0]) == 1 and _is_encoded_line(lines[0][0]):
        return False
    tokens = [token for line in lines for token in line]
    if any(
        _ENCODED.fullmatch(token) and (len(token) >= _LONG_TOKEN or (len(line) == 1 and len(token) >= _LONG_LINE))
        for line in lines
        for token in line
    ):
        return False
    joined = b"".join(tokens)
    high = len(joined.translate(None, _ASCII))
    if _TAG.match(sample) or (high >= _MANY_BYTES and high * 3 >= len(joined)):
        return True
    return any(len(line) > 1 for line in lines) and _has_words(tokens, joined)


def _is_encoded_line(text: bytes) -> bool:
    """Return whether the only token of a first line is base64 rather than a word: words hardly decode to text."""
    if len(text) % 4 != 0 or not _ENCODED.fullmatch(text):
        return False
    if len(text) >= _SHORT_LINE or text.endswith(b"="):
        return True
    try:
        return "".join(binascii.a2b_base64(text).decode().split()).isprintable()
    except ValueError:
        return False


def _has_words(tokens: list[bytes], joined: bytes) -> bool:
    """Return whether tokens are words rather than base64 that spaces cut into pieces."""
    if joined.translate(None, _EXPECTED):
        return True
    return len(tokens) >= _MANY_WORDS and not (joined.endswith(b"=") and len(joined) % 4 == 0)


def _data_length(data: bytes) -> int:
    """Return where the last line of base64 ends, or all of the length if no words follow it."""
    lines = data.splitlines(keepends=True)
    texts = [line.strip() for line in lines]
    encoded = [_ENCODED.fullmatch(text) is not None for text in texts]
    width = next((len(text) for text, is_encoded in zip(texts, encoded, strict=True) if is_encoded), 0)
    last = -1
    for index, text in enumerate(texts):
        if encoded[index] and (
            len(text) == width or len(text) >= _LONG_LINE or (text.endswith(b"=") and len(text) % 4 == 0)
        ):
            last = index
    if last < 0:
        return len(data)
    after = last + 1
    if after < len(texts) and encoded[after] and len(texts[after]) % 4 == 0 and not texts[last].endswith(b"="):
        last = after  # the last line is shorter than the others
    if _CONTROL.search(data, sum(map(len, lines[: last + 1]))):
        return len(data)
    rest = [text.split() for text in texts[last + 1 :]]
    tokens = [token for line in rest for token in line]
    if any(len(line) > 1 for line in rest) and _has_words(tokens, b"".join(tokens)):
        return sum(map(len, lines[: last + 1]))
    return len(data)
