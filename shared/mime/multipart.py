"""The parts of a message, as places in its buffer (RFC 2046 section 5.1).

One pass from the beginning to the end, whatever the nesting: every line that begins with `--` is looked at once, and
compared with the boundaries that are open there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.mime.buffer import Buffer, Finder
from shared.mime.defects import Defects
from shared.mime.headers import OF_A_PART, Headers, looks_like_header, read_block
from shared.mime.parameters import Parametrised, read

MAX_DEPTH = 100
"""Multiparts inside each other."""

MAX_PARTS = 10_000
"""Parts of one message."""

MAX_HEADER = 1024 * 1024
"""Bytes of the message's own header block."""

MAX_PART_HEADER = 64 * 1024
"""Bytes of the header block of any other part."""

MAX_PART_FIELDS = 8 * 1024 * 1024
"""Bytes of the fields that are kept of all these parts together."""

LONGEST_BOUNDARY = 500
"""Bytes; RFC 2046 allows 70."""

OPAQUE = Parametrised("application/octet-stream", {})

_LOOKAHEAD = 2 * 1024
"""Bytes from a multipart's start in which its first delimiter is expected."""

_MOST_BLANK = 8 * 1024
"""Bytes of white space before the message's header."""

_MOST_GUESSES = 20
"""Multiparts of one message whose boundary is looked for if it is named wrongly."""

_LONGEST_EMPTY = 64 * 1024
"""Bytes of white space and delimiters that a multipart without parts may hold."""

_NO_BOUNDARY = b"\n"  # in no line
_FILES = frozenset({"application", "audio", "font", "image", "model", "video"})

_BARE_CR = re.compile(rb"[!-9;-~]{1,80}[ \t]*:[^\r\n]{0,2000}\r(?:[!-9;-~]{1,80}[ \t]*:|[ \t])")
_FIRST_LINE = re.compile(rb"\s{0,80}--([^\s]{1,200})[ \t]*\r?\n")
_MULTIPART = re.compile(r"multipart(?![a-z0-9])")
_DASH_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))--([^\s]{1,200}+)[ \t]*+(?:\r?\n|\r)")
_END_OF_DELIMITER = re.compile(rb"(?:--)?[ \t]*+(?:[\r\n]|\Z)")
_LONGEST_PADDING = 80
_CONTENT_FIELD = re.compile(rb"content-[a-z-]{1,40}[ \t]*:", re.IGNORECASE)
_HEADER_END = re.compile(rb"\n(?:\r{0,2}\n|(--))")
_HEADER_END_CR = re.compile(rb"\n(?:\r{0,2}\n|(--))|\r(?:\r|\n\r\n|(--))")
_USUAL_HEADER = 2 * 1024
_ONLY_CLOSING = re.compile(rb"--[^\s]{1,500}--")
_FIELD_LINE = re.compile(rb"[!-9;-~]+[ \t]*:")
_BLANK_LINES = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t]*+(?:\r{1,2}\n|\r|\n))*+")


@dataclass(slots=True)
class Part:
    """One part; the root is the message itself.

    Attributes:
        headers: its header.
        content: its content type and parameters.
        start: where its content begins in the buffer.
        end: where its content ends.
        children: its parts, if it is a multipart.
        opaque: a cap was passed: kept as bytes, whatever it says it is.
    """

    headers: Headers
    content: Parametrised
    start: int
    end: int
    children: list[Part] = field(default_factory=list)
    opaque: bool = False


@dataclass(slots=True)
class _Open:
    """A multipart whose parts are being collected."""

    part: Part
    boundary: bytes
    closed: bool = False


class _Delimiter(NamedTuple):
    at: int
    after: int
    level: int
    closing: bool


def split(buffer: Buffer, defects: Defects) -> Part:
    """Find the parts of a message."""
    return _Splitter(buffer, defects).run()


