"""Downloading: several batches on the wire, large messages in pieces, and what to do when one of them goes wrong.

A batch that the server refuses is asked for again one message at a time, and so is what was on the wire when the
connection broke: one bad message must not stop the ones behind it (rule 1.8). A message that is refused by itself, or
that broke the connection twice while nothing else was on the wire, is answered as `refused` and stays in the mailbox.

A message that does not come although the server answers OK is gone only if a UID SEARCH in the same session says so;
otherwise it is `refused`. A FETCH response without a UID is taken only while one message alone is asked for, and only
if SEARCH says that its sequence number is that message's: a wrong guess would remove mail that was never stored.

A code such as [UNAVAILABLE] may be about one message (Yahoo) or about the server. When `BUSY_IN_A_ROW` messages asked
for alone are refused so and none is delivered in between, the folder's last message decides: if the server does not
deliver its first byte either, the mailbox is busy.
Throttling is always about the account: nothing more is asked.

A message that goes to disk is begun only when no other that is on disk waits to be taken: the budget for the disk may
make this thread wait, and it must not wait for itself.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from shared.errors import AccessRefused, ConnectionLost, MailboxBusy, printable
from shared.mailboxes.base import Batch, ListedMessage
from shared.mailboxes.imap.errors import CommandRejected, SessionDied, mapped_errors, session_error
from shared.mailboxes.imap.pieces import PartialFetch
from shared.mailboxes.imap.syntax import in_set, uid_sets
from shared.mailboxes.imap.unit import DiskSpool, FetchBatch, disk_error
from shared.mailboxes.imap.wire import Body, Command, Sink, SkippedBody, Wire
from shared.mailboxes.spool import MEMORY_LIMIT, Content, Spool
from shared.mailboxes.temporary_refusals import is_temporary_refusal

WINDOW_BYTES = 16 * 1024 * 1024
"""Octets, as told by the server, that may be on the wire or wait to be taken."""

TRIES_ALONE = 2
"""How often a message may break the connection while it is alone on the wire."""

BUSY_IN_A_ROW = 5
"""Messages that are refused as temporary, one after the other, before the mailbox counts as busy."""

ALONE_AT_ONCE = 5
"""Commands for single messages that are sent at once."""

_GONE = frozenset({"EXPUNGEISSUED", "NONEXISTENT"})

_log = logging.getLogger("mailroom.imap")


class Link(Protocol):
    """The session, which may be made anew."""

    @property
    def where(self) -> str:
        """The mailbox and its server."""

    @property
    def wire(self) -> Wire:
        """The wire of the session as it is now."""

    def mapping(self) -> AbstractContextManager[None]:
        """A context in which every foreign exception becomes one of ours."""

    def recover(self, error: ConnectionLost) -> None:
        """Connect again, or raise the error."""


class Fetcher:
    """Downloads batches of the open folder.

    Args:
        link: the session.
        folder: its name, for the log.
        max_bytes: octets after which a message is cut.
        width: commands on the wire at once.
    """

    def __init__(self, link: Link, folder: str, max_bytes: int, width: int) -> None:
        self._link = link
        self._folder = folder
        self._max_bytes = max_bytes
        self._width = width
        self._window: deque[FetchBatch] = deque()
        self._ahead: FetchBatch | None = None
        self._spools: list[Spool] = []
        self._pieces: PartialFetch | None = None
        self._knows_pieces = True
        self._careful = False
        self._busy_in_a_row = 0
        self._knows_uids = True
        self._unnamed: list[Body] | None = None

    def run(self, batches: Iterable[Sequence[ListedMessage]]) -> Generator[Batch, None, None]:
        """The batches' messages, a finished batch at a time, in order."""
        source = iter(batches)
        try:
            self._fill(source)
            while self._window:
                self._finish(self._window[0])
                self._fill(source)
                yield self._window.popleft().results()
                self._fill(source)
        finally:
            self._abandon()

    def _fill(self, source: Iterator[Sequence[ListedMessage]]) -> None:
        """Send commands for further batches until the window is full."""
        while not any(unit.wire is not self._link.wire or unit.large for unit in self._window if not unit.done):
            waiting = sum(not unit.done for unit in self._window)
            if waiting >= self._width:
                return
            unit = self._ahead
            if unit is None:
                batch = next(source, None)
                if batch is None:
                    return
                unit = FetchBatch(batch)
            self._ahead = unit
            if self._window and (unit.large or sum(u.size for u in self._window) + unit.size > WINDOW_BYTES):
                return
            self._ahead = None
            self._careful = False
            self._window.append(unit)
            try:
                with self._link.mapping():
                    self._send(unit)
            except ConnectionLost:
                unit.wire = None  # Whoever finishes it sees to the connection.
                return

    def _send(self, unit: FetchBatch) -> None:
        """Ask for everything of a unit that is to come whole."""
        wire = self._use_wire(unit)
        small = [uid for uid in unit.missing() if unit.asked[uid].size <= MEMORY_LIMIT]
        unit.commands = wire.send(*(b"UID FETCH %b (UID BODY.PEEK[])" % uids for uids in uid_sets(small)))

    def _use_wire(self, unit: FetchBatch) -> Wire:
        wire = self._link.wire
        wire.on_body, wire.sink_for = self._take, self._sink
        unit.wire = wire
        return wire

    def _finish(self, unit: FetchBatch) -> None:
        """Read until a unit is whole, over as many connections as it takes."""
        while not unit.done:
            try:
                with self._link.mapping():
                    self._advance(unit)
            except ConnectionLost as error:
                self._drop_spools()
                died = isinstance(error, SessionDied)
                self._careful = self._careful or not died
                if unit.alone is not None and not died:
                    self._blame(unit, unit.alone, error)
                self._link.recover(error)
            unit.alone = None

    def _blame(self, unit: FetchBatch, uid: int, error: ConnectionLost) -> None:
        unit.losses[uid] = unit.losses.get(uid, 0) + 1
        if unit.losses[uid] >= TRIES_ALONE:
            self._refuse(unit, uid, f"the connection broke each time it was asked for: {printable(error)}")

    def _advance(self, unit: FetchBatch) -> None:
        wire = self._link.wire
        if unit.wire is not wire:
            self._drop_spools()
        if not self._careful:
            if unit.wire is not wire:
                self._send(unit)
            for command in unit.commands:
                self._raise_if_about_session(wire.wait(command))
            self._look_again(unit, wire)
        self._use_wire(unit)
        for uid in unit.missing():
            unit.alone = uid
            if unit.asked[uid].size > MEMORY_LIMIT:
                self._in_pieces(unit, uid, wire)
            elif self._careful:
                self._whole(unit, uid, wire)
            unit.alone = None
        self._search_silent(unit, wire)
        unit.done = True

    def _look_again(self, unit: FetchBatch, wire: Wire) -> None:
        """Ask one by one for what did not come: it is gone, or the server stumbled over one of the batch."""
        missing = [uid for uid in unit.missing() if unit.asked[uid].size <= MEMORY_LIMIT]
        for start in range(0, len(missing), ALONE_AT_ONCE):
            uids = [uid for uid in missing[start : start + ALONE_AT_ONCE] if uid not in unit.found]
            if self._knows_uids:
                commands = wire.send(*(b"UID FETCH %d (UID BODY.PEEK[])" % uid for uid in uids)) if uids else []
                for uid, command in zip(uids, commands, strict=True):
                    self._judge(unit, uid, wire.wait(command), wire)
            if not self._knows_uids:
                for uid in uids:
                    if uid not in unit.found:
                        self._whole(unit, uid, wire)
                        unit.alone = None

    def _whole(self, unit: FetchBatch, uid: int, wire: Wire) -> None:
        """Ask for one message while nothing else is on the wire."""
        unit.alone = None  # Until nothing else is on the wire, a connection that breaks is not this message's doing.
        wire.settle()
        unit.alone = uid
        expunged = wire.expunged
        unnamed: list[Body] = []
        self._unnamed = unnamed
        try:
            command = wire.wait(wire.send(b"UID FETCH %d (UID BODY.PEEK[])" % uid)[0])
            self._judge(unit, uid, command, wire)
            if uid in unit.found or command.status != "OK" or len(unnamed) != 1:
                return
            if wire.sequence_numbers(b"UID %d" % uid) == {unnamed[0].sequence} and wire.expunged == expunged:
                self._accept(unit, uid, unnamed.pop().value)
            else:
                unit.silent[uid] = "the server answered without a UID, and the message may be another"
        except CommandRejected:
            unit.silent[uid] = "the server answered without a UID, and refuses SEARCH"
        finally:
            self._unnamed = None
            self._drop_unnamed(unnamed)

    def _drop_unnamed(self, bodies: Iterable[Body]) -> None:
        for body in bodies:
            if isinstance(body.value, Spool) and body.value in self._spools:
                self._drop_spools(body.value)

    def _in_pieces(self, unit: FetchBatch, uid: int, wire: Wire) -> None:
        """A message that goes to disk; whole, if the server knows no pieces."""
        if self._knows_pieces:
            spool = self._new_spool(unit.asked[uid].size)
            self._pieces = PartialFetch(wire, uid, unit.asked[uid].size, self._width)
            try:
                failed = self._pieces.read(spool)
            finally:
                self._pieces = None
            if failed is None:
                self._keep(unit, uid, spool)
                return
            self._drop_spools(spool)
            self._raise_if_about_session(failed)
        self._whole(unit, uid, wire)
        came = unit.found.get(uid)
        self._knows_pieces = self._knows_pieces and (came is None or came.content is None)

    def _raise_if_about_session(self, command: Command) -> None:
        """Raise what is wrong with the session or the account; messages that are refused are asked for one by one."""
        if command.status == "OK":
            return
        answer = CommandRejected(command.text, command.status, command.answer)
        error = session_error(answer.text, self._link.where)
        if error is None and answer.code == "OVERQUOTA":
            error = mapped_errors(answer, self._link.where)
        if isinstance(error, MailboxBusy | SessionDied | AccessRefused):
            raise error

    def _judge(self, unit: FetchBatch, uid: int, command: Command, wire: Wire) -> None:
        """What the answer to a command for one message means, if the message has not come."""
        self._raise_if_about_session(command)
        if uid in unit.found:
            return
        answer = CommandRejected(command.text, command.status, command.answer)
        if command.status == "OK":
            unit.silent[uid] = "the server answered OK without the message"
        elif answer.code in _GONE:
            unit.silent[uid] = f"the server answered {printable(answer)}"
        else:
            if is_temporary_refusal(answer.text):
                self._busy_in_a_row += 1
                if self._busy_in_a_row >= BUSY_IN_A_ROW and not self._delivers_last_message(unit, wire):
                    raise MailboxBusy(
                        f"{self._link.where}: not now: {BUSY_IN_A_ROW} messages in a row were refused, the last with "
                        f"{printable(answer.text)}"
                    )
            self._refuse(unit, uid, f"the server answered {printable(answer)}")

    def _delivers_last_message(self, unit: FetchBatch, wire: Wire) -> bool:
        """Return whether the server delivers a byte of the folder's last message; then it is not the server's trouble.

        The byte is thrown away: a server that says nothing of pieces might have it taken for the message.
        """
        wire.settle()
        pieces: list[Body] = []
        wire.forget_bodies()
        wire.on_body = pieces.append
        try:
            command = wire.wait(wire.send(b"UID FETCH * (UID BODY.PEEK[]<0.1>)")[0])
        finally:
            self._use_wire(unit)
        self._raise_if_about_session(command)
        delivers = any(piece.value for piece in pieces)
        if delivers:
            self._busy_in_a_row = 0
        return delivers

    def _search_silent(self, unit: FetchBatch, wire: Wire) -> None:
        """Find out which messages that did not come are gone; those that are still there are refused."""
        for uid_set in uid_sets(uid for uid in unit.silent if uid not in unit.found):
            try:
                there = wire.search(b"UID " + uid_set)
            except CommandRejected as error:
                about_session = session_error(error.text, self._link.where)
                if about_session is not None:
                    raise about_session from error
                there = set(in_set(uid_set))  # Unknown: nothing is lost by another try at the next poll.
            for uid in in_set(uid_set):
                if uid in there and uid not in unit.found:
                    self._refuse(unit, uid, unit.silent[uid])

    def _refuse(self, unit: FetchBatch, uid: int, why: str) -> None:
        _log.warning("%s: UID %d of folder %r is left there: %s", self._link.where, uid, self._folder, why)
        unit.answer(uid, None, refused=why)

    def _take(self, body: Body) -> None:
        """A message's bytes have come; whoever asked for them gets them."""
        if self._pieces is not None:
            self._pieces.take(body)
            return
        if body.origin is not None:
            return
        if body.uid is None:
            self._knows_uids = False
            if self._unnamed is not None:
                self._unnamed.append(body)
            else:
                self._drop_unnamed([body])
            return
        unit = next((u for u in self._window if body.uid in u.asked and body.uid not in u.found), None)
        if unit is not None:
            self._accept(unit, body.uid, body.value)
        elif isinstance(body.value, Spool):
            self._drop_spools(body.value)

    def _accept(self, unit: FetchBatch, uid: int, value: bytes | Sink | SkippedBody | None) -> None:
        """Take a message's bytes, of which it is certain whose they are."""
        if isinstance(value, SkippedBody):
            if value.size > self._max_bytes:
                unit.answer(uid, None, oversized=True)
            else:
                # It was to go to disk, and another one there waits to be taken.
                _log.info("%s: UID %d is larger than the server reported: asked for again", self._link.where, uid)
                unit.postpone(uid)
        elif isinstance(value, Spool):
            self._keep(unit, uid, value)
        elif isinstance(value, bytes) and (value or not unit.asked[uid].size):
            self._busy_in_a_row = 0
            whole = len(value) <= self._max_bytes
            unit.answer(uid, Content.from_bytes(value) if whole else None, oversized=not whole)
        else:
            self._refuse(unit, uid, "the server gave nothing of it")

    def _keep(self, unit: FetchBatch, uid: int, spool: Spool) -> None:
        """A spool is whole: it is the message, unless there is nothing in it, or too much."""
        if not spool.overflowed and not spool.size:
            self._drop_spools(spool)
            self._refuse(unit, uid, "the server gave nothing of it")
            return
        self._busy_in_a_row = 0
        self._spools.remove(spool)
        try:
            unit.answer(uid, spool.finish(), oversized=spool.overflowed)
        except OSError as error:
            spool.discard()
            raise disk_error(error) from error

    def _sink(self, uid: int | None, size: int) -> Sink | None:
        known = uid is None or any(uid in unit.asked and uid not in unit.found for unit in self._window)
        if self._pieces is not None or not known or size > self._max_bytes or (size > MEMORY_LIMIT and self._on_disk()):
            return None
        return self._new_spool(size)

    def _on_disk(self) -> bool:
        contents = (fetched.content for unit in self._window for fetched in unit.found.values())
        return any(content is not None and isinstance(content.data, Path) for content in contents)

    def _new_spool(self, size: int) -> Spool:
        try:
            spool = DiskSpool(size, self._max_bytes)
        except OSError as error:
            raise disk_error(error) from error
        self._spools.append(spool)
        return spool

    def _drop_spools(self, *spools: Spool) -> None:
        """Discard these spools, or all that are open."""
        for spool in spools or tuple(self._spools):
            self._spools.remove(spool)
            spool.discard()

    def _abandon(self) -> None:
        """Nobody takes what is left; what still comes is for nobody."""
        self._drop_spools()
        for unit in self._window:
            unit.discard()
        self._window.clear()
        with contextlib.suppress(Exception):
            self._link.wire.forget_bodies()
