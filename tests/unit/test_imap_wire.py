"""The parser of responses, on streams split at any position."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailboxes.imap.errors import CommandRejected, ProtocolViolation, ServerBye
from shared.mailboxes.imap.wire import MAX_QUEUED_BYTES, PIECE_SIZE, READ_SIZE, Body, OpenSink, Sink, SkippedBody, Wire


class Stream(io.BytesIO):
    """A connection as imaplib provides it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sent = b""
        self.largest = 0

    def send(self, data: bytes) -> None:
        self.sent += data

    def read(self, size: int | None = -1, /) -> bytes:
        self.largest = max(self.largest, size or 0)
        return super().read(size)


class MemorySink:
    """A sink in memory."""

    def __init__(self) -> None:
        self.data = b""
        self.discarded = False

    def write(self, data: bytes | memoryview) -> None:
        self.data += data

    def discard(self) -> None:
        self.discarded = True


def wire_on(data: bytes) -> tuple[Wire, Stream]:
    stream = Stream(data)
    imap: Any = stream
    return Wire(imap), stream


def fetched(wire: Wire, open_sink: OpenSink | None = None) -> list[Body]:
    (command,) = wire.fetch(b"UID FETCH 1:* (UID BODY.PEEK[])", open_sink=open_sink)
    bodies = list(wire.bodies_until(command))
    command.check()
    return bodies


def test_commands_are_sent_in_one_write_and_completed_by_tag() -> None:
    wire, stream = wire_on(b"W2 NO [CODE] second\r\nW1 OK first\r\n")
    first, second = wire.send(b"UID FETCH 1 (UID)", b"NOOP")
    assert stream.sent == b"W1 UID FETCH 1 (UID)\r\nW2 NOOP\r\n"
    assert not wire.is_idle
    wire.wait(first)
    assert wire.is_idle
    assert (first.status, first.response) == ("OK", "first")
    with pytest.raises(CommandRejected) as raised:
        second.check()
    assert (raised.value.status, raised.value.code) == ("NO", "CODE")


@pytest.mark.parametrize(
    ("data", "uid", "origin", "value"),
    [
        (b"* 1 FETCH (UID 7 BODY[] {3}\r\na)b)\r\n", 7, None, b"a)b"),
        (b"* 1 fetch (body[] {3}\r\na\r\n uid 7)\r\n", 7, None, b"a\r\n"),
        (b"* 1 FETCH (FLAGS () BODY[]<1024> ~{1}\r\n\0 UID 7)\r\n", 7, 1024, b"\0"),
        (b'* 1 FETCH (UID 7 BODY[] "q\\"q")\r\n', 7, None, b'q"q'),
        (b"* 1 FETCH (UID 7 BODY[] NIL)\r\n", 7, None, None),
        (b'* 1 FETCH (X ("a" {2}\r\n() {3}\r\nabc) UID 7 BODY[] {1}\r\nx Y (1 2))\r\n', 7, None, b"x"),
    ],
)
def test_bodies(data: bytes, uid: int, origin: int | None, value: bytes | None) -> None:
    wire, _ = wire_on(data + b"W1 OK\r\n")
    assert fetched(wire) == [Body(uid, origin, value)]


