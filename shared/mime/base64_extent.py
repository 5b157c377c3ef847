"""Plain text where base64 is declared: the whole content, or a footer after the data (RFC 2045 section 6.8).

Mailing lists and scanners append plain text to encoded content. Some mailers declare base64 without encoding.
"""

from __future__ import annotations

import binascii
import re

from shared.mime.buffer import Buffer

_EDGE = 128
"""Bytes inspected at both ends. Nearly all content is well-formed there and needs no further inspection."""

_SAMPLE = 2 * 1024
_MAX_FOOTER = 64 * 1024

_MIN_LONG_LINE = 40
"""Line length in letters that hardly any word or number reaches."""

_MIN_SHORT_LINE = 16
_MIN_LONG_TOKEN = 60
_MIN_WORDS = 4
_MIN_HIGH_BYTES = 6

_EXPECTED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n"
_ASCII = bytes(range(128))
_ENCODED = re.compile(rb"[A-Za-z0-9+/]++={0,2}")
_CONTROL = re.compile(rb"[\x00-\x08\x10-\x1a\x1c-\x1f\x7f]")  # without the shifts of ISO 2022
_TAG = re.compile(rb"\s*+<[A-Za-z!/]")


def find_data_end(buffer: Buffer, start: int, end: int) -> int:
    """Return the end of a part's base64 data: `start` if the content is prose, `end` if no text follows the data.

    Other characters within the data, and a footer that does not resemble words, are left to the decoder.
    """
    head = buffer.slice(start, min(start + _EDGE, end))
    if head.translate(None, _EXPECTED) and _is_prose(buffer.slice(start, min(start + _SAMPLE, end))):
        return start
    if not buffer.slice(max(start, end - _EDGE), end).translate(None, _EXPECTED):
        return end
    region = max(start, end - _MAX_FOOTER)
    data = buffer.slice(region, end)
    if region > start:
        skipped = data.find(b"\n") + 1
        region, data = region + skipped, data[skipped:]
    return region + _data_length(data)


def _is_prose(sample: bytes) -> bool:
    """Return whether content is words, HTML, or text in another script, without a line of base64."""
    lines = [words for line in sample.splitlines() if (words := line.lstrip(b"> \t").split())]
    if lines and len(lines[0]) == 1 and _is_encoded_line(lines[0][0]):
        return False
    tokens = [token for line in lines for token in line]
    if any(
        _ENCODED.fullmatch(token)
        and (len(token) >= _MIN_LONG_TOKEN or (len(line) == 1 and len(token) >= _MIN_LONG_LINE))
        for line in lines
        for token in line
    ):
        return False
    joined = b"".join(tokens)
    high_bytes = len(joined.translate(None, _ASCII))
    if _TAG.match(sample) or (high_bytes >= _MIN_HIGH_BYTES and high_bytes * 3 >= len(joined)):
        return True
    return any(len(line) > 1 for line in lines) and _has_words(tokens, joined)


def _is_encoded_line(text: bytes) -> bool:
    """Return whether the only token of a first line is base64. Words rarely decode to text."""
    if len(text) % 4 != 0 or not _ENCODED.fullmatch(text):
        return False
    if len(text) >= _MIN_SHORT_LINE or text.endswith(b"="):
        return True
    try:
        return "".join(binascii.a2b_base64(text).decode().split()).isprintable()
    except ValueError:
        return False


def _has_words(tokens: list[bytes], joined: bytes) -> bool:
    """Return whether tokens are words, and not base64 that is split by spaces."""
    if joined.translate(None, _EXPECTED):
        return True
    return len(tokens) >= _MIN_WORDS and not (joined.endswith(b"=") and len(joined) % 4 == 0)


def _data_length(data: bytes) -> int:
    """Return where the last line of base64 ends, or the full length if no words follow it."""
    lines = data.splitlines(keepends=True)
    texts = [line.strip() for line in lines]
    encoded = [_ENCODED.fullmatch(text) is not None for text in texts]
    width = next((len(text) for text, is_encoded in zip(texts, encoded, strict=True) if is_encoded), 0)
    last = -1
    for index, text in enumerate(texts):
        if encoded[index] and (
            len(text) == width or len(text) >= _MIN_LONG_LINE or (text.endswith(b"=") and len(text) % 4 == 0)
        ):
            last = index
    if last < 0:
        return len(data)
    following = last + 1
    if (
        following < len(texts)
        and encoded[following]
        and len(texts[following]) % 4 == 0
        and not texts[last].endswith(b"=")
    ):
        last = following  # the last line is shorter than the others
    if _CONTROL.search(data, sum(map(len, lines[: last + 1]))):
        return len(data)
    rest = [text.split() for text in texts[last + 1 :]]
    tokens = [token for line in rest for token in line]
    if any(len(line) > 1 for line in rest) and _has_words(tokens, b"".join(tokens)):
        return sum(map(len, lines[: last + 1]))
    return len(data)
