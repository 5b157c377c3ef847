"""Where base64 data ends, and a footer in plain text follows (RFC 2045 section 6.8).

Mailing lists and scanners append plain text to encoded content.
"""

from __future__ import annotations

import re

from shared.mime.buffer import Buffer
from shared.mime.headers import ParametrisedValue
from shared.mime.unencoded_text import (
    EXPECTED,
    LONG_LINE,
    MAX_PADDING,
    SAMPLE_SIZE,
    is_text,
    is_unencoded,
    is_word,
)

_HEAD = 128
_TAIL = 256
"""Bytes inspected at both ends. Nearly all content is well-formed there and needs no further inspection."""

_USUAL_FOOTER = 4 * 1024
_MAX_FOOTER = 64 * 1024
_MAX_LINE = 1000
"""Length of a line (RFC 5322 section 2.1.1). Longer lines are content without line breaks."""

_MIN_RULE = 2

# Lengths of a word in letters. The more a line may be data, the longer: data resembles a word by coincidence.
_MIN_WORD_AFTER_PADDING = 3
_MIN_WORD_IN_TEXT = 4
_MIN_WORD_AFTER_SHORT_LINE = 5
_MIN_WORD_AFTER_BLANK_LINE = 8

_MIN_DATA = 16
"""Length of data in front of text on the same line, without padding between them."""


_BEGINS_WITH_DATA = re.compile(rb"[^\n]*+\n[A-Za-z0-9+/]{%d,}+\r?\n" % LONG_LINE)
_SEGMENT = re.compile(rb"[^=]++=*+|=++")
_RUNS = re.compile(rb"[A-Za-z0-9+/=]++")
_RUN = re.compile(rb"[A-Za-z0-9+/]++=*+")
_RULE = re.compile(rb"\++|/+")
_PADDED = re.compile(rb"[A-Za-z0-9+/]++={1,2}")
_LETTERS = re.compile(rb"[A-Za-z0-9+/]++")
_BEGINS_WITH_RULE = re.compile(rb"[^A-Za-z0-9+/\x80-\xff\s]{2}")
_LETTER_OR_HIGH = re.compile(rb"[A-Za-z0-9+/\x80-\xff]")
_CONTROL = re.compile(rb"[\x00-\x08\x10-\x1a\x1c-\x1f\x7f]")  # without the shifts of ISO 2022


def find_data_end(buffer: Buffer, start: int, end: int, content_type: ParametrisedValue) -> int:
    """Return the end of a part's base64 data: `start` if the content is plain text, `end` if no text follows the data.

    Other characters within the data are left to the decoder.
    """
    tail_start = max(start, end - _TAIL)
    is_whole = tail_start == start
    is_regular = _is_regular(buffer.slice(tail_start, end), is_whole=is_whole)
    if is_regular and is_whole:
        return end
    may_be_text = is_whole or buffer.slice(start, start + _HEAD).translate(None, EXPECTED)
    if may_be_text and is_unencoded(buffer.slice(start, min(start + SAMPLE_SIZE, end)), content_type):
        return start
    if is_regular:
        return end
    for size in (_USUAL_FOOTER, _MAX_FOOTER):
        region = max(start, end - size)
        data = buffer.slice(region, end)
        if region == start or _BEGINS_WITH_DATA.match(data):
            break
    return region + _DataScan(is_cut=region > start).find_end(data)


def _is_regular(tail: bytes, *, is_whole: bool) -> bool:
    """Return whether lines are all of one length, except for a shorter last one, and padding is at the end only."""
    tail = tail.rstrip()
    lines = tail.split()
    if tail.translate(None, EXPECTED) or tail.count(b"\n") >= max(len(lines), 1):
        return False
    if not lines:
        return True
    last = lines.pop()
    widths = set(map(len, lines if is_whole else lines[1:]))
    return (
        len(last) % 4 == 0
        and tail.count(b"=") == len(last) - len(last.rstrip(b"=")) <= MAX_PADDING
        and (not widths or (len(widths) == 1 and (width := widths.pop()) % 4 == 0 and len(last) <= width))
    )


