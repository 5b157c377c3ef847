"""Messages off the wire, many RETRs ahead of the one that is being read, into batches (rule 1.7).

The server answers in the order of the commands, so what is outstanding is a queue: RETRs, and the DELEs that are sent
between them, whose answers nobody waits for before the next command goes out.

Not every server keeps that order (see `shared.mailboxes.pop3.server_record`). An answer to a RETR that was not alone on
the wire counts if the message has the size that LIST reports, and nothing in it looks like the answer to a command.
Otherwise the message is doubtful: it is read again once nothing else is outstanding, and only that reading counts. If
the two differ, the server does not pipeline: every message that was not handed over yet is read again, one at a time.
So a batch, which the caller may delete, holds confirmed messages only, and while a message is doubtful no DELE is sent
before everything that is outstanding has been answered.

A connection that breaks is made again, and the work goes on where it was: by UIDL, since the numbers are others, with
all DELEs said again, since none was committed, and one command at a time, in case pipelining was the reason. A message
at which it breaks twice is left: it stops no other (1.8).
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.errors import ConnectionLost, ServiceUnavailable, printable
from shared.mailboxes.base import Batch, FetchResult, ListedMessage
from shared.mailboxes.pop3.errors import (
    GarbledResponse,
    InterleavedResponses,
    NoResponse,
    ProtocolViolation,
    is_gone,
    raise_if_throttled,
)
from shared.mailboxes.pop3.server_record import ServerRecord
from shared.mailboxes.pop3.session import Session
from shared.mailboxes.spool import Content, Spool

WINDOW: Final = 64
"""RETRs that are outstanding at once; one where the server does not know PIPELINING."""

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Told octets that are outstanding at once; a message that is larger comes alone."""

LONGEST_QUEUE: Final = 4 * WINDOW
"""Commands that are outstanding at once, DELEs included: neither side's buffers fill up."""

MOST_BREAKS: Final = 2
"""Broken connections at one message, after which it is left alone."""


