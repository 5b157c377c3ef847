"""The parts of a message, as places in its buffer (RFC 2046 section 5.1).

One pass from the beginning to the end, whatever the nesting: every line that begins with `--` is looked at once, and
compared with the boundaries that are open there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.mail.buffer import Buffer, Finder
from shared.mail.defects import Defects
from shared.mail.headers import Headers, read_block
from shared.mail.parameters import Parametrised, read

MAX_DEPTH = 100
"""Multiparts inside each other."""

MAX_PARTS = 10_000
"""Parts of one message."""

MAX_HEADER = 1024 * 1024
"""Bytes of one header block."""

LONGEST_BOUNDARY = 500
"""Bytes; RFC 2046 allows 70."""

OPAQUE = Parametrised("application/octet-stream", {})

_BARE_CR = re.compile(rb"[!-9;-~]{1,80}[ \t]*:[^\r\n]{0,2000}\r(?:[!-9;-~]{1,80}[ \t]*:|[ \t])")
_FIRST_LINE = re.compile(rb"\s{0,80}--([^\s]{1,200})[ \t]*\r?\n")


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
        self._bare_cr = _BARE_CR.match(buffer.slice(0, 4096)) is not None
        self._dashes = self._dash_finder()
        empty = (b"\n\r\n", b"\n\n", b"\n\r\r\n")
        self._empty_lines = Finder(buffer, (*empty, b"\r\r", b"\r\n\r\n") if self._bare_cr else empty)
        self._open: list[_Open] = []
        self._levels: dict[bytes, list[int]] = {}
        self._current: Part | None = None
        self._count = 0

    def run(self) -> Part:
        root, position = self._begin(0, None)
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
        headers, body, cut = self._header(start)
        default = "message/rfc822" if parent is not None and parent.content.kind == "multipart/digest" else "text/plain"
        content = self._content(headers, default)
        part = Part(headers, content, body, self._buffer.size)
        if parent is not None:
            parent.children.append(part)
        if cut:
            self._defects.cap(f"a header is longer than {MAX_HEADER} bytes: the rest is kept as an attachment")
            part.content, part.opaque = OPAQUE, True
        elif content.kind.startswith("multipart/"):
            self._open_multipart(part)
        self._current = part
        return part, max(body - 1, 0)

    def _header(self, start: int) -> tuple[Headers, int, bool]:
        """The header block that begins at `start`, where the body begins, and whether the block was cut."""
        size = self._buffer.size
        limit = min(size, start + MAX_HEADER)
        if start == 0 and (first := re.match(rb"\r{0,2}\n", self._buffer.slice(0, 3))):
            return Headers([], self._defects), first.end(), False
        empty = self._empty_lines.next(max(start - 1, 0), limit)
        end, body = (empty[0] + 1, sum(empty)) if empty else (limit, limit)
        end = max(end, start)
        delimiter = self._delimiter(max(start - 1, 0), end) if self._open else None
        if delimiter is not None:
            end = body = max(delimiter.at + 1, start)
        cut = delimiter is None and empty is None and limit < size
        block = self._buffer.slice(start, end)
        if cut:
            end = body = start + (block.rfind(b"\n") + 1 or len(block))
            block = block[: end - start]
        headers, used = read_block(block, self._defects, bare_cr=self._bare_cr)
        if used < len(block):
            self._dashes = self._dash_finder()  # what was passed as header may hold delimiters
            return headers, start + used, False
        return headers, body, cut

    def _dash_finder(self) -> Finder:
        return Finder(self._buffer, (b"\n--", b"\r--") if self._bare_cr else (b"\n--",))

    def _content(self, headers: Headers, default: str) -> Parametrised:
        text = headers.text("content-type")
        if text is None:
            return Parametrised(default, {})
        content = read(text, self._defects)
        if "/" in content.kind:
            return content
        self._defects.add("a Content-Type cannot be read: taken as text/plain")
        return Parametrised("text/plain", content.parameters)

    def _open_multipart(self, part: Part) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._defects.cap(f"there are more than {MAX_DEPTH} multiparts inside each other: kept as an attachment")
            part.content, part.opaque = OPAQUE, True
            return
        boundary = part.content.parameters.get("boundary", "").encode().rstrip()
        if not 0 < len(boundary) <= LONGEST_BOUNDARY:
            first = _FIRST_LINE.match(self._buffer.slice(part.start, part.start + LONGEST_BOUNDARY))
            boundary = first[1] if first else b""
            self._defects.add("a multipart names no usable boundary")
        if not boundary:
            self._degrade(part)
            return
        self._levels.setdefault(boundary, []).append(len(self._open))
        self._open.append(_Open(part, boundary))

    def _delimiter(self, position: int, end: int) -> _Delimiter | None:
        """The next line from `position` on that is a delimiter of an open multipart and begins before `end`."""
        while (dashes := self._dashes.next(position, self._buffer.size)) and dashes[0] < end:
            at = dashes[0]
            text = self._buffer.slice(at + 1, at + LONGEST_BOUNDARY + 8)
            line = text.split(b"\n", 1)[0]
            line = line.split(b"\r", 1)[0] if self._bare_cr else line
            after = min(at + 1 + len(line) + 1, self._buffer.size)
            if self._bare_cr and self._buffer.slice(after - 1, after + 1) == b"\r\n":
                after += 1
            line = line.rstrip(b" \t\r")[2:]
            if line in self._levels:
                return _Delimiter(at, after, self._level(line), closing=False)
            if line.endswith(b"--") and line[:-2] in self._levels:
                return _Delimiter(at, after, self._level(line[:-2]), closing=True)
            position = at + 1
        return None

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
            multipart.part.end = max(at, multipart.part.start)
            if not multipart.part.children:
                self._degrade(multipart.part)
            elif not multipart.closed:
                self._defects.add("a multipart has no closing boundary")

    def _degrade(self, part: Part) -> None:
        """A multipart without parts is the text that it is made of."""
        self._defects.add("a multipart has no parts: taken as text")
        part.content = Parametrised("text/plain", {})

    def _opaque(self, start: int, end: int) -> Part:
        return Part(Headers([], self._defects), OPAQUE, min(start, end), end, opaque=True)
