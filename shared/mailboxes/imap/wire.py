"""Sends pipelined IMAP commands and reads responses, over imapclient's connection.

imapclient's response parser costs more time than the transfer, and each command costs a round trip. So listings,
downloads and removals use this module, over the same buffered stream. Responses do not arrive in the order of the
commands (Dovecot merges adjacent FETCHes): data is identified by its UID, completion by its tag. The server may send
untagged responses at any time (RFC 3501 section 7); unknown responses are skipped.

Callers pull data: `bodies_until` and `lines_until` iterate over bodies and lines until a command is completed. Bodies
that arrive while another caller waits for its command are queued for the next `bodies_until`.

imaplib must not read while a command of this module is open: `wait_all_discarding` waits for all of them.
"""

from __future__ import annotations

import imaplib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, runtime_checkable

from shared.mailboxes.imap.errors import CommandRejected, ProtocolViolation, ServerBye
from shared.mailboxes.imap.syntax import ListParser, expand_set

PIECE_SIZE = 1024 * 1024
"""Size in bytes up to which a literal is read at once, and size of the pieces of a large message."""

MAX_COPIES = 10_000
"""UIDs in a COPYUID code at most; a longer code is ignored."""

READ_SIZE = 256 * 1024
"""Bytes of a larger literal that are in memory at a time."""

MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Bytes of queued bodies at most: several times the bytes that are requested at once."""

BODY_OVERHEAD = 200
"""Bytes of memory that a queued body takes in addition to its content."""

_FETCH = re.compile(rb"\* (\d+) FETCH (?=\()", re.IGNORECASE)
_LITERAL = re.compile(rb"~?\{(\d+)\}$")
_BODY = re.compile(rb"BODY\[\](?:<(\d+)>)?$", re.IGNORECASE)
_SEARCH = re.compile(rb"\* SEARCH\b([ \d]*)", re.IGNORECASE)
_EXPUNGED = re.compile(rb"\* (?:\d+ EXPUNGE|VANISHED)\b", re.IGNORECASE)
_COPYUID = re.compile(rb"\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]", re.IGNORECASE)
_TAGGED = re.compile(rb"([A-Za-z0-9]+) (OK|NO|BAD)\b ?(.*)", re.IGNORECASE | re.DOTALL)


@runtime_checkable
class Sink(Protocol):
    """A destination for a large literal, such as `shared.mailboxes.spool.Spool`."""

    def write(self, data: bytes | memoryview) -> None:
        """Append the next bytes."""

    def discard(self) -> None:
        """Drop the content."""


class SkippedBody:
    """A large literal that was read and discarded.

    Attributes:
        size: size in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size


@dataclass(slots=True)
class Body:
    """The bytes of a message, or a piece of them.

    Attributes:
        uid: the message's UID; None: the response has no UID.
        origin: offset of the piece; None: it is the whole message.
        value: the bytes; the sink that contains them; `SkippedBody`; None: the server sent NIL.
        sequence: the message's sequence number in the response.
    """

    uid: int | None
    origin: int | None
    value: bytes | Sink | SkippedBody | None
    sequence: int = field(default=0, compare=False)


OpenSink = Callable[[int | None, int], Sink | None]
"""Returns the sink of a literal over `PIECE_SIZE`, or None to discard it.

The arguments are the UID (None if it is not known yet) and the size in bytes.
"""


class Command:
    """A command that was sent.

    Attributes:
        text: the command, for error texts.
        status: `OK`, `NO`, `BAD`, or empty while the command is open.
        response: the text of the tagged response.
        has_bodies: whether its responses contain bodies that the caller will read.
        open_sink: opens the sinks of its large literals; None: they are discarded.
    """

    __slots__ = ("has_bodies", "open_sink", "response", "status", "text")

    def __init__(self, text: str, *, has_bodies: bool = False, open_sink: OpenSink | None = None) -> None:
        self.text = text
        self.status = ""
        self.response = ""
        self.has_bodies = has_bodies
        self.open_sink = open_sink

    def check(self) -> None:
        """Raise `CommandRejected` unless the status is OK."""
        if self.status != "OK":
            raise CommandRejected(self.text, self.status, self.response)


