"""Find the boundary of a multipart that does not declare it, or declares another one (RFC 2046 section 5.1)."""

from __future__ import annotations

import re
from collections.abc import Collection

from shared.mime.buffer import Buffer

LOOKAHEAD = 2 * 1024
"""Bytes from a multipart's start in which its first delimiter is expected."""

MAX_BOUNDARY = 500
"""Maximum size of a boundary in bytes. RFC 2046 allows 70."""

_SEARCH_SIZE = 256 * 1024
"""Bytes from a multipart's start in which another boundary is searched."""

_MAX_SEARCHES = 20
"""Maximum number of multiparts in a message for which a boundary is searched."""

_MAX_CANDIDATES = 3
"""Maximum number of boundaries for which the rest of the message is searched, in each of these multiparts."""

_MAX_LIKENESSES = 20
"""Maximum number of lines that begin like a delimiter and are compared with it."""

_MAX_PADDING = 80

_DASHES = re.compile(rb"(?:\A|[\r\n])--")
_DASH_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))--([^\s]{1,200}+)[ \t]*+(?:\r?\n|\r)")
_FIRST_LINE = re.compile(rb"\s{0,80}--([^\s]{1,200})[ \t]*\r?\n")
_END_OF_DELIMITER = re.compile(rb"(--)?[ \t]*+(?:[\r\n]|\Z)")
_CONTENT_FIELD = re.compile(rb"content-[a-z-]{1,40}[ \t]*:", re.IGNORECASE)
_LATER_CONTENT_FIELD = re.compile(
    rb"(?:(?!--)[!-9;-~]{1,80}+[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+){1,20}?%b" % _CONTENT_FIELD.pattern,
    re.IGNORECASE,
)


class BoundarySearch:
    """A search for boundaries in a message. The number of searches is limited, so that they take linear time."""

    def __init__(self, buffer: Buffer, enclosing: Collection[bytes], *, bare_cr: bool) -> None:
        """Prepare a search.

        Args:
            buffer: the message's bytes.
            enclosing: the boundaries of the open multiparts, which the caller keeps current.
            bare_cr: whether a CR alone ends a line.
        """
        self._buffer = buffer
        self._enclosing = enclosing
        self._bare_cr = bare_cr
        self._count = 0

    def has_part(self, start: int) -> bool:
        """Return whether a line near `start` clearly begins a part."""
        self._count += 1
        return self._count <= _MAX_SEARCHES and self._find(start, LOOKAHEAD, None) is not None

    def find_undeclared(self, start: int) -> bytes | None:
        """Return the boundary of the multipart at `start`, which declares none: the first line, or a clear one."""
        first = _FIRST_LINE.match(self._buffer.slice(start, start + MAX_BOUNDARY))
        if first and not first[1].endswith(b"--"):
            return first[1]
        self._count += 1
        return self._find(start, _SEARCH_SIZE if self._count <= _MAX_SEARCHES else LOOKAHEAD, None)

    def find_actual(self, start: int, declared: bytes) -> bytes | None:
        """Return the boundary of the parts before the first delimiter with the declared boundary, if there are any."""
        self._count += 1
        return self._find(start, _SEARCH_SIZE, declared) if self._count <= _MAX_SEARCHES else None

    def _find(self, start: int, size: int, declared: bytes | None) -> bytes | None:
        """Return the boundary of the first line that clearly begins a part: fields with a `Content-` field follow it.

        The search ends at a delimiter of an enclosing multipart. The boundary must recur. If the declared boundary
        begins a part, it must recur before that. If not, a `Content-` field that is the next line suffices near the
        start.
        """
        used = self._find_delimiter(declared, max(start - 1, 0), self._buffer.size) if declared else -1
        limit = min(start + size, used) if used >= 0 else start + size
        recurs_until = self._buffer.size if used < 0 and self._count <= _MAX_SEARCHES else limit
        data = self._buffer.slice(start, limit)
        if self._bare_cr:
            data = data.replace(b"\r\n", b" \n").replace(b"\r", b"\n")  # keeps the length
        candidates: set[bytes] = set()
        seen: set[bytes] = set()
        for match in _DASH_LINE.finditer(data):
            boundary, stem = match[1], match[1].removesuffix(b"--")
            if boundary in self._enclosing or stem in self._enclosing:
                return None
            is_repeated = boundary in seen
            seen.add(stem)
            if boundary in candidates or stem == declared:
                continue
            is_next = _CONTENT_FIELD.match(data, match.end()) is not None
            if is_next and used < 0 and match.start() < LOOKAHEAD:
                return boundary
            if not is_next and not _LATER_CONTENT_FIELD.match(data, match.end()):
                continue
            if is_repeated or declared == boundary + b"--":  # the declared delimiter closes these parts
                return boundary
            if len(candidates) >= _MAX_CANDIDATES:
                return None
            candidates.add(boundary)
            if self._find_delimiter(boundary, start + match.end() - 1, recurs_until, closing=used < 0) >= 0:
                return boundary
        return None

    def _find_delimiter(self, boundary: bytes, start: int, end: int, *, closing: bool = False) -> int:
        """Return the position of the first delimiter with this boundary that begins a line after `start`, or -1.

        Of many lines that begin like it, the last one that was compared counts.

        Args:
            boundary: the boundary.
            start: the position of a line break, from which to search.
            end: where the search ends.
            closing: whether closing delimiters count.
        """
        needles = [b"\n--" + boundary, *([b"\r--" + boundary] if self._bare_cr else [])]
        position = -1
        for _ in range(_MAX_LIKENESSES):
            positions = [self._buffer.find(needle, start, end) for needle in needles]
            position = min((position for position in positions if position >= 0), default=-1)
            if position < 0:
                return -1
            start = position + len(needles[0])
            match = _END_OF_DELIMITER.match(self._buffer.slice(start, start + _MAX_PADDING))
            if match and (closing or not match[1]):
                break
        return position + 1


def begins_with_delimiter(boundary: bytes, data: bytes) -> bool:
    """Return whether the first line of data that begins with dashes is a delimiter, but not a closing one."""
    dashes = _DASHES.search(data)
    if dashes is None or not data.startswith(boundary, dashes.end()):
        return False
    end = _END_OF_DELIMITER.match(data, dashes.end() + len(boundary))
    return end is not None and not end[1]


def has_delimiter(boundary: bytes, data: bytes) -> bool:
    """Return whether a line of data is a delimiter, closing or not."""
    delimiter = b"--" + boundary
    start = data.find(delimiter)
    while start >= 0:
        end = start + len(delimiter)
        if (start == 0 or data[start - 1] in b"\r\n") and _END_OF_DELIMITER.match(data, end):
            return True
        start = data.find(delimiter, end)
    return False