def test_a_large_literal_goes_to_its_sink_in_parts() -> None:
    data = bytes(range(256)) * (PIECE_SIZE // 128)
    head = b"* 1 FETCH (UID 7 BODY[] {%d}\r\n" % len(data)
    wire, stream = wire_on(
        head + data + b")\r\n* 2 FETCH (UID 8 BODY[] {%d}\r\n" % len(data) + data + b")\r\nW1 OK\r\n"
    )
    sink = MemorySink()

    def open_sink(uid: int | None, size: int) -> Sink | None:
        assert size == len(data)
        return sink if uid == 7 else None

    bodies = fetched(wire, open_sink)
    assert sink.data == data
    assert bodies[0].value is sink
    assert isinstance(bodies[1].value, SkippedBody)
    assert bodies[1].value.size == len(data)
    assert stream.largest == READ_SIZE


def test_wait_all_discarding_discards_bodies() -> None:
    wire, _ = wire_on(b"* 1 FETCH (UID 7 BODY[] {1}\r\nx)\r\nW1 OK\r\nW2 OK\r\n")
    wire.fetch(b"A", b"B")
    wire.wait_all_discarding()
    assert wire.is_idle
    assert list(wire.queued_bodies()) == []


def test_bodies_are_queued_while_another_command_is_awaited() -> None:
    wire, _ = wire_on(b"* 1 FETCH (UID 7 BODY[] {1}\r\nx)\r\nW2 OK\r\n* 2 FETCH (UID 8 BODY[] {1}\r\ny)\r\nW1 OK\r\n")
    (fetch,) = wire.fetch(b"UID FETCH 7:8 (UID BODY.PEEK[])")
    wire.run(b"NOOP")
    assert not fetch.status
    assert [body.value for body in wire.bodies_until(fetch)] == [b"x", b"y"]


def test_a_body_that_no_open_command_requested_is_dropped() -> None:
    wire, _ = wire_on(b"* 1 FETCH (UID 7 BODY[] {1}\r\nx)\r\nW1 OK\r\n")
    wire.run(b"NOOP")
    assert list(wire.queued_bodies()) == []


def test_queued_bodies_that_are_discarded_discard_their_sinks() -> None:
    data = bytes(PIECE_SIZE + 1)
    wire, _ = wire_on(b"* 1 FETCH (UID 7 BODY[] {%d}\r\n" % len(data) + data + b")\r\nW2 OK\r\nW1 OK\r\n")
    sink = MemorySink()
    wire.fetch(b"UID FETCH 7 (UID BODY.PEEK[])", open_sink=lambda _uid, _size: sink)
    wire.run(b"NOOP")
    wire.wait_all_discarding()
    assert sink.discarded
    assert list(wire.queued_bodies()) == []


def test_a_server_cannot_fill_the_queue_without_end() -> None:
    body = b"* 1 FETCH (UID 7 BODY[] {%d}\r\n" % PIECE_SIZE + bytes(PIECE_SIZE) + b")\r\n"
    wire, _ = wire_on(body * (MAX_QUEUED_BYTES // PIECE_SIZE + 1))
    wire.fetch(b"UID FETCH 7 (UID BODY.PEEK[])")
    with pytest.raises(ProtocolViolation, match="more message content than was requested"):
        wire.run(b"NOOP")


def test_lines_that_match_are_yielded_and_others_are_processed() -> None:
    wire, _ = wire_on(b"* 3 EXISTS\r\n* 2 EXPUNGE\r\n* 4 exists\r\nW1 OK\r\n")
    (command,) = wire.send(b"SELECT x")
    assert list(wire.lines_until(command, re.compile(rb"\* \d+ EXISTS", re.IGNORECASE))) == [
        b"* 3 EXISTS",
        b"* 4 exists",
    ]
    assert wire.expunged == 1


def test_search() -> None:
    wire, _ = wire_on(b"* SEARCH 1 2\r\n* 3 EXISTS\r\n* SEARCH 9\r\nW1 OK\r\n* SEARCH\r\nW2 OK\r\n")
    assert wire.search(b"DELETED") == {1, 2, 9}
    assert wire.search(b"DELETED") == set()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ProtocolViolation),
        (b"* OK half a li", ProtocolViolation),
        (b"* BYE so long\r\n", ServerBye),
        (b"W9 OK a tag that we never sent\r\n", ProtocolViolation),
        (b"rubbish\r\n", ProtocolViolation),
        (b"\r\n", ProtocolViolation),
        (b"* 1 FETCH (UID 7 BODY[] {9}\r\nabc", ProtocolViolation),
        (b"* 1 FETCH (UID 7 BODY[] {3}\r\nabcdef\r\n", ProtocolViolation),
        (b"* 1 FETCH (UID 7))\r\n", ProtocolViolation),
    ],
)
def test_invalid_streams_raise(data: bytes, error: type[Exception]) -> None:
    wire, _ = wire_on(data)
    with pytest.raises(error):
        wire.run(b"NOOP")


@given(st.binary(max_size=200))
def test_arbitrary_input_raises_only_known_errors(data: bytes) -> None:
    wire, _ = wire_on(data + b"\r\nW1 OK\r\n")
    with suppress(ProtocolViolation, ServerBye, CommandRejected):
        wire.run(b"NOOP")


@given(st.lists(st.tuples(st.integers(1, 2**32 - 1), st.binary(max_size=300), st.booleans()), max_size=8))
def test_bodies_are_read_byte_for_byte(mails: list[tuple[int, bytes, bool]]) -> None:
    lines = []
    for uid, data, first in mails:
        body = b"BODY[] {%d}\r\n%b" % (len(data), data)
        lines.append(
            b"* 1 FETCH (UID %d %b)\r\n" % (uid, body) if first else b"* 1 FETCH (%b UID %d)\r\n" % (body, uid)
        )
    wire, _ = wire_on(b"".join(lines) + b"W1 OK\r\n")
    assert [(body.uid, body.value) for body in fetched(wire)] == [(uid, data) for uid, data, _ in mails]


def test_query_returns_responses_with_their_literals() -> None:
    wire, _ = wire_on(
        b'* LIST (\\Trash) "/" {7}\r\nodd"one\r\n* 3 EXISTS\r\n'
        b'* LIST () NIL "a \\"b"\r\n* LIST ) broken\r\nW1 NO [X] half\r\n'
    )
    command, responses = wire.query(b'LIST "" "*"', b"LIST")
    assert responses == [[[b"\\Trash"], b"/", b'odd"one'], [[], None, b'a "b']]
    assert (command.status, command.response) == ("NO", "[X] half")
    assert wire.is_idle


def test_copies_are_recorded_from_copyuid() -> None:
    wire, _ = wire_on(
        b"* OK [COPYUID 9 1,3:4 11:13] copied\r\n* OK [COPYUID 9 5:6 1] of no use\r\n"
        b"* OK [COPYUID 9 1:4294967295 1:4294967295] of no use\r\nW1 OK [copyuid 9 7 20] done\r\n"
    )
    wire.run(b"UID MOVE 1:7 x")
    assert wire.copied == {1: (9, 11), 3: (9, 12), 4: (9, 13), 7: (9, 20)}


def test_expunged_messages_are_counted_and_bodies_without_a_uid_yielded() -> None:
    wire, _ = wire_on(
        b"* 4 EXPUNGE\r\n* VANISHED 7\r\n* 3 FETCH (BODY[] {1}\r\nx)\r\n* 1 FETCH (UID 5 X-GM-MSGID 12)\r\nW1 OK\r\n"
    )
    bodies = fetched(wire)
    assert wire.expunged == 2
    assert [(body.uid, body.sequence, body.value) for body in bodies] == [(None, 3, b"x")]
    assert wire.gmail_ids == {5: b"12"}
