"""POP3 framing, for every split of the stream."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailboxes.pop3.errors import ProtocolViolation, connection_error
from shared.mailboxes.pop3.wire import MAX_LINE_LENGTH, Wire


class FakeSocket:
    """A socket that returns the stream in given parts."""

    def __init__(self, pieces: list[bytes], error: Exception | None = None) -> None:
        self._pieces: Iterator[bytes] = iter([piece for piece in pieces if piece])
        self._error = error

    def recv(self, _size: int) -> bytes:
        if self._error is not None:
            raise self._error
        return next(self._pieces, b"")

    def sendall(self, _data: bytes) -> None:
        if self._error is not None:
            raise self._error


def wire_of(*pieces: bytes, error: Exception | None = None) -> Wire:
    connection: Any = FakeSocket(list(pieces), error)
    return Wire(connection)


def stuff(body: bytes) -> bytes:
    return (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def read_message(wire: Wire) -> bytes:
    parts: list[bytes] = []
    wire.read_multiline(parts.append)
    return b"".join(parts)


PARTS = st.sampled_from([b".", b"..", b"\r\n", b"\r", b"\n", b"a", b".\r\n", b"\r\n.\r\n", b"xyz", b"\xff\x00"])
MESSAGES = st.lists(PARTS, max_size=24).map(lambda parts: b"".join([*parts, b"\r\n"]))


@given(MESSAGES, MESSAGES, st.lists(st.integers(0, 200), max_size=12))
def test_dot_stuffing_is_undone_for_any_split(first: bytes, second: bytes, cuts: list[int]) -> None:
    stream = stuff(first) + b"+OK\r\n" + stuff(second) + b"-ERR last\r\n"
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    wire = wire_of(*(stream[a:b] for a, b in pairwise(places)))
    assert read_message(wire) == first
    assert wire.read_response() == (True, "")
    assert read_message(wire) == second
    assert wire.read_response() == (False, "last")


@given(MESSAGES)
def test_dot_stuffing_is_undone_byte_by_byte(body: bytes) -> None:
    wire = wire_of(*(bytes([byte]) for byte in stuff(body) + b"+OK next\r\n"))
    assert read_message(wire) == body
    assert wire.read_response() == (True, "next")


def test_an_empty_message() -> None:
    assert read_message(wire_of(b".\r\n")) == b""


def test_a_leading_dot_is_removed() -> None:
    assert read_message(wire_of(b".a\r\nb\r\n.c\r\n.\r\n")) == b"a\r\nb\r\nc\r\n"


def test_a_long_line_is_passed_on_in_parts() -> None:
    sizes: list[int] = []
    wire = wire_of(*([b"x" * 100_000] * 50), b"\r\n.\r\n")
    wire.read_multiline(lambda part: sizes.append(len(part)))
    assert sum(sizes) == 5_000_002
    assert max(sizes) <= 100_004


def test_a_line_without_an_end_raises() -> None:
    with pytest.raises(ProtocolViolation):
        wire_of(*([b"x" * 1_000] * (MAX_LINE_LENGTH // 1_000 + 2))).read_line()


@pytest.mark.parametrize("stream", [b"", b"+OK", b"OK\r\n", b"+OKAY\r\n", b"\r\n", b"HTTP/1.1 400\r\n"])
def test_an_invalid_response_raises(stream: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        wire_of(stream).read_response()


@pytest.mark.parametrize("line", [b"+OK\r\n", b"+ok\n", b"+OK \r\n"])
def test_responses_are_parsed_leniently(line: bytes) -> None:
    assert wire_of(line).read_response() == (True, "")


def errors() -> list[OSError]:
    """Return an instance of every exception class that `socket` and `ssl` may raise on a connection."""
    kinds: list[type[OSError]] = [OSError]
    for kind in kinds:
        kinds += [
            subclass
            for subclass in kind.__subclasses__()
            if subclass.__module__ in ("builtins", "ssl", "socket", "_ssl")
        ]
    kinds += [ssl.SSLError, socket.gaierror, socket.herror]
    return [kind(5, "what the system says") for kind in dict.fromkeys(kinds)]


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
def test_every_socket_error_is_mapped(error: OSError) -> None:
    assert isinstance(connection_error(error), ProtocolViolation)
    with pytest.raises(ProtocolViolation):
        wire_of(error=error).read_line()
    with pytest.raises(ProtocolViolation):
        wire_of(error=error).send(b"QUIT")


def test_the_list_of_errors_is_complete() -> None:
    names = {type(error).__name__ for error in errors()}
    assert {"TimeoutError", "ConnectionResetError", "BrokenPipeError", "SSLEOFError", "SSLZeroReturnError"} <= names