class _Splitter:
    def __init__(self, buffer: Buffer, defects: Defects) -> None:
        self._buffer = buffer
        self._defects = defects
        self._start = _header_start(buffer)
        self._bare_cr = _BARE_CR.match(buffer.slice(self._start, self._start + 4096)) is not None
        self._dashes = self._dash_finder()
        self._header_ends = _HEADER_END_CR if self._bare_cr else _HEADER_END
        self._open: list[_Open] = []
        self._levels: dict[bytes, list[int]] = {}
        self._current: Part | None = None
        self._count = 0
        self._kept = 0
        self._guesses = 0

    def run(self) -> Part:
        root, position = self._begin(self._start, None)
        while self._open:
            found = self._delimiter(position, self._buffer.size)
            if found is None:
                break
            self._finish_current(found.at)
            self._close_to(found.level, found.at)
            multipart = self._open[found.level]
            multipart.closed = found.closing
            if found.closing:
                position = found.after - 1
            elif self._count >= MAX_PARTS:
                self._defects.cap(f"there are more than {MAX_PARTS} parts: the rest is kept as one attachment")
                multipart.closed = True
                multipart.part.children.append(self._opaque(found.at + 1, self._buffer.size))
                break
            else:
                _, position = self._begin(found.after, multipart.part)
        self._finish_current(self._buffer.size)
        self._close_to(-1, self._buffer.size)
        return root

    def _begin(self, start: int, parent: Part | None) -> tuple[Part, int]:
        """Read a part's header. Gives the part, and from where the next delimiter is looked for."""
        self._count += 1
        headers, body, cut = self._header(start, root=parent is None)
        default = "message/rfc822" if parent is not None and parent.content.kind == "multipart/digest" else "text/plain"
        content = self._content(headers, default)
        part = Part(headers, content, body, self._buffer.size)
        if parent is not None:
            parent.children.append(part)
        if parent is not None:
            self._kept += sum(len(value) for _, value in headers.fields)
        if cut:
            most = MAX_HEADER if parent is None else MAX_PART_HEADER
            self._defects.cap(f"a header is longer than {most} bytes: the rest is kept as an attachment")
            part.content, part.opaque = OPAQUE, True
        elif self._kept > MAX_PART_FIELDS:
            self._defects.cap(
                f"parts have more than {MAX_PART_FIELDS} bytes of fields: the rest are kept as attachments"
            )
            part.headers = Headers([], self._defects)
            part.content, part.opaque = OPAQUE, True
        elif content.kind.startswith("multipart/"):
            self._open_multipart(part)
        self._current = part
        return part, max(body - 1, 0)

    def _header(self, start: int, *, root: bool) -> tuple[Headers, int, bool]:
        """The header block that begins at `start`, where the body begins, and whether the block was cut."""
        size = self._buffer.size
        limit = min(size, start + (MAX_HEADER if root else MAX_PART_HEADER))
        if start == 0 and (first := re.match(rb"\r{0,2}\n", self._buffer.slice(0, 3))):
            return Headers([], self._defects), first.end(), False
        end, body = self._header_end(start, limit)
        cut = end == limit < size
        block = self._buffer.slice(start, end)
        if cut:
            end = body = start + (block.rfind(b"\n") + 1 or len(block))
            block = block[: end - start]
        names = None if root else OF_A_PART
        headers, used = read_block(block, self._defects, bare_cr=self._bare_cr, names=names)
        if used < len(block):
            self._dashes = self._dash_finder()  # what was passed as header may hold delimiters
            return headers, start + used, False
        return headers, body, cut

    def _header_end(self, start: int, limit: int) -> tuple[int, int]:
        """Where a header block ends, and where the body begins: `limit` for both if nothing ends it.

        An empty line ends it, and so do a delimiter and a line of dashes that is not a field. What is behind is not
        read here, so that nested headers without an empty line take linear time.
        """
        first = max(start - 1, 0)  # the line break before the block is part of an empty first line
        at = 0
        for window in (_USUAL_HEADER, limit - first):
            data = self._buffer.slice(first, min(first + window, limit))
            while match := self._header_ends.search(data, at):
                if match.lastindex is None:
                    return max(first + match.start() + 1, start), first + match.end()
                dashes = first + match.start()
                line, _ = self._dash_line(dashes)
                if line in self._levels or (line.endswith(b"--") and line[:-2] in self._levels):
                    return max(dashes + 1, start), max(dashes + 1, start)
                if not _FIELD_LINE.match(b"--" + line):
                    self._defects.add("no empty line stands between header and body")
                    return max(dashes + 1, start), max(dashes + 1, start)
                at = match.start() + 1
            if first + window >= limit:
                break
        return limit, limit

    def _dash_finder(self) -> Finder:
        return Finder(self._buffer, (b"\n--", b"\r--") if self._bare_cr else (b"\n--",))

    def _content(self, headers: Headers, default: str) -> Parametrised:
        text = headers.text("content-type")
        if text is None:
            return Parametrised(default, {})
        content = read(text, self._defects)
        if "/" in content.kind:
            return content
        if _MULTIPART.match(content.kind) and "boundary" in content.parameters:
            self._defects.add(
                "a multipart names no readable subtype: taken as multipart/mixed (RFC 2046 section 5.1.3)"
            )
            return Parametrised("multipart/mixed", content.parameters)
        if content.kind in _FILES or "name" in content.parameters or self._is_file(headers):
            self._defects.add("a Content-Type cannot be read: taken as application/octet-stream")
            return Parametrised(OPAQUE.kind, content.parameters)
        self._defects.add("a Content-Type cannot be read: taken as text/plain")
        return Parametrised("text/plain", content.parameters)

    def _is_file(self, headers: Headers) -> bool:
        """Return whether the disposition says that a part is a file."""
        text = headers.text("content-disposition")
        disposition = read(text, self._defects) if text else OPAQUE
        return disposition.kind == "attachment" or bool(disposition.parameters.get("filename"))

    def _open_multipart(self, part: Part) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._defects.cap(f"there are more than {MAX_DEPTH} multiparts inside each other: kept as an attachment")
            part.content, part.opaque = OPAQUE, True
            return
        boundary = part.content.parameters.get("boundary", "").encode().rstrip()
        head = self._buffer.slice(part.start, part.start + _LOOKAHEAD)
        if not 0 < len(boundary) <= LONGEST_BOUNDARY:
            boundary = self._unnamed_boundary(head)
            self._defects.add("a multipart names no usable boundary")
        elif not _has_delimiter(b"--" + boundary, head):
            boundary = self._other_boundary(part, boundary, head)
        self._levels.setdefault(boundary, []).append(len(self._open))
        self._open.append(_Open(part, boundary))

    def _unnamed_boundary(self, head: bytes) -> bytes:
        first = _FIRST_LINE.match(head[:LONGEST_BOUNDARY])
        if first and not first[1].endswith(b"--"):
            return first[1]
        return self._boundary_in(head) or _NO_BOUNDARY

    def _other_boundary(self, part: Part, named: bytes, head: bytes) -> bytes:
        """The boundary of a multipart that does not begin with the one that it names."""
        self._guesses += 1
        if self._guesses > _MOST_GUESSES or self._is_used(named, part.start):
            return named
        other = self._boundary_in(head)
        if other is None:
            return named
        self._defects.add("a multipart names a boundary that it does not use: another one delimits its parts")
        return other

    def _is_used(self, boundary: bytes, start: int) -> bool:
        """Return whether a line from `start` on is a delimiter with this boundary."""
        needle = b"\n--" + boundary
        for _ in range(_MOST_GUESSES):
            start = self._buffer.find(needle, start, self._buffer.size)
            if start < 0:
                return False
            start += len(needle)
            if _END_OF_DELIMITER.match(self._buffer.slice(start, start + _LONGEST_PADDING)):
                return True
        return True

    def _boundary_in(self, head: bytes) -> bytes | None:
        """The boundary of the first line that clearly begins a part: a `Content-` field follows it.

        The search ends at a delimiter of a multipart around this one.
        """
        for match in _DASH_LINE.finditer(head):
            boundary = match[1]
            if boundary in self._levels or boundary.removesuffix(b"--") in self._levels:
                return None
            if _CONTENT_FIELD.match(head, match.end()):
                return boundary
        return None

    def _delimiter(self, position: int, end: int) -> _Delimiter | None:
        """The next line from `position` on that is a delimiter of an open multipart and begins before `end`."""
        while (dashes := self._dashes.next(position, self._buffer.size)) and dashes[0] < end:
            at = dashes[0]
            line, after = self._dash_line(at)
            if line in self._levels:
                return _Delimiter(at, after, self._level(line), closing=False)
            if line.endswith(b"--") and line[:-2] in self._levels:
                return _Delimiter(at, after, self._level(line[:-2]), closing=True)
            position = at + 1
        return None

    def _dash_line(self, at: int) -> tuple[bytes, int]:
        """The line behind the line break at `at`, without its dashes and white space, and where the next one begins."""
        line = self._buffer.slice(at + 1, at + LONGEST_BOUNDARY + 8).split(b"\n", 1)[0]
        line = line.split(b"\r", 1)[0] if self._bare_cr else line
        after = min(at + 1 + len(line) + 1, self._buffer.size)
        if self._bare_cr and self._buffer.slice(after - 1, after + 1) == b"\r\n":
            after += 1
        return line.rstrip(b" \t\r")[2:], after

    def _level(self, boundary: bytes) -> int:
        """Which of the multiparts that share a boundary is meant: the innermost that is not closed yet."""
        levels = self._levels[boundary]
        return next((level for level in reversed(levels) if not self._open[level].closed), levels[-1])

    def _finish_current(self, at: int) -> None:
        """End the part before a delimiter's line; the line break before it is the delimiter's."""
        part, self._current = self._current, None
        if part is None:
            return
        if at < self._buffer.size and self._buffer.slice(at - 1, at + 1) == b"\r\n":
            at -= 1
        part.end = max(at, part.start)

    def _close_to(self, level: int, at: int) -> None:
        while len(self._open) > level + 1:
            multipart = self._open.pop()
            levels = self._levels[multipart.boundary]
            levels.pop()
            if not levels:
                del self._levels[multipart.boundary]
            part = multipart.part
            part.end = max(at, part.start)
            if part.children:
                if not multipart.closed:
                    self._defects.add("a multipart has no closing boundary")
            elif self._is_empty(part):
                self._defects.add("a multipart has no parts and no content")
            else:
                self._defects.add("a multipart has no parts: taken as text")
                part.content = Parametrised("text/plain", {})

    def _is_empty(self, part: Part) -> bool:
        """Return whether nothing but white space and a closing delimiter is in a multipart without parts."""
        if part.end - part.start > _LONGEST_EMPTY:
            return False
        content = self._buffer.slice(part.start, part.end).strip()
        return not content or _ONLY_CLOSING.fullmatch(content) is not None

    def _opaque(self, start: int, end: int) -> Part:
        return Part(Headers([], self._defects), OPAQUE, min(start, end), end, opaque=True)


def _header_start(buffer: Buffer) -> int:
    """Where the message's header begins: behind blank lines and a byte order mark, if a header follows them."""
    if buffer.slice(0, 1) not in {b"\r", b"\n", b" ", b"\t", b"\xef"}:
        return 0
    match = _BLANK_LINES.match(buffer.slice(0, _MOST_BLANK))
    start = match.end() if match else 0
    return start if looks_like_header(buffer.slice(start, start + _LOOKAHEAD)) else 0


def _has_delimiter(delimiter: bytes, data: bytes) -> bool:
    """Return whether a line of data is a delimiter, closing or not."""
    at = data.find(delimiter)
    while at >= 0:
        end = at + len(delimiter)
        if (at == 0 or data[at - 1] in b"\r\n") and _END_OF_DELIMITER.match(data, end):
            return True
        at = data.find(delimiter, end)
    return False
