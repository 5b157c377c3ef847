"""The way in: from a mailbox into storage, every message once (receipts.md, "In"; rules 1.3, 1.7, 1.8, 1.11).

A drain has one thread on the mailbox's connection, which fetches, and removes between two fetches, and one that stores
the batches before, the uploads of each several at once. So the wire and the store work at the same time, and a message
is removed only when everything about its batch has been acknowledged.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shared.arriving import Arrivals, Item
from shared.clock import Now, utc_now
from shared.errors import FolderMissing
from shared.folder_mark import FolderMark
from shared.mailboxes.protocol import Fetched, Listed, Mailbox
from shared.receipts import State
from shared.settings import After, MailboxSettings, MailProtocol
from shared.storage.protocol import Stores

BATCH_MESSAGES = 100
BATCH_BYTES = 4 * 1024 * 1024
"""What is fetched with one command at the most; a larger message comes alone."""

BATCHES_STORING = 2
"""Batches that wait for the store before the wire waits as well: bounds memory and temporary disk."""

LOOK_UP = 500
"""Receipts that are looked up at once."""

_log = logging.getLogger("mailroom.intake")


class Guard(Protocol):
    """What is asked before each removal: a held lease."""

    def ensure(self) -> None:
        """Raise `LeaseLost` if another worker may hold the mailbox."""


@dataclass(slots=True)
class Drained:
    """What a drain did.

    Attributes:
        collected: downloaded and stored now.
        stored_bytes: octets of these.
        known: had a receipt already, from an earlier look.
        removed: deleted or moved, for certain.
        left: stay in the mailbox: oversized, or the server did not give them out.
        more: the time was up before everything was taken.
    """

    collected: int = 0
    stored_bytes: int = 0
    known: int = 0
    removed: int = 0
    left: int = 0
    more: bool = False


Progress = Callable[[str, int, int], None]
"""Told after each batch: the mailbox's name, messages dealt with, and messages listed in the folder."""


def no_progress(_mailbox: str, _done: int, _listed: int) -> None:
    """For those who do not want to know."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Drains mailboxes into storage.

    Attributes:
        stores: where to.
        uploads: runs the uploads of a batch, several at once.
        now: the time.
        progress: told after each batch.
    """

    stores: Stores
    uploads: Executor
    now: Now = utc_now
    progress: Progress = no_progress

    def drain(
        self,
        settings: MailboxSettings,
        mailbox: Mailbox,
        guard: Guard,
        *,
        budget: float,
        first_contact: datetime,
        traceparent: str = "",
    ) -> Drained:
        """Take everything that may be taken from an open mailbox.

        Args:
            settings: the mailbox's.
            mailbox: the open session; left open.
            guard: asked before each removal.
            budget: seconds after which no new batch is begun; one is always begun.
            first_contact: what `SINCE=now` counts from.
            traceparent: the trace that the announcements carry on.

        Raises:
            MailboxFailed: the mailbox; what was stored until then stays stored and announced.
            TryAgain: the storage, or the lease is lost.
        """
        drained = Drained()
        deadline = time.monotonic() + budget
        refused: set[str] = set()
        missing: FolderMissing | None = None
        for folder in mailbox.folders:
            arrivals = Arrivals(self.stores, settings, folder, self.now, traceparent)
            since = first_contact if settings.since == "now" else settings.since
            try:
                while True:
                    before = drained.collected + drained.known
                    cut = _Round(self, arrivals, mailbox, guard, drained, deadline, since, refused).cut_short()
                    progress = drained.collected + drained.known > before
                    if cut and time.monotonic() >= deadline:
                        # Without progress another look at once would find the same: the clock's tick is soon enough.
                        drained.more = progress
                        return drained
                    if not cut or not progress:
                        break
            except FolderMissing as error:
                missing = missing or error  # told at the end: the other folders' mail need not wait for it
        if missing is not None:
            raise missing
        return drained


@dataclass(frozen=True, slots=True)
class _Stored:
    """What became of a batch: the items that are stored and announced, and how many stay in the mailbox."""

    items: Sequence[Item]
    left: int = 0