class Wire:
    """Sends commands and reads responses.

    Args:
        imap: imapclient's signed-in connection.

    Attributes:
        copied: source UID to (UIDVALIDITY, UID) of the copy, from COPYUID codes (RFC 4315 section 3, RFC 6851).
        gmail_ids: UID to X-GM-MSGID, from FETCH responses.
        expunged: number of responses that report expunged messages, which renumber the others.
    """

    def __init__(self, imap: imaplib.IMAP4) -> None:
        self._imap = imap
        self._open: dict[bytes, Command] = {}
        self._count = 0
        self._closed = False
        self._bodies: deque[Body] = deque()
        self._queued_bytes = 0
        self._search_results: list[int] = []
        self.copied: dict[int, tuple[int, int]] = {}
        self.gmail_ids: dict[int, bytes] = {}
        self.expunged = 0
        self._names: frozenset[bytes] = frozenset()
        self._responses: list[list[object]] = []

    def send(self, *commands: bytes) -> list[Command]:
        """Send commands in one write, without waiting for responses. The commands must not contain a secret."""
        return self._send((text, Command(text.decode("ascii", "replace"))) for text in commands)

    def fetch(self, *commands: bytes, open_sink: OpenSink | None = None) -> list[Command]:
        """Send commands that request bodies, in one write; the caller reads the bodies with `bodies_until`.

        Args:
            commands: the commands.
            open_sink: opens the sinks of large literals. The caller discards a sink whose body does not arrive.
        """
        return self._send(
            (text, Command(text.decode("ascii", "replace"), has_bodies=True, open_sink=open_sink)) for text in commands
        )

    def wait(self, command: Command) -> Command:
        """Read until the command is completed. Bodies are queued."""
        while not command.status:
            self._read()
        return command

    def bodies_until(self, command: Command) -> Iterator[Body]:
        """Yield bodies, of this and of other commands, until the command is completed."""
        while True:
            yield from self.queued_bodies()
            if command.status:
                return
            self._read()

    def queued_bodies(self) -> Iterator[Body]:
        """Yield the bodies that are queued."""
        while self._bodies:
            body = self._bodies.popleft()
            self._queued_bytes -= _memory_size(body)
            yield body

    def lines_until(self, command: Command, pattern: re.Pattern[bytes]) -> Iterator[bytes]:
        """Yield the untagged lines that match a pattern, until the command is completed."""
        while not command.status:
            line = self._read(pattern)
            if line is not None:
                yield line

    def run(self, text: bytes) -> Command:
        """Send one command and wait for OK.

        Raises:
            CommandRejected: the server responded NO or BAD.
        """
        command = self.wait(self.send(text)[0])
        command.check()
        return command

    def search(self, criteria: bytes) -> set[int]:
        """Return the UIDs that a UID SEARCH finds."""
        self._search_results = []
        self.run(b"UID SEARCH " + criteria)
        return set(self._search_results)

    def sequence_numbers(self, criteria: bytes) -> set[int]:
        """Return the sequence numbers that a SEARCH finds."""
        self._search_results = []
        self.run(b"SEARCH " + criteria)
        return set(self._search_results)

    def query(self, text: bytes, *names: bytes) -> tuple[Command, list[list[object]]]:
        """Send one command, wait until it is completed, and return its untagged responses.

        Args:
            text: the command.
            names: names of the untagged responses to return, in upper case.

        Returns:
            The command, and for each response the values after its name. Literals and quoted strings are bytes.
        """
        self._names, self._responses = frozenset(names), []
        try:
            command = self.wait(self.send(text)[0])
        finally:
            self._names, responses = frozenset(), self._responses
        return command, responses

    def wait_all(self) -> None:
        """Wait until every command is completed. Bodies are queued."""
        while self._open:
            self._read()

    def wait_all_discarding(self) -> None:
        """Wait until every command is completed. Bodies are discarded."""
        if self._closed:
            raise ProtocolViolation("the session is closed")
        self.discard_bodies()
        while self._open:
            self._read()

    def close(self) -> None:
        """Refuse further commands."""
        self._closed = True

    @property
    def is_idle(self) -> bool:
        """Whether no command is open and another may be sent."""
        return not self._open and not self._closed

    def discard_bodies(self) -> None:
        """Discard queued bodies, and those that open commands will still receive."""
        for command in self._open.values():
            command.has_bodies, command.open_sink = False, None
        for body in self.queued_bodies():
            if isinstance(body.value, Sink):
                body.value.discard()

    def _send(self, commands: Iterable[tuple[bytes, Command]]) -> list[Command]:
        sent, lines = [], []
        for text, command in commands:
            self._count += 1
            tag = b"W%d" % self._count
            self._open[tag] = command
            sent.append(command)
            lines.append(b"%b %b\r\n" % (tag, text))
        self._imap.send(b"".join(lines))
        return sent

    def _read(self, pattern: re.Pattern[bytes] | None = None) -> bytes | None:
        """Read and process one response; if it is an untagged line that matches the pattern, return it instead."""
        line = self._line()
        if not line.startswith(b"* "):
            self._complete(line)
        elif pattern is not None and pattern.match(line):
            return line
        elif _FETCH.match(line):
            self._fetch(line)
        elif search := _SEARCH.match(line):
            self._search_results.extend(map(int, search[1].split()))
        elif line[2:6].upper().rstrip() == b"BYE":
            raise ServerBye(line[6:].decode("utf-8", "replace"))
        elif self._names and line[2:].partition(b" ")[0].upper() in self._names:
            self._response(line)
        else:
            self.expunged += _EXPUNGED.match(line) is not None
            self._note_copies(line)
            self._skip(line)
        return None

    def _complete(self, line: bytes) -> None:
        tagged = _TAGGED.match(line)
        command = self._open.pop(tagged[1], None) if tagged else None
        if tagged is None or command is None:
            if line.startswith(b"+"):
                return  # An unexpected continuation request needs no response.
            raise ProtocolViolation("a line that is not a response")
        self._note_copies(tagged[3])
        command.response = tagged[3].decode("utf-8", "replace")
        command.status = tagged[2].upper().decode()

    def _note_copies(self, line: bytes) -> None:
        code = _COPYUID.search(line)
        if code is not None:
            sources, copies = (list(islice(expand_set(code[group]), MAX_COPIES + 1)) for group in (2, 3))
            if len(sources) == len(copies) <= MAX_COPIES:
                validity = int(code[1])
                self.copied.update(zip(sources, ((validity, uid) for uid in copies), strict=True))

    def _response(self, line: bytes) -> None:
        """Store an untagged response for `query`; drop it if it is unparseable."""
        parser: ListParser | None = ListParser()
        rest = line.partition(b" ")[2].partition(b" ")[2]
        while True:
            literal = _LITERAL.search(rest)
            try:
                if parser is not None:
                    parser.feed_text(rest[: literal.start()] if literal else rest)
            except ProtocolViolation:
                parser = None
            if not literal:
                break
            value = self._literal(int(literal[1]), None, is_body=False)
            if parser is not None:
                parser.feed_literal(value)
            rest = self._line()
        if parser is not None and parser.is_complete:
            self._responses.append(parser.current)

    def _skip(self, line: bytes) -> None:
        """Skip an unknown response, which may contain literals."""
        while literal := _LITERAL.search(line):
            self._literal(int(literal[1]), None, is_body=False)
            line = self._line()

    def _fetch(self, line: bytes) -> None:
        parser = ListParser()
        head = _FETCH.match(line)
        rest = line[head.end() :] if head else line
        while True:
            literal = _LITERAL.search(rest)
            parser.feed_text(rest[: literal.start()] if literal else rest)
            if not literal:
                break
            # A literal is a body only at the outermost level, directly after its key.
            is_body = parser.depth == 1 and _is_body(parser.current[-1] if parser.current else None)
            parser.feed_literal(self._literal(int(literal[1]), _uid(parser.current), is_body=is_body))
            rest = self._line()
        if not parser.is_complete or not parser.current or not isinstance(parser.current[0], list):
            raise ProtocolViolation("an incomplete FETCH response")
        items = parser.current[0]
        uid = _uid(items)
        sequence = int(head[1]) if head else 0
        for key, value in zip(items[::2], items[1::2], strict=False):
            body = _BODY.match(key) if isinstance(key, bytes) else None
            if body is not None and (value is None or isinstance(value, bytes | SkippedBody | Sink)):
                self._queue(Body(uid, int(body[1]) if body[1] is not None else None, value, sequence))
            elif uid is not None and key == b"X-GM-MSGID" and isinstance(value, bytes) and value.isdigit():
                self.gmail_ids[uid] = value

    def _queue(self, body: Body) -> None:
        """Queue a body if an open command requested bodies; else drop it."""
        if self._open_fetch() is None:
            return
        self._bodies.append(body)
        self._queued_bytes += _memory_size(body)
        if self._queued_bytes > MAX_QUEUED_BYTES:
            raise ProtocolViolation("the server sent more message content than was requested")

    def _open_fetch(self) -> Command | None:
        """Return the first open command that requested bodies."""
        return next((command for command in self._open.values() if command.has_bodies), None)

    def _literal(self, size: int, uid: int | None, *, is_body: bool) -> object:
        """Read a literal; return its bytes, the sink that contains them, or `SkippedBody`."""
        if size <= PIECE_SIZE:
            return self._exactly(size)
        fetch = self._open_fetch() if is_body else None
        sink = fetch.open_sink(uid, size) if fetch is not None and fetch.open_sink is not None else None
        left = size
        while left:
            data = self._exactly(min(left, READ_SIZE))
            left -= len(data)
            if sink is not None:
                sink.write(data)
        return sink if sink is not None else SkippedBody(size)

    def _exactly(self, size: int) -> bytes:
        data = self._imap.read(size)
        if len(data) != size:
            raise ProtocolViolation("the connection was closed in the middle of a message")
        return data

    def _line(self) -> bytes:
        line = self._imap.readline()
        if not line.endswith(b"\n"):
            raise ProtocolViolation("the connection was closed")
        return line.rstrip(b"\r\n")


def _memory_size(body: Body) -> int:
    """Return about the memory that a queued body takes, in bytes; for a sink, the least size of its literal."""
    if isinstance(body.value, bytes):
        return len(body.value) + BODY_OVERHEAD
    return BODY_OVERHEAD if body.value is None or isinstance(body.value, SkippedBody) else PIECE_SIZE


def _is_body(key: object) -> bool:
    return isinstance(key, bytes) and _BODY.match(key) is not None


def _uid(items: list[object]) -> int | None:
    for key, value in zip(items[::2], items[1::2], strict=False):
        if isinstance(key, bytes) and key.upper() == b"UID" and isinstance(value, bytes) and value.isdigit():
            return int(value)
    return None
