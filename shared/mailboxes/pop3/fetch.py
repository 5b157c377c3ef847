"""Messages off the wire, many RETRs ahead of the one that is being read, into batches (rule 1.7).

The server answers in the order of the commands, so what is outstanding is a queue: RETRs, and the DELEs that are sent
between them, whose answers nobody waits for before the next command goes out.

A connection that breaks is made again, and the work goes on where it was: by UIDL, since the numbers are others, with
all DELEs said again, since none was committed. A message at which it breaks twice is left: it stops no other (1.8).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.errors import ConnectionLost, ServiceUnavailable, quoted
from shared.mailboxes.pop3.errors import is_gone
from shared.mailboxes.pop3.session import Session
from shared.mailboxes.protocol import Batch, Fetched, Listed
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
    asked: Sequence[Listed]
    sent: int = 0
    done: list[Fetched] = field(default_factory=list)


@dataclass(slots=True)
class _Retr:
    message: Listed
    batch: _Batch | None
    max_bytes: int


@dataclass(slots=True)
class _Dele:
    message: Listed


_Command = _Retr | _Dele


class Flow:
    """Commands that are outstanding on a session, and their answers in order.

    Args:
        session: signed in.
        reconnect: gives another session and what the messages' numbers are there, or raises what it is given.

    Attributes:
        deleted: the messages that DELE was said for.
        refused: what the server answered where it refused that, by message number.
    """

    def __init__(self, session: Session, reconnect: Callable[[ConnectionLost], tuple[Session, dict[str, int]]]) -> None:
        self._session = session
        self._reconnect = reconnect
        self._numbers: dict[str, int] | None = None
        self._outstanding: deque[_Command] = deque()
        self._open: deque[_Batch] = deque()
        self._fetching = 0
        self._bytes = 0
        self._reading: _Command | None = None
        self._breaks: Counter[int] = Counter()
        self.deleted: list[Listed] = []
        self.refused: dict[int, str] = {}

    @property
    def is_idle(self) -> bool:
        """Whether every command has been answered."""
        return not self._outstanding

    def fetch(self, batches: Iterable[Sequence[Listed]], max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches in order; see `shared.mailboxes.protocol.Mailbox.fetch`."""
        self.settle()
        source = iter(batches)
        try:
            while True:
                try:
                    self._complete_one(source, max_bytes)
                except ConnectionLost as error:
                    self._recover(error)
                    continue
                if not self._open:
                    return
                yield self._open.popleft().done
        finally:
            # Reached with batches open if something broke for good, or if nobody wants the rest.
            for one in (one for batch in self._open for one in batch.done):
                if one.content is not None:
                    one.content.close()
            self._open.clear()
            for command in self._outstanding:
                if isinstance(command, _Retr):
                    command.batch = None

    def delete(self, messages: Sequence[Listed]) -> None:
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

    def listed_anew(self) -> None:
        """From now on messages bear the numbers that they have in this session."""
        self._numbers = None

    @property
    def _window(self) -> int:
        return WINDOW if self._session.can("PIPELINING") else 1

    def _number(self, message: Listed) -> int | None:
        """What a message is called in this session; None if it is gone."""
        return message.number if self._numbers is None else self._numbers.get(message.key or "")

    def _complete_one(self, source: Iterator[Sequence[Listed]], max_bytes: int) -> None:
        """Read until the first of the open batches is complete, if there is one."""
        self._fill(source, max_bytes)
        while self._open and len(self._open[0].done) < len(self._open[0].asked):
            self._read_one()
            self._fill(source, max_bytes)

    def _recover(self, error: ConnectionLost) -> None:
        """Go on in another session: what is not complete is asked for again, and what was deleted is deleted again."""
        at, self._reading = self._reading, None
        self._outstanding.clear()
        self._fetching = self._bytes = 0
        self.refused.clear()
        for batch in self._open:
            batch.sent = len(batch.done)
        if isinstance(at, _Retr) and at.batch is not None:
            self._breaks[at.message.number] += 1
            if self._breaks[at.message.number] == MOST_BREAKS:
                at.batch.done.append(Fetched(at.message, None, refused=quoted(error)))
                at.batch.sent += 1
        self._session, self._numbers = self._reconnect(error)
        self._send_deletes(self.deleted)

    def _fill(self, source: Iterator[Sequence[Listed]], max_bytes: int) -> None:
        """Send RETRs while there is room, several in one write."""
        if self._fetching > self._window // 2:
            return
        commands: list[_Command] = []
        size = self._bytes
        while self._fetching + len(commands) < self._window:
            batch = next((each for each in self._open if each.sent < len(each.asked)), None)
            if batch is None:
                following = next(source, None)
                if following is None:
                    break
                self._open.append(_Batch(following))
                continue
            message = batch.asked[batch.sent]
            if size and size + message.size > WINDOW_BYTES:
                break
            batch.sent += 1
            size += message.size
            commands.append(_Retr(message, batch, max_bytes))
        if commands:
            self._send(commands)

    def _send_deletes(self, messages: Sequence[Listed]) -> None:
        for start in range(0, len(messages), self._window):
            self._send([_Dele(message) for message in messages[start : start + self._window]])
            while len(self._outstanding) > LONGEST_QUEUE:
                self._read_one()

    def _send(self, commands: Sequence[_Command]) -> None:
        if self._window == 1:
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
        with self._session.mapping():
            self._session.wire.send(*lines)

    def _read_all(self) -> None:
        while self._outstanding:
            self._read_one()

    def _read_one(self) -> None:
        command = self._reading = self._outstanding[0]
        with self._session.mapping():
            if isinstance(command, _Retr):
                fetched = self._retrieve(command)
                if command.batch is not None:
                    command.batch.done.append(fetched)
                self._fetching -= 1
                self._bytes -= command.message.size
            elif self._number(command.message) is not None:
                accepted, text = self._session.wire.answer()
                if not accepted and not is_gone(text):
                    self.refused[command.message.number] = text
        self._outstanding.popleft()
        self._reading = None

    def _retrieve(self, command: _Retr) -> Fetched:
        wire, message = self._session.wire, command.message
        if self._number(message) is None:
            return Fetched(message, None)
        given, text = wire.answer()
        if not given:
            return Fetched(message, None, refused=None if is_gone(text) else text or "-ERR")
        if command.batch is None:
            wire.drain(_nowhere)
            return Fetched(message, None)
        try:
            content, oversized = self._spooled(message, command.max_bytes)
        except OSError as error:
            # The connection's own errors are `Broken` by now.
            text = quoted(error.strerror or type(error).__name__)
            raise ServiceUnavailable(f"{self._session.where}: the temporary disk: {text}") from error
        return Fetched(message, content, oversized=oversized)

    def _spooled(self, message: Listed, max_bytes: int) -> tuple[Content | None, bool]:
        spool = Spool(message.size, max_bytes)
        try:
            self._session.wire.drain(spool.write)
            return spool.finish(), spool.overflowed
        except BaseException:
            spool.discard()
            raise


def _nowhere(_data: bytes) -> None:
    pass