@dataclass(slots=True)
class _Batch:
    """Messages that were asked for together.

    Attributes:
        asked: the messages, in the order of the answer.
        unsent: those for which RETR is still to be sent.
        answers: what came for the others, by message number.
        pipelined: numbers of the answers that came while other commands were outstanding.
    """

    asked: Sequence[ListedMessage]
    unsent: deque[ListedMessage]
    answers: dict[int, FetchResult] = field(default_factory=dict)
    pipelined: set[int] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        return len(self.answers) == len(self.asked)

    def requeue(self) -> None:
        """Ask again for every message that has no answer."""
        self.unsent = deque(message for message in self.asked if message.number not in self.answers)

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget answers."""
        for number in numbers:
            answer = self.answers.pop(number, None)
            if answer is not None and answer.content is not None:
                answer.content.close()


@dataclass(slots=True)
class _Retr:
    message: ListedMessage
    batch: _Batch | None
    max_bytes: int
    alone: bool = False
    """No other command has been outstanding together with it."""


@dataclass(slots=True)
class _Dele:
    message: ListedMessage
    alone: bool = False
    """As above."""


_Command = _Retr | _Dele


@dataclass(frozen=True, slots=True)
class _Doubt:
    """The first reading of a message that is to be read again alone.

    Attributes:
        outcome: the SHA-256 of its bytes, or what came instead of them.
        is_size: its size is the reason, and not what it contains.
    """

    outcome: str
    is_size: bool


class _Answers:
    """Passes a message on to a spool, and notices whether it contains what may be the answer to a command.

    Attributes:
        inside: it does, anywhere: servers write them into the middle of a line too. Base64 has no spaces, and hardly
            ever matches.
    """

    _ANSWER: Final = re.compile(rb"(?:\+OK|-ERR)[ \r\n]")

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._end = b""
        self.inside = False

    def write(self, part: bytes) -> None:
        """Take the next bytes."""
        for piece in (self._end + part[:4], part):
            # Plain searches first: they are many times faster than the expression.
            if (b"+OK" in piece or b"-ERR" in piece) and self._ANSWER.search(piece) is not None:
                self.inside = True
        self._end = (self._end + part[-4:])[-4:]
        self._write(part)


class CommandPipeline:
    """Commands that are outstanding on a session, and their answers in order.

    Args:
        session: signed in.
        reconnect: gives another session and what the messages' numbers are there, or raises what it is given.
        record: what is known about the server; added to.

    Attributes:
        deleted: the messages that DELE was said for.
        refused: what the server answered where it refused that, by message number.
    """

    def __init__(
        self,
        session: Session,
        reconnect: Callable[[ConnectionLost], tuple[Session, dict[str, int]]],
        record: ServerRecord,
    ) -> None:
        self._session = session
        self._reconnect = reconnect
        self._record = record
        self._numbers: dict[str, int] | None = None
        self._outstanding: deque[_Command] = deque()
        self._open: deque[_Batch] = deque()
        self._fetching = 0
        self._bytes = 0
        self._reading: _Command | None = None
        self._breaks: Counter[int] = Counter()
        self._doubts: dict[int, _Doubt] = {}
        self._suspects: dict[int, ProtocolViolation] = {}
        self._recent: deque[tuple[int, str]] = deque(maxlen=2 * WINDOW)
        self._one_at_a_time = False
        self._pipelined = False
        self.deleted: list[ListedMessage] = []
        self.refused: dict[int, str] = {}

    @property
    def is_idle(self) -> bool:
        """Whether every command has been answered."""
        return not self._outstanding

    def fetch(self, batches: Iterable[Sequence[ListedMessage]], max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches in order; see `shared.mailboxes.base.Mailbox.fetch`."""
        self.settle()
        self._recent.clear()
        source = iter(batches)
        try:
            while True:
                try:
                    self._complete_one(source, max_bytes)
                except ConnectionLost as error:
                    self._recover(error)
                    continue
                if not self._open:
                    break
                batch = self._open.popleft()
                yield [batch.answers[message.number] for message in batch.asked]
            if self._pipelined and not self._one_at_a_time:
                self._record.pipelined_drain_completed()
        finally:
            # Reached with batches open if something broke for good, or if nobody wants the rest.
            for batch in self._open:
                batch.drop(list(batch.answers))
            self._open.clear()
            self._doubts.clear()
            for command in self._outstanding:
                if isinstance(command, _Retr):
                    command.batch = None

    def delete(self, messages: Sequence[ListedMessage]) -> None:
        """Send DELEs; their answers come with what is read next."""
        self.deleted += messages
        try:
            self._send_deletes(messages)
        except ConnectionLost as error:
            self._recover(error)

    def settle(self) -> None:
        """Read the answers to everything that is outstanding."""
        try:
            self._read_all()
        except ConnectionLost as error:
            self._recover(error)
            self._read_all()

    def listed_anew(self, messages: Sequence[ListedMessage]) -> None:
        """Take the numbers that messages have in this session; to be called after each listing.

        One command at a time if a message has no key: what breaks then cannot be taken up in another session.
        """
        self._numbers = None
        self._one_at_a_time = self._one_at_a_time or any(message.key is None for message in messages)

    @property
    def _window(self) -> int:
        pipelining = self._session.pipelines and not self._one_at_a_time and not self._record.no_pipelining
        return WINDOW if pipelining else 1

    def _number(self, message: ListedMessage) -> int | None:
        """What a message is called in this session; None if it is gone."""
        return message.number if self._numbers is None else self._numbers.get(message.key or "")

    def _complete_one(self, source: Iterator[Sequence[ListedMessage]], max_bytes: int) -> None:
        """Read until the first of the open batches is complete, if there is one."""
        self._fill(source, max_bytes)
        while self._open and not self._open[0].is_complete:
            self._read_one()
            self._fill(source, max_bytes)

    def _recover(self, error: ConnectionLost) -> None:
        """Go on in another session: what has no answer is asked for again, and what was deleted is deleted again."""
        at, self._reading = self._reading, None
        self._note_break(error, at)
        self._outstanding.clear()
        self._fetching = self._bytes = 0
        self.refused.clear()
        for batch in self._open:
            batch.requeue()
        if isinstance(at, _Retr) and at.batch is not None:
            self._breaks[at.message.number] += 1
            if self._breaks[at.message.number] == MOST_BREAKS:
                at.batch.answers[at.message.number] = FetchResult(at.message, None, refused=printable(error))
                at.batch.requeue()
                self._doubts.pop(at.message.number, None)
        self._session, self._numbers = self._reconnect(error)
        self._send_deletes(self.deleted)

    def _note_break(self, error: ConnectionLost, at: _Command | None) -> None:
        """Count a break if pipelining may be the reason; the next session goes without it then.

        Before the next session, because that may be refused for now, in every poll.
        """
        cause = error.__cause__
        if at is None and not isinstance(cause, InterleavedResponses):
            return
        if at is not None and at.alone:
            if self._suspects.pop(at.message.number, None) is not None:
                # The message is the reason, or the network: not pipelining.
                self._record.excuse_break()
            return
        self._one_at_a_time = True
        if isinstance(cause, GarbledResponse):
            self._distrust(str(cause))
            return
        self._record.count_break()
        if isinstance(at, _Retr) and isinstance(cause, ProtocolViolation):
            self._suspects[at.message.number] = cause

    def _confirm_suspicion(self, message: ListedMessage) -> None:
        """Judge a break: the message at which it happened has come when it was read alone."""
        if isinstance(self._suspects.pop(message.number, None), NoResponse):
            self._record.disable_pipelining("the server did not answer while several commands were outstanding")

    def _distrust(self, reason: str) -> None:
        """Switch pipelining off, and forget what came by it and was not handed over."""
        self._record.disable_pipelining(reason)
        for batch in self._open:
            batch.drop(batch.pipelined)
            batch.pipelined.clear()
            batch.requeue()

    def _fill(self, source: Iterator[Sequence[ListedMessage]], max_bytes: int) -> None:
        """Send RETRs while there is room, several in one write; what is doubtful first, and alone."""
        if self._doubts:
            if not self._outstanding:
                self._send([self._doubtful(max_bytes)])
            return
        if self._fetching > self._window // 2:
            return
        commands: list[_Command] = []
        size = self._bytes
        while self._fetching + len(commands) < self._window:
            batch = next((each for each in self._open if each.unsent), None)
            if batch is None:
                following = next(source, None)
                if following is None:
                    break
                self._open.append(_Batch(following, deque(following)))
                continue
            message = batch.unsent[0]
            if size and size + message.size > WINDOW_BYTES:
                break
            batch.unsent.popleft()
            size += message.size
            commands.append(_Retr(message, batch, max_bytes))
        if commands:
            self._send(commands)

    def _doubtful(self, max_bytes: int) -> _Retr:
        """Return the RETR of a message that is to be read again."""
        batch, message = next((b, m) for b in self._open for m in b.unsent if m.number in self._doubts)
        batch.unsent.remove(message)
        return _Retr(message, batch, max_bytes)

    def _send_deletes(self, messages: Sequence[ListedMessage]) -> None:
        rest = deque(messages)
        while rest:
            self._send([_Dele(rest.popleft()) for _ in range(min(self._window, len(rest)))])
            while len(self._outstanding) > LONGEST_QUEUE:
                self._read_one()

    def _send(self, commands: Sequence[_Command]) -> None:
        if self._window == 1 or self._doubts:
            self._read_all()
        lines = []
        for command in commands:
            number = self._number(command.message)
            if number is not None:
                lines.append(b"%s %d" % (b"RETR" if isinstance(command, _Retr) else b"DELE", number))
            if isinstance(command, _Retr):
                self._fetching += 1
                self._bytes += command.message.size
        self._outstanding.extend(commands)
        alone = len(self._outstanding) == 1
        for command in self._outstanding:
            command.alone = alone
        with self._session.mapping():
            self._session.wire.send(*lines)

    def _read_all(self) -> None:
        while self._outstanding:
            self._read_one()

    def _read_one(self) -> None:
        command = self._reading = self._outstanding[0]
        if isinstance(command, _Retr):
            with self._session.mapping():
                fetched, answers = self._retrieve(command)
            self._fetching -= 1
            self._bytes -= command.message.size
            self._outstanding.popleft()
            self._reading = None
            with self._session.mapping():
                self._take(command, fetched, answers)
        else:
            if self._number(command.message) is not None:
                with self._session.mapping():
                    accepted, text = self._session.wire.answer()
                if not accepted and not is_gone(text):
                    raise_if_throttled(text, self._session.where)
                    self.refused[command.message.number] = text
            self._outstanding.popleft()
            self._reading = None

    def _take(self, command: _Retr, fetched: FetchResult, answers: _Answers | None) -> None:
        """Count an answer to RETR, or doubt it."""
        message, batch, content = command.message, command.batch, fetched.content
        if batch is None:
            return
        doubt = self._doubts.pop(message.number, None)
        if command.alone or self._number(message) is None:
            self._confirm_suspicion(message)
            if doubt is not None:
                self._compare(doubt, fetched)
            batch.answers[message.number] = _with_content(fetched)
            return
        exact = content is not None and content.size == message.size
        twins = self._twins(message, content)
        if exact and not twins and not (answers is not None and answers.inside):
            assert content is not None
            self._pipelined = True
            self._record.count_exact()
            self._recent.append((message.number, content.sha256))
            batch.answers[message.number] = fetched
            batch.pipelined.add(message.number)
            return
        self._doubt(message, batch, fetched, is_size=not exact)
        for number in twins:
            self._doubt_again(number)
        if not exact and answers is not None and answers.inside and self._outstanding:
            # The answers that are waited for may have come already, within the message.
            raise InterleavedResponses("a message seems to contain the answer to another command")

    def _twins(self, message: ListedMessage, content: Content | None) -> list[int]:
        """Return the numbers of other messages that came with the same bytes just before."""
        if content is None:
            return []
        return [number for number, sha256 in self._recent if sha256 == content.sha256 and number != message.number]

    def _doubt(self, message: ListedMessage, batch: _Batch, fetched: FetchResult, *, is_size: bool) -> None:
        """Keep what is needed to judge a message when it has been read again."""
        self._doubts[message.number] = _Doubt(_outcome(fetched), is_size)
        if fetched.content is not None:
            fetched.content.close()
        batch.unsent.appendleft(message)

    def _doubt_again(self, number: int) -> None:
        """Doubt a message that counted, if it was not handed over: another one has the same bytes."""
        for batch in self._open:
            if number in batch.pipelined:
                batch.pipelined.discard(number)
                fetched = batch.answers.pop(number)
                self._doubt(fetched.listed, batch, fetched, is_size=False)

    def _compare(self, doubt: _Doubt, fetched: FetchResult) -> None:
        """Judge the server by two readings of one message."""
        outcome = _outcome(fetched)
        if outcome == doubt.outcome:
            if doubt.is_size and outcome:
                self._record.count_inexact()
        elif outcome:
            self._distrust("a message came otherwise when it was read alone")

    def _retrieve(self, command: _Retr) -> tuple[FetchResult, _Answers | None]:
        wire, message = self._session.wire, command.message
        if self._number(message) is None:
            return FetchResult(message, None), None
        given, text = wire.answer()
        if not given:
            raise_if_throttled(text, self._session.where)
            return FetchResult(message, None, refused=None if is_gone(text) else printable(text) or "-ERR"), None
        if command.batch is None:
            wire.drain(_nowhere)
            return FetchResult(message, None), None
        try:
            return self._spooled(message, command.max_bytes)
        except OSError as error:
            # The connection's own errors are `ProtocolViolation` by now.
            text = printable(error.strerror or type(error).__name__)
            raise ServiceUnavailable(f"{self._session.where}: the temporary disk: {text}") from error

    def _spooled(self, message: ListedMessage, max_bytes: int) -> tuple[FetchResult, _Answers]:
        spool = Spool(message.size, max_bytes)
        try:
            answers = _Answers(spool.write)
            self._session.wire.drain(answers.write)
            content: Content | None = spool.finish()
        except BaseException:
            spool.discard()
            raise
        return FetchResult(message, content, oversized=spool.overflowed), answers


def _outcome(fetched: FetchResult) -> str:
    """Return what an answer to RETR is compared by; empty if the server did not deliver the message."""
    if fetched.content is not None:
        return fetched.content.sha256
    return "oversized" if fetched.oversized else ""


def _with_content(fetched: FetchResult) -> FetchResult:
    """Return the answer, or a refusal in place of an empty message that LIST reports to have content."""
    content, size = fetched.content, fetched.listed.size
    if content is None or content.size > len(b"\r\n") or size <= len(b"\r\n"):
        return fetched
    content.close()
    return FetchResult(fetched.listed, None, refused=f"the server sent no content, and lists {size} bytes")


def _nowhere(_data: bytes) -> None:
    pass
