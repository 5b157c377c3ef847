"""Messages off the wire, many RETRs ahead of the one that is being read, into batches (speed.md, rule 1.7).

The server answers in the order of the commands, so what is outstanding is a queue: RETRs, and the DELEs that are sent
between them, whose answers nobody waits for before the next command goes out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.errors import ServiceUnavailable, quoted
from shared.mailboxes.pop3_errors import is_gone
from shared.mailboxes.pop3_session import Session
from shared.mailboxes.protocol import Batch, Fetched, Listed
from shared.mailboxes.spool import Content, Spool

WINDOW: Final = 64
"""RETRs that are outstanding at once; one where the server does not know PIPELINING."""

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Told octets that are outstanding at once; a message that is larger comes alone."""


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
    number: int


class Flow:
    """Commands that are outstanding on a session, and their answers in order.

    Args:
        session: signed in.

    Attributes:
        refused: what the server answered to DELEs that it refused, by message number.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._outstanding: deque[_Retr | _Dele] = deque()
        self._fetching = 0
        self._bytes = 0
        self._window = WINDOW if session.can("PIPELINING") else 1
        self.refused: dict[int, str] = {}

    @property
    def is_idle(self) -> bool:
        """Whether every command has been answered."""
        return not self._outstanding

    def fetch(self, batches: Iterable[Sequence[Listed]], max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches in order; see `shared.mailboxes.protocol.Mailbox.fetch`."""
        self.settle()
        source = iter(batches)
        open_batches: deque[_Batch] = deque()
        try:
            while self._fill(source, open_batches, max_bytes) or open_batches:
                batch = open_batches[0]
                while len(batch.done) < len(batch.asked):
                    self._fill(source, open_batches, max_bytes)
                    self._read_one()
                yield open_batches.popleft().done
        finally:
            # Reached with batches open if something broke, or if nobody wants the rest.
            for one in (one for batch in open_batches for one in batch.done):
                if one.content is not None:
                    one.content.close()
            for command in self._outstanding:
                if isinstance(command, _Retr):
                    command.batch = None

    def delete(self, numbers: Sequence[int]) -> None:
        """Send DELEs; their answers come with what is read next."""
        if self._window == 1:
            self.settle()
            for number in numbers:
                self._send([_Dele(number)], [b"DELE %d" % number])
                self.settle()
            return
        for start in range(0, len(numbers), WINDOW):
            part = numbers[start : start + WINDOW]
            self._send([_Dele(number) for number in part], [b"DELE %d" % number for number in part])
            while len(self._outstanding) > 4 * WINDOW:
                self._read_one()

    def settle(self) -> None:
        """Read the answers to everything that is outstanding."""
        while self._outstanding:
            self._read_one()

    def _fill(self, source: Iterator[Sequence[Listed]], open_batches: deque[_Batch], max_bytes: int) -> bool:
        """Send RETRs while there is room, several in one write; True if any is outstanding."""
        if self._fetching > self._window // 2:
            return True
        commands: list[_Retr | _Dele] = []
        lines: list[bytes] = []
        size = self._bytes
        while self._fetching + len(commands) < self._window:
            if not open_batches or open_batches[-1].sent == len(open_batches[-1].asked):
                following = next(source, None)
                if following is None:
                    break
                open_batches.append(_Batch(following))
                continue
            batch = open_batches[-1]
            message = batch.asked[batch.sent]
            if size and size + message.size > WINDOW_BYTES:
                break
            batch.sent += 1
            size += message.size
            commands.append(_Retr(message, batch, max_bytes))
            lines.append(b"RETR %d" % message.number)
        if commands:
            if self._window == 1:
                self.settle()
            self._send(commands, lines)
        return self._fetching > 0

    def _send(self, commands: Sequence[_Retr | _Dele], lines: Sequence[bytes]) -> None:
        with self._session.mapping():
            self._session.wire.send(*lines)
        self._outstanding.extend(commands)
        for command in commands:
            if isinstance(command, _Retr):
                self._fetching += 1
                self._bytes += command.message.size

    def _read_one(self) -> None:
        command = self._outstanding[0]
        with self._session.mapping():
            if isinstance(command, _Retr):
                self._retrieve(command)
                self._fetching -= 1
                self._bytes -= command.message.size
            else:
                accepted, text = self._session.wire.answer()
                if not accepted and not is_gone(text):
                    self.refused[command.number] = text
        self._outstanding.popleft()

    def _retrieve(self, command: _Retr) -> None:
        wire, message = self._session.wire, command.message
        given, text = wire.answer()
        if not given:
            if command.batch is not None:
                refused = None if is_gone(text) else text or "-ERR"
                command.batch.done.append(Fetched(message, None, refused=refused))
            return
        if command.batch is None:
            wire.drain(_nowhere)
            return
        try:
            content, oversized = self._spooled(message, command.max_bytes)
        except OSError as error:
            # The connection's own errors are `Broken` by now.
            text = quoted(error.strerror or type(error).__name__)
            raise ServiceUnavailable(f"{self._session.where}: the temporary disk: {text}") from error
        command.batch.done.append(Fetched(message, content, oversized=oversized))

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
