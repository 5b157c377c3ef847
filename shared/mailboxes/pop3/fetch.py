"""Downloads messages in batches with pipelined RETRs (rule 1.7).

The server responds in the order of the commands, so the outstanding commands form a queue. It holds RETRs, and the
DELEs sent between them, whose responses are not awaited before the next command is sent.

Not every server keeps that order (see `shared.mailboxes.pop3.server_record`). A pipelined message is accepted if it has
the size that LIST reports and contains nothing that looks like a response. Otherwise the message is doubtful: it is
read again while no other command is outstanding, and only the second reading is accepted. If the two readings differ,
the server cannot pipeline: every message that was not yielded yet is read again, one at a time. So a batch, which the
caller may delete, contains confirmed messages only. While a message is doubtful, no DELE is sent before all outstanding
commands are answered.

After a broken connection the download resumes in a new session. Messages are identified by UIDL, since their numbers
change. All DELEs are repeated, since none was committed. Commands are sent one at a time, since pipelining may be the
reason. A message at which the connection breaks twice is refused, so that it does not block the others (rule 1.8).
"""

from __future__ import annotations

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
from shared.mailboxes.pop3.response_detector import ResponseDetector
from shared.mailboxes.pop3.server_record import ServerRecord
from shared.mailboxes.pop3.session import Session
from shared.mailboxes.spool import Content, Spool

WINDOW: Final = 64
"""RETRs that are outstanding at once; one if the server does not offer PIPELINING."""

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Bytes, as reported by LIST, that are outstanding at once. A larger message is requested alone."""

MAX_OUTSTANDING: Final = 4 * WINDOW
"""Commands that are outstanding at once, DELEs included, so that neither side's buffers fill up."""

MAX_BREAKS_PER_MESSAGE: Final = 2
"""Broken connections at one message, after which it is refused."""


@dataclass(slots=True)
class _Batch:
    """Messages that are downloaded and yielded together.

    Attributes:
        messages: the messages, in the order of the results.
        unsent: messages whose RETR is not sent yet.
        results: results by message number.
        pipelined: numbers of the messages that were received while other commands were outstanding.
    """

    messages: Sequence[ListedMessage]
    unsent: deque[ListedMessage]
    results: dict[int, FetchResult] = field(default_factory=dict)
    pipelined: set[int] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        return len(self.results) == len(self.messages)

    def requeue(self) -> None:
        """Request every message without a result again."""
        self.unsent = deque(message for message in self.messages if message.number not in self.results)

    def drop(self, numbers: Iterable[int]) -> None:
        """Drop results and close their content."""
        for number in numbers:
            result = self.results.pop(number, None)
            if result is not None and result.content is not None:
                result.content.close()


@dataclass(slots=True)
class _Retr:
    message: ListedMessage
    batch: _Batch | None
    max_bytes: int
    alone: bool = False
    """No other command was outstanding at the same time."""


@dataclass(slots=True)
class _Dele:
    message: ListedMessage
    alone: bool = False
    """As above."""


_Command = _Retr | _Dele


@dataclass(frozen=True, slots=True)
class _Doubt:
    """The first reading of a message that is read again alone.

    Attributes:
        digest: the SHA-256 of its bytes, or a text for another result; see `_digest`.
        is_size: the doubt is about its size, not about its content.
    """

    digest: str
    is_size: bool