@dataclass(slots=True)
class _Round:
    """One listing of one folder, taken to its end, or until the time is up or the session wants to commit."""

    intake: Intake
    arrivals: Arrivals
    mailbox: Mailbox
    guard: Guard
    drained: Drained
    deadline: float
    since: datetime | None
    refused: set[str]
    _cut: bool = False
    _wanting: int = 0
    _asked: dict[int, Item] = field(default_factory=dict)
    _known: list[Item] = field(default_factory=list)
    _dealt_with: set[int] = field(default_factory=set)
    _removing: list[str] = field(default_factory=list)
    _storing: deque[Future[_Stored]] = field(default_factory=deque)

    @property
    def _keeps(self) -> bool:
        return self.arrivals.settings.after is After.KEEP

    def cut_short(self) -> bool:
        """Take what there is; True if another listing is wanted for the rest."""
        settings, folder = self.arrivals.settings, self.arrivals.folder
        mark = FolderMark(self.intake.stores.records, settings, folder)
        before = mark.read() if self._keeps else None
        # POP3 has to read the headers of every message for it, IMAP gives it away.
        received = self.since is not None or settings.protocol is MailProtocol.IMAP
        listed = self.mailbox.list(folder, received=received, above=before)
        with ThreadPoolExecutor(1, thread_name_prefix=f"store-{settings.name}") as storer:
            fetching = self.mailbox.fetch(self._batches(listed), max_bytes=settings.max_message_bytes)
            try:
                with closing(fetching):
                    for fetched in fetching:
                        self._storing.append(storer.submit(self._store, fetched))
                        while len(self._storing) >= BATCHES_STORING or (self._storing and self._storing[0].done()):
                            self._settle(self._storing.popleft().result(), listed)
                while self._storing:
                    self._settle(self._storing.popleft().result(), listed)
            finally:
                # After a failure each is still run, and finds its way to closing what it holds, or was run already.
                for future in self._storing:
                    future.exception()
        self._settle(_Stored([]), listed)
        if self._removing:
            self.guard.ensure()
            self.mailbox.commit()
            self.arrivals.removed(self._removing)
            self.drained.removed += len(self._removing)
        if self._keeps:
            mark.advance(listed, self._dealt_with, before)
        return self._cut

    def _batches(self, listed: Sequence[Listed]) -> Iterator[list[Listed]]:
        """Cut what is to be downloaded into batches."""
        batch: list[Listed] = []
        size = 0
        for item in self._wanted(listed):
            told = item.listed.size
            if batch and (len(batch) >= BATCH_MESSAGES or size + told > BATCH_BYTES):
                yield batch
                batch, size = [], 0
                if self._must_stop():
                    self._cut = True
                    return
            self._asked[item.listed.number] = item
            self._wanting += 1
            batch.append(item.listed)
            size += told
        if batch:
            yield batch

    def _wanted(self, listed: Sequence[Listed]) -> Iterator[Item]:
        """Those to be downloaded; what is known already goes to `_known` on the way."""
        limit = self.arrivals.settings.max_message_bytes
        candidates = [one for one in listed if self._may_be_taken(one)]
        for start in range(0, len(candidates), LOOK_UP):
            for item in self.arrivals.look_up(candidates[start : start + LOOK_UP]):
                # What came off the wire counts where it was more than the server tells.
                size = max(item.listed.size, item.receipt.size if item.receipt is not None else 0)
                if item.receipt is not None and item.receipt.state is not State.OVERSIZED:
                    self._known.append(item)
                elif size > limit:
                    if item.arrival:
                        self.arrivals.oversized(item, size)
                    self._dealt_with.add(item.listed.number)
                    self.drained.left += 1
                else:
                    yield item

    def _may_be_taken(self, one: Listed) -> bool:
        if one.key in self.refused:
            return False
        if self.since is not None and one.received is not None and one.received < self.since:
            self._dealt_with.add(one.number)
            return False
        return True

    def _must_stop(self) -> bool:
        wish = self.mailbox.commit_every
        return time.monotonic() >= self.deadline or (wish is not None and self._wanting >= wish)

    def _store(self, fetched: Sequence[Fetched]) -> _Stored:
        """Store what came, in the storing thread. The contents are closed whatever happens."""
        try:
            batch = [(self._asked[one.listed.number], one.content) for one in fetched if one.content is not None]
            items = self.arrivals.store(batch, self.intake.uploads) if batch else []
            return _Stored(items, sum(self._left(one) for one in fetched))
        finally:
            for one in fetched:
                if one.content is not None:
                    one.content.close()

    def _left(self, one: Fetched) -> bool:
        """Note a message that stays in the mailbox; False for one that is stored or gone."""
        item = self._asked[one.listed.number]
        if one.oversized:
            if item.arrival:
                self.arrivals.oversized(item, max(one.listed.size, self.arrivals.settings.max_message_bytes + 1))
            self._dealt_with.add(one.listed.number)
            return True
        if one.refused is None:
            return False
        # Not given up for good: a connection that breaks looks like a message that cannot be read. The next look tries.
        self._wanting -= 1
        if one.listed.key is not None:
            self.refused.add(one.listed.key)
        _log.warning(
            "mailbox %s, %s: message %s stays, the server does not give it out: %s",
            self.arrivals.settings.name,
            self.arrivals.folder,
            one.listed.key,
            one.refused,
        )
        return True

    def _settle(self, stored: _Stored, listed: Sequence[Listed]) -> None:
        """Remove what is stored and announced, and what was known before."""
        settings = self.arrivals.settings
        known, self._known = self._known, []
        self.arrivals.announce_again(known)
        items = [*stored.items, *known]
        if items and not self._keeps:
            self.guard.ensure()
            self.mailbox.remove([item.listed for item in items])
            self._removing += [item.arrival for item in items]
        self._dealt_with.update(item.listed.number for item in items)
        self.drained.collected += len(stored.items)
        self.drained.known += len(known)
        self.drained.left += stored.left
        self.drained.stored_bytes += sum(item.receipt.size for item in stored.items if item.receipt is not None)
        if items or stored.left:
            self.intake.progress(settings.name, len(self._dealt_with), len(listed))
