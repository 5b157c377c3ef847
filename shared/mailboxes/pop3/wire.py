"""Reads and writes POP3: lines and multi-line responses, from large buffers (RFC 1939 section 3).

A message is never split into lines. Its end and its stuffed dots are found in the receive buffer, so lines and messages
may have any length.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from shared.mailboxes.pop3.errors import GarbledResponse, ProtocolViolation, connection_error

RECEIVE_SIZE: Final = 256 * 1024
"""Bytes requested from the socket at once."""

MAX_LINE_LENGTH: Final = 64 * 1024
"""Bytes of a response's first line at most. RFC 1939 allows 512."""

MAX_LISTING_SIZE: Final = 256 * 1024 * 1024
"""Bytes of a listing at most: some millions of messages."""

_END: Final = b"\r\n.\r\n"

Sink = Callable[[bytes], object]


class Wire:
    """The client's end of a connection to a POP3 server. Every read or write may raise `ProtocolViolation`.

    Args:
        connection: the connected socket. Its timeout limits any silence.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = b""
        self._position = 0

    def replace(self, connection: socket.socket) -> None:
        """Continue on another socket (after STLS), and discard bytes received before (rule 1.2)."""
        self.connection = connection
        self._buffer, self._position = b"", 0

    def send(self, *lines: bytes) -> None:
        """Send command lines in one write."""
        try:
            self.connection.sendall(b"".join(line + b"\r\n" for line in lines))
        except OSError as error:
            raise connection_error(error) from error

    def read_line(self) -> bytes:
        """Return the next line, without its end."""
        search_from = self._position
        while (end := self._buffer.find(b"\n", search_from)) < 0:
            if len(self._buffer) - self._position > MAX_LINE_LENGTH:
                raise GarbledResponse("the server's response is not POP3: a line without an end")
            search_from = len(self._buffer) - self._position
            self._receive()
        line = self._buffer[self._position : end]
        self._position = end + 1
        return line.removesuffix(b"\r")

    def read_response(self) -> tuple[bool, str]:
        """Read the first line of the next response. Return whether it is `+OK`, and its text."""
        return parse_status(self.read_line())

    def read_multiline(self, sink: Sink) -> None:
        """Pass the rest of a multi-line response to `sink` in parts, with dot-stuffing undone and nothing else."""
        at_line_start = True
        while True:
            buffer, start = self._buffer, self._position
            if at_line_start and buffer.startswith(b".", start):
                if len(buffer) - start < len(b".\r\n"):
                    self._receive()
                    continue
                if buffer.startswith(b".\r\n", start):
                    self._position = start + 3
                    return
                start += 1
            end = buffer.find(_END, start)
            if end >= 0:
                sink(_unstuff(buffer, start, end + 2))
                self._position = end + len(_END)
                return
            # The last bytes may begin the end marker or a stuffed dot, so they stay in the buffer.
            end = max(start, len(buffer) - len(_END) + 1)
            if buffer.endswith(b"\r", start, end):
                end -= 1
            if end > start:
                sink(_unstuff(buffer, start, end))
                at_line_start = buffer.endswith(b"\r\n", start, end)
                self._position = end
            self._receive()

    def read_lines(self) -> list[bytes]:
        """Return the rest of a multi-line response as lines."""
        parts: list[bytes] = []
        size = 0

        def append(part: bytes) -> None:
            nonlocal size
            size += len(part)
            if size > MAX_LISTING_SIZE:
                raise ProtocolViolation("the server's listing has no end")
            parts.append(part)

        self.read_multiline(append)
        return b"".join(parts).splitlines()

    def _receive(self) -> None:
        try:
            received = self.connection.recv(RECEIVE_SIZE)
        except OSError as error:
            raise connection_error(error) from error
        if not received:
            raise ProtocolViolation("the server closed the connection")
        self._buffer = self._buffer[self._position :] + received if self._position < len(self._buffer) else received
        self._position = 0


def parse_status(line: bytes) -> tuple[bool, str]:
    """Return whether the first line of a response is `+OK`, and its text."""
    status, _, text = line.partition(b" ")
    if status.upper() not in (b"+OK", b"-ERR"):
        raise GarbledResponse("the server's response is not POP3: neither +OK nor -ERR")
    return status[:1] == b"+", text.decode("utf-8", "replace").strip()


def _unstuff(buffer: bytes, start: int, end: int) -> bytes:
    return buffer[start:end].replace(b"\r\n.", b"\r\n")
