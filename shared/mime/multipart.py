"""The parts of a message, as positions in its buffer (RFC 2046 section 5.1).

The parser makes one pass from beginning to end, whatever the nesting. It visits every line that begins with `--` once,
and compares it with the boundaries of the open multiparts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.mime.boundaries import LOOKAHEAD, MAX_BOUNDARY, BoundarySearch, begins_with_delimiter, has_delimiter
from shared.mime.buffer import Buffer, Finder
from shared.mime.defects import Defects
from shared.mime.headers import (
    PART_FIELDS,
    Headers,
    ParametrisedValue,
    looks_like_header,
    parse_block,
    parse_parameters,
)

MAX_DEPTH = 100
"""Maximum number of nested multiparts."""

MAX_PARTS = 10_000
"""Maximum number of parts of one message."""

MAX_HEADER = 1024 * 1024
"""Maximum size of the message's own header block in bytes."""

MAX_PART_HEADER = 64 * 1024
"""Maximum size of the header block of any other part in bytes."""

MAX_PART_FIELDS = 8 * 1024 * 1024
"""Maximum size of the kept fields of all these parts together, in bytes."""

OPAQUE = ParametrisedValue("application/octet-stream", {})

_MAX_BLANK = 8 * 1024
"""Maximum number of white space bytes before the message's header."""

_FIRST_FIELDS = 16 * 1024
"""Bytes after these in which a familiar field is expected. Sets of ARC fields take a few kilobytes each."""

_MAX_EMPTY_SIZE = 64 * 1024
"""Maximum number of bytes (white space and delimiters) in a multipart without parts."""

_NO_BOUNDARY = b"\n"  # occurs in no line
_FILE_TYPES = frozenset({"application", "audio", "font", "image", "model", "video"})
_TYPES = _FILE_TYPES | {"example", "haptics", "message", "multipart", "text"}
"""The registered top-level types (IANA media types)."""

_BARE_CR = re.compile(rb"[!-9;-~]{1,80}[ \t]*:[^\r\n]{0,2000}\r(?:[!-9;-~]{1,80}[ \t]*:|[ \t])")
_MULTIPART = re.compile(r"multipart(?![a-z0-9])")
_HTML = re.compile(r"\W{0,9}text\W{1,9}html\W{0,9}")
_SUBTYPE = re.compile(r"(?:alternative|related)(?![a-z0-9])")
_HEADER_END = re.compile(rb"\n(?:\r{0,2}\n|(--))")
_HEADER_END_CR = re.compile(rb"\n(?:\r{0,2}\n|(--))|\r(?:\r|\n\r\n|(--))")
_USUAL_HEADER = 2 * 1024
_ONLY_CLOSING = re.compile(rb"(?:--[^\s]{1,500}--(?:\s++|\Z))++")
_NOTE = re.compile(rb"\bMIME\b|\bmulti-?part message\b")
_MAX_NOTE = 400
_FIELD_LINE = re.compile(rb"[!-9;-~]+[ \t]*:")
_BLANK_LINES = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t]*+(?:\r{1,2}\n|\r|\n))*+")


@dataclass(slots=True)
class Part:
    """A part of a message. The root is the message itself.

    Attributes:
        headers: the part's header.
        content_type: the part's type and parameters.
        start: the start of its content in the buffer.
        end: the end of its content.
        children: the parts of a multipart.
        opaque: whether a limit was exceeded, so that the part is kept as bytes regardless of its type.
    """

    headers: Headers
    content_type: ParametrisedValue
    start: int
    end: int
    children: list[Part] = field(default_factory=list)
    opaque: bool = False


@dataclass(slots=True)
class _OpenMultipart:
    """An open multipart, whose parts are being collected.

    Attributes:
        part: the multipart.
        boundaries: its boundary, and a second one if the declared and another boundary delimit its parts.
        closed: whether its closing delimiter was read.
    """

    part: Part
    boundaries: tuple[bytes, ...]
    closed: bool = False


class _Delimiter(NamedTuple):
    start: int
    end: int
    level: int
    closing: bool


def parse_structure(buffer: Buffer, defects: Defects) -> Part:
    """Return the root part of a message, with all its parts."""
    return _StructureParser(buffer, defects).run()