class _DataScan:
    """A search for the last line of data.

    Until padding or a short line ends the data, a line that may be base64 is data. After that, only another run is: a
    line too long for a word, or complete base64 that directly follows. Everything else is text.
    """

    def __init__(self, *, is_cut: bool) -> None:
        """Begin a search.

        Args:
            is_cut: whether the first line is the end of a line.
        """
        self._is_cut = is_cut
        self._width = self._end = 0
        self._is_spaced = False  # blank lines separate lines of data
        self._is_padded = self._is_short = False  # the last line of data
        self._has_blank = self._has_text = self._has_rule = self._has_words = False  # after that line
        self._words = self._not_words = 0

    def find_end(self, data: bytes) -> int:
        """Return where the data ends, or the full length if no text follows it."""
        position = 0
        for line in data.splitlines(keepends=True):
            self._read_line(line, position)
            position += len(line)
            if self._is_cut:
                self._is_cut = False
                self._width = self._width if len(line) > _MAX_LINE else 0
        if self._is_padded:
            is_footer = self._has_words or self._words > 0
        else:
            is_footer = self._has_words or self._words > self._not_words == 0
            is_footer = is_footer and not _CONTROL.search(data, self._end)
        return self._end if is_footer and self._end else len(data)

    def _read_line(self, line: bytes, position: int) -> None:
        text = line.lstrip(b"> \t").rstrip()
        if not text:
            self._has_blank = not self._is_spaced
        elif not _RUNS.fullmatch(text):
            self._read_other(text, position + line.index(text), position + len(line))
        elif b"=" not in text:
            self._read_letters(text, position + len(line))
        elif self._has_text and len(text) < LONG_LINE:
            self._read_other(text, position, position + len(line))
        else:
            for segment in _SEGMENT.findall(line):
                position += len(segment)
                if letters := segment.lstrip(b"> \t").rstrip():
                    self._read_letters(letters, position)

    def _read_letters(self, text: bytes, end: int) -> None:
        """Read letters of the alphabet, which are data or a word."""
        if self._may_be_data(text):
            self._set_end(end, len(text), is_padded=text.endswith(b"="))
        elif self._end:
            if self._is_padded:
                min_size = _MIN_WORD_AFTER_PADDING
            elif self._has_text or self._is_short:
                min_size = _MIN_WORD_AFTER_SHORT_LINE
            elif self._has_blank or len(text) > self._width:
                min_size = _MIN_WORD_AFTER_BLANK_LINE
            else:  # directly behind full lines, a word may be the last line of data by coincidence
                min_size = len(text) + 1
            if len(text) >= min_size and is_word(text):
                self._words += 1
            else:
                self._not_words += 1
            self._has_rule |= _RULE.fullmatch(text) is not None
            self._has_words |= self._is_padded and self._has_rule
            self._has_text = True

    def _may_be_data(self, text: bytes) -> bool:
        size = len(text)
        is_separate = self._is_padded or self._is_short or self._has_blank
        if not _RUN.fullmatch(text) or (_RULE.fullmatch(text) and (size != self._width or is_separate)):
            return False
        if size >= LONG_LINE:
            return True
        if self._has_text:
            return False
        is_complete = size % 4 == 0
        if self._is_padded:
            return is_complete and not is_word(text)
        if not self._end or text.endswith(b"=") or (size == self._width and not self._has_blank):
            return True
        if size >= _MIN_WORD_AFTER_SHORT_LINE and is_word(text):
            return False
        return is_complete or size == self._width or (size % 4 != 1 and not self._has_blank and not self._is_short)

    def _read_other(self, text: bytes, start: int, end: int) -> None:
        """Read a line with other characters: damaged data, data with text behind it on the line, or text."""
        if not self._end or not (self._is_padded or self._has_text):
            if self._read_data_with_text(text, start):
                return
            if _LETTERS.search(text) and not is_text(text):
                self._set_end(end, len(text), is_padded=text.endswith(b"="))
                return
        if self._end:
            self._read_text(text)

    def _read_text(self, text: bytes) -> None:
        if not _LETTER_OR_HIGH.search(text):
            self._has_rule |= len(text) >= _MIN_RULE
            self._has_text |= self._has_rule
            return
        min_size = _MIN_WORD_AFTER_PADDING if self._is_padded else _MIN_WORD_IN_TEXT
        self._has_words |= self._has_rule or is_text(text, min_size)
        self._has_text = True

    def _read_data_with_text(self, text: bytes, start: int) -> bool:
        """Read a line whose first letters are data, and the rest of it as text."""
        match = _PADDED.match(text)
        is_padded = match is not None and (len(match[0]) % 4 == 0 or self._width % 4 != 0)
        if not is_padded:
            match = _LETTERS.match(text)
            if match is None or len(match[0]) < _MIN_DATA or len(match[0]) % 4 != 0:
                return False
        if match is None or is_word(match[0].rstrip(b"=")):
            return False
        rest = text[match.end() :]
        min_size = _MIN_WORD_AFTER_PADDING if is_padded else _MIN_WORD_IN_TEXT
        if not _BEGINS_WITH_RULE.match(rest) and not is_text(rest, min_size):
            return False
        self._set_end(start + match.end(), len(match[0]), is_padded=is_padded)
        self._has_rule = _BEGINS_WITH_RULE.match(rest) is not None
        self._read_text(rest)
        self._has_text = True
        return True

    def _set_end(self, end: int, size: int, *, is_padded: bool) -> None:
        self._is_short = size < self._width
        self._width = self._width or size
        self._is_spaced |= self._has_blank
        self._end, self._is_padded = end, is_padded
        self._has_blank = self._has_text = self._has_rule = self._has_words = False
        self._words = self._not_words = 0
