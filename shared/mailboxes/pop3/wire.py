"""POP3 on the wire: lines, and what is ended by a line with a dot, read from large buffers (RFC 1939 section 3).

A message is never cut into lines: its end and its stuffed dots are found in the buffer as it came, so that neither the
length of a line nor that of a message matters.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from shared.mailboxes.pop3.errors import GarbledResponse, ProtocolViolation, connection_error

RECEIVE: Final = 256 * 1024
"""Octets asked of the socket at once."""

LONGEST_LINE: Final = 64 * 1024
"""Octets of an answer's first line at the most: RFC 1939 allows 512."""

LARGEST_LISTING: Final = 256 * 1024 * 1024
"""Octets of a listing at the most: some millions of messages."""

_END: Final = b"\r\n.\r\n"

Sink = Callable[[bytes], object]


class Wire:
    """A connection to a POP3 server, from our side. Every method that reads or writes may raise `ProtocolViolation`.

    Args:
        connection: connected; its time-out is how long any silence may last.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = b""
        self._at = 0

    def replace(self, connection: socket.socket) -> None:
        """Go on with another socket (after STLS); what came before is thrown away (rule 1.2)."""
        self.connection = connection
        self._buffer, self._at = b"", 0

    def send(self, *lines: bytes) -> None:
        """Send command lines in one write."""
        try:
            self.connection.sendall(b"".join(line + b"\r\n" for line in lines))
        except OSError as error:
            raise connection_error(error) from error

    def line(self) -> bytes:
        """The next line, without its end."""
        searched = self._at
        while (end := self._buffer.find(b"\n", searched)) < 0:
            if len(self._buffer) - self._at > LONGEST_LINE:
                raise GarbledResponse("the server's answer is no POP3: a line without an end")
            searched = len(self._buffer) - self._at
            self._receive()
        line = self._buffer[self._at : end]
        self._at = end + 1
        return line.removesuffix(b"\r")

    def answer(self) -> tuple[bool, str]:
        """The next answer's first line: whether it is `+OK`, and its text."""
        line = self.line()
        word, _, text = line.partition(b" ")
        if word.upper() not in (b"+OK", b"-ERR"):
            raise GarbledResponse("the server's answer is no POP3: neither +OK nor -ERR")
        return word[:1] == b"+", text.decode("utf-8", "replace").strip()

    def drain(self, sink: Sink) -> None:
        """Give what follows, up to the line with the dot, to `sink` in pieces: unstuffed, and otherwise as it came."""
        at_line_start = True
        while True:
            buffer, start = self._buffer, self._at
            if at_line_start and buffer.startswith(b".", start):
                if len(buffer) - start < len(b".\r\n"):
                    self._receive()
                    continue
                if buffer.startswith(b".\r\n", start):
                    self._at = start + 3
                    return
                start += 1
            end = buffer.find(_END, start)
            if end >= 0:
                sink(_unstuffed(buffer, start, end + 2))
                self._at = end + len(_END)
                return
            # What may be the beginning of the end, or of a stuffed dot, waits for what comes next.
            end = max(start, len(buffer) - len(_END) + 1)
            if buffer.endswith(b"\r", start, end):
                end -= 1
            if end > start:
                sink(_unstuffed(buffer, start, end))
                at_line_start = buffer.endswith(b"\r\n", start, end)
                self._at = end
            self._receive()

    def listing(self) -> list[bytes]:
        """What follows, up to the line with the dot, as lines."""
        parts: list[bytes] = []
        size = 0

        def take(part: bytes) -> None:
            nonlocal size
            size += len(part)
            if size > LARGEST_LISTING:
                raise ProtocolViolation("the server's listing has no end")
            parts.append(part)

        self.drain(take)
        return b"".join(parts).splitlines()

    def _receive(self) -> None:
        try:
            more = self.connection.recv(RECEIVE)
        except OSError as error:
            raise connection_error(error) from error
        if not more:
            raise ProtocolViolation("the server cut the connection")
        self._buffer = self._buffer[self._at :] + more if self._at < len(self._buffer) else more
        self._at = 0


def _unstuffed(buffer: bytes, start: int, end: int) -> bytes:
    return buffer[start:end].replace(b"\r\n.", b"\r\n")