class CommandPipeline:
    """The queue of outstanding commands of a session.

    Args:
        session: the signed-in session.
        reconnect: returns another session and the message numbers in it by key, or raises the error it is called with.
        record: the observations about the server, which are updated.

    Attributes:
        deleted: the messages for which DELE was sent.
        refused: the server's responses to refused DELEs, by message number.
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
        self.finish_outstanding()
        self._recent.clear()
        source = iter(batches)
        try:
            while True:
                try:
                    self._complete_first_batch(source, max_bytes)
                except ConnectionLost as error:
                    self._recover(error)
                    continue
                if not self._open:
                    break
                batch = self._open.popleft()
                yield [batch.results[message.number] for message in batch.messages]
            if self._pipelined and not self._one_at_a_time:
                self._record.pipelined_drain_completed()
        finally:
            # Batches are still open here after an error, or if the caller stopped early.
            for batch in self._open:
                batch.drop(list(batch.results))
            self._open.clear()
            self._doubts.clear()
            for command in self._outstanding:
                if isinstance(command, _Retr):
                    command.batch = None

    def delete(self, messages: Sequence[ListedMessage]) -> None:
        """Send DELEs. Their responses are read later, with those of other commands."""
        self.deleted += messages
        try:
            self._send_deletes(messages)
        except ConnectionLost as error:
            self._recover(error)

    def finish_outstanding(self) -> None:
        """Read the responses to all outstanding commands."""
        try:
            self._read_all()
        except ConnectionLost as error:
            self._recover(error)
            self._read_all()

    def use_listing(self, messages: Sequence[ListedMessage]) -> None:
        """Use the message numbers of a new listing in this session; call it after each listing.

        If a message has no key, commands are sent one at a time: the download cannot resume in another session.
        """
        self._numbers = None
        self._one_at_a_time = self._one_at_a_time or any(message.key is None for message in messages)

    @property
    def _window(self) -> int:
        pipelining = self._session.pipelines and not self._one_at_a_time and not self._record.no_pipelining
        return WINDOW if pipelining else 1

    def _number(self, message: ListedMessage) -> int | None:
        """Return a message's number in this session; None if the message is gone."""
        return message.number if self._numbers is None else self._numbers.get(message.key or "")

    def _complete_first_batch(self, source: Iterator[Sequence[ListedMessage]], max_bytes: int) -> None:
        """Read until the first open batch is complete, if there is one."""
        self._fill(source, max_bytes)
        while self._open and not self._open[0].is_complete:
            self._read_one()
            self._fill(source, max_bytes)

    def _recover(self, error: ConnectionLost) -> None:
        """Resume in another session: request messages without a result again, and repeat all deletions."""
        command, self._reading = self._reading, None
        self._note_break(error, command)
        self._outstanding.clear()
        self._fetching = self._bytes = 0
        self.refused.clear()
        for batch in self._open:
            batch.requeue()
        if isinstance(command, _Retr) and command.batch is not None:
            number = command.message.number
            self._breaks[number] += 1
            if self._breaks[number] == MAX_BREAKS_PER_MESSAGE:
                command.batch.results[number] = FetchResult(command.message, None, refused=printable(error))
                command.batch.requeue()
                self._doubts.pop(number, None)
        self._session, self._numbers = self._reconnect(error)
        self._send_deletes(self.deleted)

    def _note_break(self, error: ConnectionLost, command: _Command | None) -> None:
        """Count a break if pipelining may be the reason; the next session does not pipeline then.

        This happens before the next session is opened, since opening it may fail temporarily.
        """
        cause = error.__cause__
        if command is None and not isinstance(cause, InterleavedResponses):
            return
        if command is not None and command.alone:
            if self._suspects.pop(command.message.number, None) is not None:
                # The message or the network is the reason, not pipelining.
                self._record.excuse_break()
            return
        self._one_at_a_time = True
        if isinstance(cause, GarbledResponse):
            self._distrust(str(cause))
            return
        self._record.count_break()
        if isinstance(command, _Retr) and isinstance(cause, ProtocolViolation):
            self._suspects[command.message.number] = cause

    def _confirm_suspicion(self, message: ListedMessage) -> None:
        """Judge an earlier break, after the message at which it happened was received alone."""
        if isinstance(self._suspects.pop(message.number, None), NoResponse):
            self._record.disable_pipelining("the server did not answer while several commands were outstanding")

    def _distrust(self, reason: str) -> None:
        """Switch pipelining off, and drop the pipelined results that were not yielded yet."""
        self._record.disable_pipelining(reason)
        for batch in self._open:
            batch.drop(batch.pipelined)
            batch.pipelined.clear()
            batch.requeue()

    def _fill(self, source: Iterator[Sequence[ListedMessage]], max_bytes: int) -> None:
        """Send RETRs up to the window, several in one write; a doubtful message first, and alone."""
        if self._doubts:
            if not self._outstanding:
                self._send([self._retr_doubtful(max_bytes)])
            return
        if self._fetching > self._window // 2:
            return
        commands: list[_Command] = []
        size = self._bytes
        while self._fetching + len(commands) < self._window:
            batch = next((open_batch for open_batch in self._open if open_batch.unsent), None)
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

    def _retr_doubtful(self, max_bytes: int) -> _Retr:
        """Return the RETR of a doubtful message."""
        batch, message = next((b, m) for b in self._open for m in b.unsent if m.number in self._doubts)
        batch.unsent.remove(message)
        return _Retr(message, batch, max_bytes)

    def _send_deletes(self, messages: Sequence[ListedMessage]) -> None:
        rest = deque(messages)
        while rest:
            self._send([_Dele(rest.popleft()) for _ in range(min(self._window, len(rest)))])
            while len(self._outstanding) > MAX_OUTSTANDING:
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
        with self._session.map_errors():
            self._session.wire.send(*lines)

    def _read_all(self) -> None:
        while self._outstanding:
            self._read_one()

    def _read_one(self) -> None:
        command = self._reading = self._outstanding[0]
        if isinstance(command, _Retr):
            with self._session.map_errors():
                result, detector = self._retrieve(command)
            self._fetching -= 1
            self._bytes -= command.message.size
            self._outstanding.popleft()
            self._reading = None
            with self._session.map_errors():
                self._judge(command, result, detector)
        else:
            if self._number(command.message) is not None:
                with self._session.map_errors():
                    accepted, text = self._session.wire.read_response()
                if not accepted and not is_gone(text):
                    raise_if_throttled(text, self._session.where)
                    self.refused[command.message.number] = text
            self._outstanding.popleft()
            self._reading = None

    def _judge(self, command: _Retr, result: FetchResult, detector: ResponseDetector | None) -> None:
        """Accept a result of RETR, or doubt it."""
        message, batch, content = command.message, command.batch, result.content
        if batch is None:
            return
        doubt = self._doubts.pop(message.number, None)
        if command.alone or self._number(message) is None:
            self._confirm_suspicion(message)
            if doubt is not None:
                self._compare(doubt, result)
            batch.results[message.number] = _refused_if_empty(result)
            return
        exact = content is not None and content.size == message.size
        twins = self._twins(message, content)
        if exact and not twins and not (detector is not None and detector.detected):
            assert content is not None
            self._pipelined = True
            self._record.count_exact()
            self._recent.append((message.number, content.sha256))
            batch.results[message.number] = result
            batch.pipelined.add(message.number)
            return
        self._doubt(message, batch, result, is_size=not exact)
        for number in twins:
            self._doubt_again(number)
        if not exact and detector is not None and detector.detected and self._outstanding:
            # The responses to the outstanding commands may have been received already, within the message.
            raise InterleavedResponses("a message seems to contain the response to another command")

    def _twins(self, message: ListedMessage, content: Content | None) -> list[int]:
        """Return the numbers of other recent messages with the same bytes."""
        if content is None:
            return []
        return [number for number, sha256 in self._recent if sha256 == content.sha256 and number != message.number]

    def _doubt(self, message: ListedMessage, batch: _Batch, result: FetchResult, *, is_size: bool) -> None:
        """Record a doubt about a message, and request the message again."""
        self._doubts[message.number] = _Doubt(_digest(result), is_size)
        if result.content is not None:
            result.content.close()
        batch.unsent.appendleft(message)

    def _doubt_again(self, number: int) -> None:
        """Doubt an accepted message that was not yielded yet, since another message has the same bytes."""
        for batch in self._open:
            if number in batch.pipelined:
                batch.pipelined.discard(number)
                result = batch.results.pop(number)
                self._doubt(result.listed, batch, result, is_size=False)

    def _compare(self, doubt: _Doubt, result: FetchResult) -> None:
        """Judge the server by two readings of one message."""
        digest = _digest(result)
        if digest == doubt.digest:
            if doubt.is_size and digest:
                self._record.count_inexact()
        elif digest:
            self._distrust("a message had different content when it was read alone")

    def _retrieve(self, command: _Retr) -> tuple[FetchResult, ResponseDetector | None]:
        wire, message = self._session.wire, command.message
        if self._number(message) is None:
            return FetchResult(message, None), None
        accepted, text = wire.read_response()
        if not accepted:
            raise_if_throttled(text, self._session.where)
            return FetchResult(message, None, refused=None if is_gone(text) else printable(text) or "-ERR"), None
        if command.batch is None:
            wire.read_multiline(_discard)
            return FetchResult(message, None), None
        try:
            return self._spool(message, command.max_bytes)
        except OSError as error:
            # Only the disk raises OSError here: the wire maps those of the connection to `ProtocolViolation`.
            text = printable(error.strerror or type(error).__name__)
            raise ServiceUnavailable(f"{self._session.where}: the temporary disk failed: {text}") from error

    def _spool(self, message: ListedMessage, max_bytes: int) -> tuple[FetchResult, ResponseDetector]:
        spool = Spool(message.size, max_bytes)
        try:
            detector = ResponseDetector(spool.write)
            self._session.wire.read_multiline(detector.write)
            content: Content | None = spool.finish()
        except BaseException:
            spool.discard()
            raise
        return FetchResult(message, content, oversized=spool.overflowed), detector


def _digest(result: FetchResult) -> str:
    """Return the text by which two results of a RETR are compared; empty if the message was not delivered."""
    if result.content is not None:
        return result.content.sha256
    return "oversized" if result.oversized else ""


def _refused_if_empty(result: FetchResult) -> FetchResult:
    """Return the result, or a refusal in place of an empty message whose reported size is not empty."""
    content, size = result.content, result.listed.size
    if content is None or content.size > len(b"\r\n") or size <= len(b"\r\n"):
        return result
    content.close()
    return FetchResult(result.listed, None, refused=f"the server sent no content, but lists {size} bytes")


def _discard(_data: bytes) -> None:
    pass