class _StructureParser:
    def __init__(self, buffer: Buffer, defects: Defects) -> None:
        self._buffer = buffer
        self._defects = defects
        self._start = _header_start(buffer)
        self._bare_cr = _BARE_CR.match(buffer.slice(self._start, self._start + 4096)) is not None
        self._dashes = self._dash_finder()
        self._header_ends = _HEADER_END_CR if self._bare_cr else _HEADER_END
        self._open: list[_OpenMultipart] = []
        self._levels: dict[bytes, list[int]] = {}
        self._current: Part | None = None
        self._count = 0
        self._kept_bytes = 0
        self._search = BoundarySearch(buffer, self._levels.keys(), bare_cr=self._bare_cr)

    def run(self) -> Part:
        root, position = self._begin_part(self._start, None)
        while self._open:
            delimiter = self._next_delimiter(position, self._buffer.size)
            if delimiter is None:
                break
            self._finish_current(delimiter.start)
            self._close_to(delimiter.level, delimiter.start)
            multipart = self._open[delimiter.level]
            multipart.closed = delimiter.closing
            if delimiter.closing:
                position = delimiter.end - 1
            elif self._count >= MAX_PARTS:
                self._defects.add_exceeded_limit(
                    f"there are more than {MAX_PARTS} parts: the rest is kept as one attachment"
                )
                multipart.closed = True
                multipart.part.children.append(self._opaque_part(delimiter.start + 1, self._buffer.size))
                break
            else:
                _, position = self._begin_part(delimiter.end, multipart.part)
        self._finish_current(self._buffer.size)
        self._close_to(-1, self._buffer.size)
        return root

    def _begin_part(self, start: int, parent: Part | None) -> tuple[Part, int]:
        """Parse a part's header; return the part, and the position from which to search for the next delimiter."""
        self._count += 1
        headers, body, truncated = self._parse_header(start, root=parent is None)
        default = (
            "message/rfc822" if parent is not None and parent.content_type.kind == "multipart/digest" else "text/plain"
        )
        content_type = self._parse_content_type(headers, default, body)
        part = Part(headers, content_type, body, self._buffer.size)
        if parent is not None:
            parent.children.append(part)
            self._kept_bytes += sum(len(value) for _, value in headers.fields)
        if truncated:
            limit = MAX_HEADER if parent is None else MAX_PART_HEADER
            self._defects.add_exceeded_limit(
                f"a header is longer than {limit} bytes: the rest is kept as an attachment"
            )
            part.content_type, part.opaque = OPAQUE, True
        elif self._kept_bytes > MAX_PART_FIELDS:
            self._defects.add_exceeded_limit(
                f"parts have more than {MAX_PART_FIELDS} bytes of fields: the rest are kept as attachments"
            )
            part.headers = Headers([], self._defects)
            part.content_type, part.opaque = OPAQUE, True
        elif content_type.kind.startswith("multipart/"):
            self._open_multipart(part)
        self._current = part
        return part, max(body - 1, 0)

    def _parse_header(self, start: int, *, root: bool) -> tuple[Headers, int, bool]:
        """Return the header block at `start`, the start of the body, and whether the block was truncated."""
        size = self._buffer.size
        limit = min(size, start + (MAX_HEADER if root else MAX_PART_HEADER))
        if start == 0 and (first := re.match(rb"\r{0,2}\n", self._buffer.slice(0, 3))):
            return Headers([], self._defects), first.end(), False
        end, body = self._find_header_end(start, limit)
        truncated = end == limit < size
        block = self._buffer.slice(start, end)
        if truncated:
            end = body = start + (block.rfind(b"\n") + 1 or len(block))
            block = block[: end - start]
        names = None if root else PART_FIELDS
        headers, consumed = parse_block(block, self._defects, bare_cr=self._bare_cr, names=names)
        if consumed < len(block):
            self._dashes = self._dash_finder()  # bytes that were passed as header may contain delimiters
            return headers, start + consumed, False
        return headers, body, truncated

    def _find_header_end(self, start: int, limit: int) -> tuple[int, int]:
        """Return the end of a header block and the start of the body: `limit` for both if nothing ends the block.

        A block ends at an empty line, at a delimiter, or at a line of dashes that is not a field. Nothing beyond the
        end is read here, so that nested headers without an empty line take linear time.
        """
        block_start = max(start - 1, 0)  # the line break before the block is part of an empty first line
        position = 0
        for window in (_USUAL_HEADER, limit - block_start):
            data = self._buffer.slice(block_start, min(block_start + window, limit))
            while match := self._header_ends.search(data, position):
                if match.lastindex is None:
                    return max(block_start + match.start() + 1, start), block_start + match.end()
                dashes = block_start + match.start()
                line, _ = self._dash_line(dashes)
                if line in self._levels or (line.endswith(b"--") and line[:-2] in self._levels):
                    return max(dashes + 1, start), max(dashes + 1, start)
                if not _FIELD_LINE.match(b"--" + line):
                    self._defects.add("no empty line between header and body")
                    return max(dashes + 1, start), max(dashes + 1, start)
                position = match.start() + 1
            if block_start + window >= limit:
                break
        return limit, limit

    def _dash_finder(self) -> Finder:
        return Finder(self._buffer, (b"\n--", b"\r--") if self._bare_cr else (b"\n--",))

    def _parse_content_type(self, headers: Headers, default: str, body: int) -> ParametrisedValue:
        text = headers.get("content-type")
        if text is None:
            return ParametrisedValue(default, {})
        content_type = parse_parameters(text, self._defects)
        main, slash, _ = content_type.kind.partition("/")
        if slash and (main in _TYPES or main.startswith("x-")):
            return content_type
        if self._is_multipart(content_type, body):
            self._defects.add("the type of a multipart cannot be read: taken from the text (RFC 2046 section 5.1.3)")
            subtype = _SUBTYPE.search(text.partition(";")[0].lower())
            return ParametrisedValue(f"multipart/{subtype[0] if subtype else 'mixed'}", content_type.parameters)
        if slash:
            return content_type
        if content_type.kind in _FILE_TYPES or "name" in content_type.parameters or self._is_file(headers):
            self._defects.add("a Content-Type cannot be read: taken as application/octet-stream")
            return ParametrisedValue(OPAQUE.kind, content_type.parameters)
        kind = "text/html" if _HTML.fullmatch(text.partition(";")[0].lower()) else "text/plain"
        self._defects.add(f"a Content-Type cannot be read: taken as {kind}")
        return ParametrisedValue(kind, content_type.parameters)

    def _is_multipart(self, content_type: ParametrisedValue, body: int) -> bool:
        """Return whether a part with an unreadable type is a multipart: its declared boundary begins a line.

        If the type is `multipart`, any declared boundary suffices, or a line that clearly begins a part.
        """
        boundary = content_type.parameters.get("boundary", "").encode().rstrip()
        if not boundary and _MULTIPART.match(content_type.kind):
            return self._search.has_part(body)
        if not boundary or _MULTIPART.match(content_type.kind):
            return bool(boundary)
        return has_delimiter(boundary, self._buffer.slice(body, body + LOOKAHEAD))

    def _is_file(self, headers: Headers) -> bool:
        """Return whether the disposition marks a part as a file."""
        text = headers.get("content-disposition")
        disposition = parse_parameters(text, self._defects) if text else OPAQUE
        names = map(disposition.parameters.get, ("filename", "name"))
        return disposition.kind == "attachment" or any(names)

    def _open_multipart(self, part: Part) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._defects.add_exceeded_limit(
                f"there are more than {MAX_DEPTH} multiparts inside each other: kept as an attachment"
            )
            part.content_type, part.opaque = OPAQUE, True
            return
        declared = part.content_type.parameters.get("boundary", "").encode().rstrip()
        boundaries: tuple[bytes, ...]
        if not 0 < len(declared) <= MAX_BOUNDARY:
            boundaries = (self._search.find_undeclared(part.start) or _NO_BOUNDARY,)
            self._defects.add("a multipart declares no usable boundary")
        elif begins_with_delimiter(declared, self._buffer.slice(part.start, part.start + LOOKAHEAD)):
            boundaries = (declared,)
        else:
            boundaries = self._actual_boundaries(part, declared)
        for boundary in boundaries:
            self._levels.setdefault(boundary, []).append(len(self._open))
        self._open.append(_OpenMultipart(part, boundaries))

    def _actual_boundaries(self, part: Part, declared: bytes) -> tuple[bytes, ...]:
        """Return the boundaries of a multipart that does not begin with its declared boundary.

        The parts before the first declared delimiter, or all of them, may have another boundary.
        """
        actual = self._search.find_actual(part.start, declared)
        if actual is None:
            return (declared,)
        self._defects.add("another boundary than the declared one delimits parts")
        if declared in self._levels or declared == actual + b"--":
            return (actual,)
        return actual, declared

    def _next_delimiter(self, position: int, end: int) -> _Delimiter | None:
        """Return the next line from `position` on that is a delimiter of an open multipart and begins before `end`."""
        while (dashes := self._dashes.find_next(position, self._buffer.size)) and dashes[0] < end:
            start = dashes[0]
            line, line_end = self._dash_line(start)
            if line in self._levels:
                return _Delimiter(start, line_end, self._level(line), closing=False)
            if line.endswith(b"--") and line[:-2] in self._levels:
                return _Delimiter(start, line_end, self._level(line[:-2]), closing=True)
            position = start + 1
        return None

    def _dash_line(self, start: int) -> tuple[bytes, int]:
        """Return the line after the line break at `start` without dashes and white space, and the next line's start."""
        line = self._buffer.slice(start + 1, start + MAX_BOUNDARY + 8).split(b"\n", 1)[0]
        line = line.split(b"\r", 1)[0] if self._bare_cr else line
        end = min(start + 1 + len(line) + 1, self._buffer.size)
        if self._bare_cr and self._buffer.slice(end - 1, end + 1) == b"\r\n":
            end += 1
        return line.rstrip(b" \t\r")[2:], end

    def _level(self, boundary: bytes) -> int:
        """Return the level of the multipart that a boundary delimits: the innermost open one with this boundary."""
        levels = self._levels[boundary]
        return next((level for level in reversed(levels) if not self._open[level].closed), levels[-1])

    def _finish_current(self, end: int) -> None:
        """End the current part before a delimiter's line; the line break before it belongs to the delimiter."""
        part, self._current = self._current, None
        if part is None:
            return
        if end < self._buffer.size and self._buffer.slice(end - 1, end + 1) == b"\r\n":
            end -= 1
        part.end = max(end, part.start)

    def _close_to(self, level: int, end: int) -> None:
        while len(self._open) > level + 1:
            multipart = self._open.pop()
            for boundary in multipart.boundaries:
                levels = self._levels[boundary]
                levels.pop()
                if not levels:
                    del self._levels[boundary]
            part = multipart.part
            part.end = max(end, part.start)
            if part.children:
                if not multipart.closed:
                    self._defects.add("a multipart has no closing boundary")
            elif self._is_empty(part):
                self._defects.add("a multipart has no parts and no content")
            else:
                self._defects.add("a multipart has no parts: taken as text")
                part.content_type = ParametrisedValue("text/plain", {})

    def _is_empty(self, part: Part) -> bool:
        """Return whether a multipart without parts contains only closing delimiters, after a note on MIME or nothing.

        Programs write the note before the first delimiter, for readers without MIME (RFC 2046 section 5.1.1).
        """
        if part.end - part.start > _MAX_EMPTY_SIZE:
            return False
        content = self._buffer.slice(part.start, part.end).strip()
        note = content.find(b"\n--") + 1
        if 0 < note < _MAX_NOTE and _NOTE.search(content, 0, note):
            content = content[note:]
        return not content or _ONLY_CLOSING.fullmatch(content) is not None

    def _opaque_part(self, start: int, end: int) -> Part:
        return Part(Headers([], self._defects), OPAQUE, min(start, end), end, opaque=True)


def _header_start(buffer: Buffer) -> int:
    """Return the start of the message's header: after blank lines and a byte order mark, if a header follows them."""
    if buffer.slice(0, 1) not in {b"\r", b"\n", b" ", b"\t", b"\xef"}:
        return 0
    match = _BLANK_LINES.match(buffer.slice(0, _MAX_BLANK))
    start = match.end() if match else 0
    data = buffer.slice(start, start + _FIRST_FIELDS)
    if len(data) == _FIRST_FIELDS:
        data = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1]  # the last line may be incomplete
    return start if looks_like_header(data) else 0
