"""Detects the response to another command within a message: some servers mix the responses to pipelined commands."""

from __future__ import annotations

from collections.abc import Callable


class ResponseDetector:
    """Passes a message on to a spool, and detects texts in it that may be the response to another command.

    Attributes:
        detected: the message contains such a text anywhere, since servers write responses into the middle of a line
            too. Base64 has no spaces, so it rarely matches.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._end = b""
        self.detected = False

    def write(self, part: bytes) -> None:
        """Pass on the next bytes."""
        self.detected = self.detected or _has_status(self._end + part[:4]) or _has_status(part)
        self._end = (self._end + part[-4:])[-4:]
        self._write(part)


def _has_status(data: bytes) -> bool:
    """Return whether bytes contain a status and the space or line end after it.

    Without a regular expression, which takes many times as long. Base64 often has the letters of a status.
    """
    for status in (b"+OK", b"-ERR"):
        at = data.find(status)
        while at >= 0:
            after = at + len(status)
            if data[after : after + 1] in (b" ", b"\r", b"\n"):
                return True
            at = data.find(status, after)
    return False
