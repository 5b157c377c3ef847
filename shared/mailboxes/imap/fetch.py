"""Downloads messages: several batches at once, large messages in pieces, with recovery from errors.

If the server refuses a batch or the connection breaks, its messages are requested again one at a time: one bad message
must not block the messages behind it (rule 1.8). A message that is refused when requested alone gets the result
`refused` and stays in the mailbox (`refusals` decides). So does a message at which the connection breaks twice while no
other message is requested.

A FETCH response without a UID is accepted only while a single message is requested, and only if SEARCH confirms its
sequence number: a wrong guess would remove a message that was never stored.

A message is spooled to disk only while no earlier message on disk waits to be stored. The disk budget may block this
thread until other spools release space, and this thread must not wait for its own spool.

A large message is read in pieces of a megabyte (`BODY.PEEK[]<offset.count>`, RFC 3501 section 6.4.5), several at once.
The reported size is only a hint, since Exchange estimates it. The message ends where the server returns no more bytes.
A short piece is the end only if the sum equals the reported size.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from shared.errors import ConnectionLost, ServiceUnavailable, printable
from shared.mailboxes.base import Batch, FetchResult, ListedMessage
from shared.mailboxes.imap.errors import CommandRejected, SessionExpired
from shared.mailboxes.imap.refusals import Refusals
from shared.mailboxes.imap.syntax import uid_sets
from shared.mailboxes.imap.wire import PIECE_SIZE, Body, Command, Sink, SkippedBody, Wire
from shared.mailboxes.spool import MEMORY_LIMIT, Content, Spool

WINDOW_BYTES = 16 * 1024 * 1024
"""Bytes, as reported by the server, that may be requested or wait to be stored."""

MAX_BREAKS_ALONE = 2
"""Broken connections while a message is requested alone, after which it is refused."""

ALONE_AT_ONCE = 5
"""Commands for single messages that are outstanding at once."""

_log = logging.getLogger("mailroom.imap")


class ReconnectingSession(Protocol):
    """A session that can be reconnected."""

    @property
    def where(self) -> str:
        """The mailbox and its server."""

    @property
    def wire(self) -> Wire:
        """The wire of the current session."""

    def map_errors(self) -> AbstractContextManager[None]:
        """Return a context that maps exceptions to errors of `shared.errors`."""

    def reconnect(self, error: ConnectionLost) -> None:
        """Reconnect, or raise the error."""


class DiskSpool(Spool):
    """A spool whose disk errors are not mistaken for connection errors."""

    def write(self, data: bytes | memoryview) -> None:
        """Append the next bytes; raise `ServiceUnavailable` if the disk fails."""
        try:
            super().write(data)
        except OSError as error:
            raise disk_error(error) from error


def disk_error(error: OSError) -> ServiceUnavailable:
    """Return the error for a full or failing temporary disk."""
    return ServiceUnavailable(f"the temporary disk failed while spooling a message: {printable(error)}")


class FetchBatch:
    """A batch that is being downloaded.

    Attributes:
        messages: the messages, in the order of the results.
        by_uid: the messages by UID.
        has_large: whether a message is spooled to disk.
        size: the sum of the reported sizes in bytes.
        results: the results by UID.
        wire: the wire on which the batch was requested.
        commands: the commands that requested it.
        alone: UID of the message that is requested alone at the moment.
        breaks: broken connections by UID of the message that was requested alone.
        undelivered: the server's response by UID of each message that was requested alone and not delivered.
        done: the download is finished.
    """

    def __init__(self, messages: Sequence[ListedMessage]) -> None:
        self.messages = messages
        self.by_uid = {message.number: message for message in messages}
        self.has_large = any(message.size > MEMORY_LIMIT for message in messages)
        self.size = sum(message.size for message in messages)
        self.results: dict[int, FetchResult] = {}
        self.wire: Wire | None = None
        self.commands: list[Command] = []
        self.alone: int | None = None
        self.breaks: dict[int, int] = {}
        self.undelivered: dict[int, str] = {}
        self.done = False

    def missing(self) -> list[int]:
        """Return the UIDs of the messages without a result."""
        return [uid for uid in self.by_uid if uid not in self.results]

    def set_result(
        self, uid: int, content: Content | None, *, oversized: bool = False, refused: str | None = None
    ) -> None:
        """Set the result of a message."""
        self.results[uid] = FetchResult(self.by_uid[uid], content, oversized=oversized, refused=refused)

    def postpone(self, uid: int) -> None:
        """Leave a message to the next listing."""
        self.results[uid] = FetchResult(self.by_uid[uid], None, postponed=True)

    def to_batch(self) -> Batch:
        """Return a result for each message; a message without a result is gone."""
        return [self.results.get(message.number) or FetchResult(message, None) for message in self.messages]

    def discard(self) -> None:
        """Close the content of all results."""
        for result in self.results.values():
            if result.content is not None:
                result.content.close()


class PartialFetch:
    """A download of one message in pieces.

    Args:
        wire: a wire without another download.
        uid: the message's UID.
        size: the message's size in bytes as reported by the server.
        width: pieces that are outstanding at once, after the first, which shows whether the server supports pieces.
    """

    def __init__(self, wire: Wire, uid: int, size: int, width: int) -> None:
        self._wire = wire
        self._uid = uid
        self._size = size
        self._width = width
        self._pieces: dict[int, bytes] = {}

    def read(self, sink: Sink) -> Command | None:
        """Read the message into a sink, in order.

        Returns:
            None if the message was read; else the command that returned no piece: the message is gone, or the server
            does not support pieces. The content of the sink is useless then.
        """
        total = offset = 0
        width = 1
        ended = False
        failed: Command | None = None
        outstanding: deque[tuple[int, Command]] = deque()
        while True:
            while not ended and len(outstanding) < width and (offset < self._size or not outstanding):
                text = b"UID FETCH %d (UID BODY.PEEK[]<%d.%d>)" % (self._uid, offset, PIECE_SIZE)
                outstanding.append((offset, self._wire.fetch(text)[0]))
                offset += PIECE_SIZE
            if not outstanding:
                return failed
            origin, command = outstanding.popleft()
            piece = self._receive(command, origin)
            if failed is not None:
                continue
            if piece is None or command.status != "OK":
                failed, ended = command, True
            elif origin != total:
                # If the piece behind a short piece has bytes, the message continues there: read one piece at a time.
                if piece:
                    ended, offset, width = False, total, 1
            else:
                sink.write(piece)
                total += len(piece)
                if len(piece) == PIECE_SIZE:
                    width = self._width
                elif not piece or total == self._size:
                    ended = True
                else:
                    offset, width = total, 1

    def _receive(self, command: Command, origin: int) -> bytes | None:
        """Read until a command is completed, and return the piece at an offset; None if it was not delivered."""
        for body in self._wire.bodies_until(command):
            value = b"" if body.value is None else body.value
            if body.uid == self._uid and body.origin is not None and isinstance(value, bytes):
                self._pieces[body.origin] = value
        return self._pieces.pop(origin, None)


class Fetcher:
    """Downloads batches of the selected folder.

    Args:
        session: the session.
        folder: the folder's name, for the log.
        max_bytes: size in bytes above which a message is not kept.
        width: commands that are outstanding at once.
    """

    def __init__(self, session: ReconnectingSession, folder: str, max_bytes: int, width: int) -> None:
        self._session = session
        self._folder = folder
        self._max_bytes = max_bytes
        self._width = width
        self._window: deque[FetchBatch] = deque()
        self._next_batch: FetchBatch | None = None
        self._spools: list[Spool] = []
        self._supports_pieces = True
        self._one_at_a_time = False
        self._refusals = Refusals(session)
        self._sends_uids = True

    def run(self, batches: Iterable[Sequence[ListedMessage]]) -> Generator[Batch, None, None]:
        """Yield the results of each batch, in order."""
        source = iter(batches)
        try:
            self._fill(source)
            while self._window:
                self._finish(self._window[0])
                self._fill(source)
                yield self._window.popleft().to_batch()
                self._fill(source)
        finally:
            self._abandon()

    def _fill(self, source: Iterator[Sequence[ListedMessage]]) -> None:
        """Request further batches until the window is full."""
        while not any(
            batch.wire is not self._session.wire or batch.has_large for batch in self._window if not batch.done
        ):
            waiting = sum(not batch.done for batch in self._window)
            if waiting >= self._width:
                return
            batch = self._next_batch
            if batch is None:
                messages = next(source, None)
                if messages is None:
                    return
                batch = FetchBatch(messages)
            self._next_batch = batch
            if self._window and (batch.has_large or sum(b.size for b in self._window) + batch.size > WINDOW_BYTES):
                return
            self._next_batch = None
            self._one_at_a_time = False
            self._window.append(batch)
            try:
                with self._session.map_errors():
                    self._send(batch)
            except ConnectionLost:
                batch.wire = None  # `_finish` reconnects.
                return

    def _send(self, batch: FetchBatch) -> None:
        """Request the messages of a batch that fit into memory."""
        batch.wire = self._session.wire
        small = [uid for uid in batch.missing() if batch.by_uid[uid].size <= MEMORY_LIMIT]
        batch.commands = self._request(batch.wire, uid_sets(small))

    def _request(self, wire: Wire, sets: Iterable[bytes]) -> list[Command]:
        """Request messages, one command a UID set."""
        commands = [b"UID FETCH %b (UID BODY.PEEK[])" % uid_set for uid_set in sets]
        return wire.fetch(*commands, open_sink=self._open_sink) if commands else []

    def _receive(self, wire: Wire, command: Command) -> Command:
        """Read until a command is completed, and assign the bodies that arrive."""
        for body in wire.bodies_until(command):
            self._assign(body)
        return command

    def _finish(self, batch: FetchBatch) -> None:
        """Read until a batch is complete, reconnecting as often as necessary."""
        while not batch.done:
            try:
                with self._session.map_errors():
                    self._advance(batch)
            except ConnectionLost as error:
                self._drop_spools()
                expired = isinstance(error, SessionExpired)
                self._one_at_a_time = self._one_at_a_time or not expired
                if batch.alone is not None and not expired:
                    self._count_break(batch, batch.alone, error)
                self._session.reconnect(error)
            batch.alone = None

    def _count_break(self, batch: FetchBatch, uid: int, error: ConnectionLost) -> None:
        batch.breaks[uid] = batch.breaks.get(uid, 0) + 1
        if batch.breaks[uid] >= MAX_BREAKS_ALONE:
            self._refuse(batch, uid, f"the connection broke each time it was requested: {printable(error)}")

    def _advance(self, batch: FetchBatch) -> None:
        wire = self._session.wire
        if batch.wire is not wire:
            self._drop_spools()
        if not self._one_at_a_time:
            if batch.wire is not wire:
                self._send(batch)
            for command in batch.commands:
                self._refusals.raise_if_about_session(self._receive(wire, command))
            self._request_missing(batch, wire)
        batch.wire = wire
        for uid in batch.missing():
            batch.alone = uid
            if batch.by_uid[uid].size > MEMORY_LIMIT:
                self._fetch_large(batch, uid, wire)
            elif self._one_at_a_time:
                self._fetch_alone(batch, uid, wire)
            batch.alone = None
        self._search_undelivered(batch, wire)
        batch.done = True

    def _request_missing(self, batch: FetchBatch, wire: Wire) -> None:
        """Request missing messages one at a time: they are gone, or the server failed at one message of the batch."""
        missing = [uid for uid in batch.missing() if batch.by_uid[uid].size <= MEMORY_LIMIT]
        for start in range(0, len(missing), ALONE_AT_ONCE):
            uids = [uid for uid in missing[start : start + ALONE_AT_ONCE] if uid not in batch.results]
            if self._sends_uids:
                commands = self._request(wire, (b"%d" % uid for uid in uids))
                for uid, command in zip(uids, commands, strict=True):
                    self._judge(batch, uid, self._receive(wire, command), wire)
            if not self._sends_uids:
                for uid in uids:
                    if uid not in batch.results:
                        self._fetch_alone(batch, uid, wire)
                        batch.alone = None

    def _fetch_alone(self, batch: FetchBatch, uid: int, wire: Wire) -> None:
        """Request one message while no other command is outstanding."""
        batch.alone = None  # A break before all other commands are completed is not counted for this message.
        self._receive_all(wire)
        batch.alone = uid
        expunged = wire.expunged
        without_uid: list[Body] = []
        try:
            (command,) = self._request(wire, [b"%d" % uid])
            for body in wire.bodies_until(command):
                if body.uid is None and body.origin is None:
                    self._sends_uids = False
                    without_uid.append(body)
                else:
                    self._assign(body)
            self._judge(batch, uid, command, wire)
            if uid in batch.results or command.status != "OK" or len(without_uid) != 1:
                return
            if wire.sequence_numbers(b"UID %d" % uid) == {without_uid[0].sequence} and wire.expunged == expunged:
                self._accept(batch, uid, without_uid.pop().value)
            else:
                batch.undelivered[uid] = "the server answered without a UID, so it may be another message"
        except CommandRejected:
            batch.undelivered[uid] = "the server answered without a UID and refuses SEARCH"
        finally:
            for body in without_uid:
                self._drop_body(body)

    def _receive_all(self, wire: Wire) -> None:
        """Read until all commands are completed, and assign the bodies that arrive."""
        wire.wait_all()
        for body in wire.queued_bodies():
            self._assign(body)

    def _drop_body(self, body: Body) -> None:
        if isinstance(body.value, Spool) and body.value in self._spools:
            self._drop_spools(body.value)

    def _fetch_large(self, batch: FetchBatch, uid: int, wire: Wire) -> None:
        """Download a message to disk, in pieces if the server supports them."""
        if self._supports_pieces:
            self._receive_all(wire)
            spool = self._new_spool(batch.by_uid[uid].size)
            failed = PartialFetch(wire, uid, batch.by_uid[uid].size, self._width).read(spool)
            if failed is None:
                self._keep(batch, uid, spool)
                return
            self._drop_spools(spool)
            self._refusals.raise_if_about_session(failed)
        self._fetch_alone(batch, uid, wire)
        result = batch.results.get(uid)
        self._supports_pieces = self._supports_pieces and (result is None or result.content is None)

    def _judge(self, batch: FetchBatch, uid: int, command: Command, wire: Wire) -> None:
        """Evaluate the response to a command for one message, if the message was not delivered."""
        self._refusals.raise_if_about_session(command)
        if uid in batch.results:
            return
        verdict = self._refusals.judge(command, wire, self._receive_all)
        if verdict.may_be_gone:
            batch.undelivered[uid] = verdict.reason
        else:
            self._refuse(batch, uid, verdict.reason)

    def _search_undelivered(self, batch: FetchBatch, wire: Wire) -> None:
        """Search for the undelivered messages: those that still exist are refused, the others are gone."""
        undelivered = [uid for uid in batch.undelivered if uid not in batch.results]
        existing = self._refusals.existing(undelivered, wire)
        for uid in undelivered:
            if uid in existing:
                self._refuse(batch, uid, batch.undelivered[uid])

    def _refuse(self, batch: FetchBatch, uid: int, reason: str) -> None:
        _log.warning("%s: UID %d of folder %r stays in the mailbox: %s", self._session.where, uid, self._folder, reason)
        batch.set_result(uid, None, refused=reason)

    def _assign(self, body: Body) -> None:
        """Assign a received body to the batch that requested it; drop a body that cannot be assigned."""
        if isinstance(body.value, Spool) and body.value not in self._spools:
            return  # It was discarded with the connection on which it was received.
        if body.origin is not None or body.uid is None:
            self._sends_uids = self._sends_uids and body.origin is not None
            self._drop_body(body)
            return
        batch = next((b for b in self._window if body.uid in b.by_uid and body.uid not in b.results), None)
        if batch is not None:
            self._accept(batch, body.uid, body.value)
        else:
            self._drop_body(body)

    def _accept(self, batch: FetchBatch, uid: int, value: bytes | Sink | SkippedBody | None) -> None:
        """Set the result of a message whose body is certain."""
        if isinstance(value, SkippedBody):
            if value.size > self._max_bytes:
                batch.set_result(uid, None, oversized=True)
            else:
                # It needs the disk, where another message waits to be stored.
                _log.info(
                    "%s: UID %d is larger than the server reported and is requested again", self._session.where, uid
                )
                batch.postpone(uid)
        elif isinstance(value, Spool):
            self._keep(batch, uid, value)
        elif isinstance(value, bytes) and (value or not batch.by_uid[uid].size):
            self._refusals.note_delivery()
            whole = len(value) <= self._max_bytes
            batch.set_result(uid, Content.from_bytes(value) if whole else None, oversized=not whole)
        else:
            self._refuse(batch, uid, "the server delivered no content")

    def _keep(self, batch: FetchBatch, uid: int, spool: Spool) -> None:
        """Set the result of a message from its complete spool."""
        if not spool.overflowed and not spool.size:
            self._drop_spools(spool)
            self._refuse(batch, uid, "the server delivered no content")
            return
        self._refusals.note_delivery()
        self._spools.remove(spool)
        try:
            batch.set_result(uid, spool.finish(), oversized=spool.overflowed)
        except OSError as error:
            spool.discard()
            raise disk_error(error) from error

    def _open_sink(self, uid: int | None, size: int) -> Sink | None:
        requested = uid is None or any(uid in batch.by_uid and uid not in batch.results for batch in self._window)
        if not requested or size > self._max_bytes or (size > MEMORY_LIMIT and self._disk_in_use()):
            return None
        return self._new_spool(size)

    def _disk_in_use(self) -> bool:
        """Return whether a message on disk waits to be stored."""
        contents = (result.content for batch in self._window for result in batch.results.values())
        return any(spool.on_disk for spool in self._spools) or any(
            content is not None and isinstance(content.data, Path) for content in contents
        )

    def _new_spool(self, size: int) -> Spool:
        try:
            spool = DiskSpool(size, self._max_bytes)
        except OSError as error:
            raise disk_error(error) from error
        self._spools.append(spool)
        return spool

    def _drop_spools(self, *spools: Spool) -> None:
        """Discard the given spools, or all open ones."""
        for spool in spools or tuple(self._spools):
            self._spools.remove(spool)
            spool.discard()

    def _abandon(self) -> None:
        """Discard all unfinished batches, and bodies that are received later."""
        self._drop_spools()
        for batch in self._window:
            batch.discard()
        self._window.clear()
        with contextlib.suppress(Exception):
            self._session.wire.discard_bodies()
