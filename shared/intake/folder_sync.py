"""One round over a folder: list, fetch, store, remove (docs/receipts.md, "In").

One thread is on the mailbox's connection, which fetches, and removes between two fetches; one stores the batches
before, the uploads of each several at once. So the wire and the store work at the same time, and a message is removed
only when everything about its batch has been acknowledged.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile

from shared.config import After, MailProtocol
from shared.errors import CommitUncertain
from shared.intake.arrival_store import ArrivalStore, Candidate, cancel_uploads
from shared.intake.placeholders import Placeholder, find_placeholder
from shared.intake.removals import LeaseGuard, Removals
from shared.intake.skipped import record_oversized, record_unreadable
from shared.intake.undelivered import UndeliveredMessages
from shared.intake.watermark import Watermark, WatermarkStore
from shared.mailboxes.base import FetchResult, ListedMessage, Mailbox
from shared.receipts import Receipt, State

BATCH_MESSAGES = 100
BATCH_BYTES = 4 * 1024 * 1024
"""What is fetched with one command at the most; a larger message comes alone."""

BATCHES_STORING = 2
"""Batches that wait for the store before the wire waits as well: bounds memory and temporary disk."""

LOOKUP_SIZE = 500
"""Receipts that are looked up at once."""

_log = logging.getLogger("mailroom.intake")


@dataclass(slots=True)
class DrainStats:
    """What a drain did.

    Attributes:
        collected: downloaded and stored now.
        stored_bytes: octets of these.
        known: had a receipt already, from an earlier look.
        removed: deleted or moved, for certain.
        left: stay in the mailbox: oversized, unreadable, or the server did not give them out.
        gone: were listed, and not there any more when they were asked for.
        set_aside: found now to be oversized or unreadable: recorded, and not asked for again.
        more: the time was up before everything was taken.
        uncertain: which messages were removed is not known, as the server's answer was lost, or the listing was
            incomplete: the next poll finds out.
        warnings: what the operator should know about a folder, though the poll succeeded.
    """

    collected: int = 0
    stored_bytes: int = 0
    known: int = 0
    removed: int = 0
    skipped: int = 0
    gone: int = 0
    newly_skipped: int = 0
    more: bool = False
    uncertain: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def processed(self) -> int:
        """Those that another look need not deal with: that there are some means that it comes further than this one."""
        return self.collected + self.known + self.newly_skipped


Progress = Callable[[str, int, int], None]
"""Told after each batch: the mailbox's name, messages dealt with, and messages listed in the folder."""


def no_progress(_mailbox: str, _done: int, _listed: int) -> None:
    """For those who do not want to know."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """What became of a batch: the items that are stored and announced, and how many stay, are set aside, were gone."""

    items: Sequence[Candidate]
    left: int = 0
    set_aside: int = 0
    gone: int = 0


@dataclass(slots=True)
class FolderSync:
    """One listing of one folder, taken to its end, or until the time is up or the session wants to commit.

    Attributes:
        arrivals: the folder's storage side.
        uploads: runs the uploads of a batch, several at once.
        progress: told after each batch.
        mailbox: the open session.
        guard: asked before each removal.
        drained: what is done is counted here.
        deadline: by `time.monotonic()`, after which no new batch is begun.
        since: what was received before is left alone.
        refused: keys that the server did not give out in this drain; added to.
        undelivered: counts the messages that were listed and not delivered at this poll.
        removals: records what this poll removes, and what an earlier one may have removed.
        unreadable_before: what was found unreadable before this is tried again; None: nothing is.
    """

    arrivals: ArrivalStore
    uploads: Executor
    progress: Progress
    mailbox: Mailbox
    guard: LeaseGuard
    drained: DrainStats
    deadline: float
    since: datetime | None
    refused: set[str]
    undelivered: UndeliveredMessages
    removals: Removals
    unreadable_before: datetime | None = None
    _cut: bool = False
    _wanting: int = 0
    _asked: dict[int, Candidate] = field(default_factory=dict)
    _known: list[Candidate] = field(default_factory=list)
    _dealt_with: set[int] = field(default_factory=set)
    _skipped: set[int] = field(default_factory=set)
    _removing: list[str] = field(default_factory=list)
    _storing: deque[Future[_Stored]] = field(default_factory=deque)

    @property
    def _keeps(self) -> bool:
        return self.arrivals.settings.after is After.KEEP

    def run(self) -> bool:
        """Take what there is; True if another listing is wanted for the rest."""
        settings, folder = self.arrivals.settings, self.arrivals.folder
        mark = WatermarkStore(
            self.arrivals.storage.records, settings, folder, self.arrivals.now, self.unreadable_before
        )
        before = mark.read() if self._keeps else Watermark()
        # POP3 has to read the headers of every message for it, the others give it away.
        received = self.since is not None or settings.protocol is not MailProtocol.POP3
        listed = self.mailbox.list(folder, received=received, above=before.upto, since=self.since)
        if not self.removals.settle(listed, self.mailbox.key_prefix, self.since, self.guard):
            self.drained.uncertain = True
        with ThreadPoolExecutor(1, thread_name_prefix=f"store-{settings.name}") as storer:
            fetching = self.mailbox.fetch(self._batches(listed), max_bytes=settings.max_message_bytes)
            try:
                with closing(fetching):
                    for batch in fetching:
                        fetched = [self._without_placeholder(one) for one in batch]
                        # Its uploads begin now, while the batch before may still be waiting for its records.
                        uploads = self.arrivals.upload(fetched, self.uploads)
                        self._storing.append(storer.submit(copy_context().run, self._store, fetched, uploads))
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
            try:
                self.mailbox.commit()
            except CommitUncertain as error:
                # Not a failure, and not a removal: what is listed again is known then, and is removed again.
                _log.warning("%s; the next poll removes what is still in the mailbox", error)
                self.drained.uncertain = True
            else:
                self.arrivals.mark_removed(self._removing)
                self.drained.removed += len(self._removing)
                self.removals.end()
        if self._keeps:
            self._advance(mark, before, listed)
        return self._cut

    def _advance(self, mark: WatermarkStore, before: Watermark, listed: Sequence[ListedMessage]) -> None:
        """Move the watermark behind the messages that need not be listed again."""
        upto = self.mailbox.watermark(self._dealt_with)
        changed = self._has_other_uidvalidity(before.upto, upto)
        skipped_before = 0 if changed else before.skipped
        self.drained.skipped += skipped_before
        if upto is not None and upto != before.upto:
            passed = takewhile(lambda number: number in self._dealt_with, (message.number for message in listed))
            mark.advance(before, upto, skipped_before + len(self._skipped.intersection(passed)))

    def _has_other_uidvalidity(self, before: str | None, after: str | None) -> bool:
        """Return whether UIDVALIDITY changed since the last poll (RFC 3501 section 2.3.1.1), and warn if it did."""
        if self.arrivals.settings.protocol is not MailProtocol.IMAP or before is None or after is None:
            return False
        old, new = before.partition(".")[0], after.partition(".")[0]
        if old != new:
            name = self.arrivals.settings.name
            self.drained.warnings.append(
                f"folder {self.arrivals.folder!r}: the server changed its UIDVALIDITY from {old} to {new}, and every "
                f"message was downloaded again. If this repeats, the server cannot keep UIDs: set "
                f"MAILBOXES__{name}__AFTER to delete or to move:FOLDER"
            )
        return old != new

    def _without_placeholder(self, fetched: FetchResult) -> FetchResult:
        """Return what was fetched, or, where the server delivered a placeholder, what that says."""
        if fetched.content is None or self.arrivals.settings.protocol is MailProtocol.GRAPH:
            return fetched
        found = find_placeholder(fetched.content)
        if found is None:
            return fetched
        fetched.content.close()
        kind, subject = found
        if kind is Placeholder.GONE:
            return FetchResult(fetched.listed, None)
        return FetchResult(
            fetched.listed, None, refused=f"Exchange delivered a notice instead of it: {subject}", unreadable={}
        )

    def _batches(self, listed: Sequence[ListedMessage]) -> Iterator[list[ListedMessage]]:
        """Cut what is to be downloaded into batches."""
        batch: list[ListedMessage] = []
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

    def _wanted(self, listed: Sequence[ListedMessage]) -> Iterator[Candidate]:
        """Those to be downloaded; what is known already goes to `_known` on the way."""
        limit = self.arrivals.settings.max_message_bytes
        candidates = [one for one in listed if self._may_be_taken(one)]
        for start in range(0, len(candidates), LOOKUP_SIZE):
            for item in self.arrivals.look_up(candidates[start : start + LOOKUP_SIZE]):
                # What came off the wire counts where it was more than the server tells.
                size = max(item.listed.size, item.receipt.size if item.receipt is not None else 0)
                if item.receipt is not None and item.receipt.was_downloaded:
                    self._known.append(item)
                elif item.receipt is not None and not self._may_be_readable(item.receipt):
                    self._skip(item.listed)
                    self.drained.skipped += 1
                elif size > limit:
                    record_oversized(self.arrivals, item, size)
                    self._skip(item.listed)
                    self.drained.skipped += 1
                else:
                    yield item

    def _skip(self, listed: ListedMessage) -> None:
        """Leave a message in the mailbox that was recorded as oversized or unreadable."""
        self._dealt_with.add(listed.number)
        self._skipped.add(listed.number)

    def _may_be_taken(self, one: ListedMessage) -> bool:
        if one.key in self.refused:
            return False
        if self.since is not None and one.received is not None and one.received < self.since:
            self._dealt_with.add(one.number)
            return False
        return True

    def _may_be_readable(self, receipt: Receipt) -> bool:
        """Return whether to ask for a message again that was unreadable before (rule 8.3).

        A message that the server refused without saying that it always will is asked for again once a day.
        """
        if receipt.state is not State.UNREADABLE or receipt.last_refused_at is None:
            return True
        if receipt.retried_daily and receipt.last_refused_at <= self.arrivals.now() - timedelta(days=1):
            return True
        return self.unreadable_before is not None and receipt.last_refused_at < self.unreadable_before

    def _must_stop(self) -> bool:
        wish = self.mailbox.commit_every
        wanting = self._wanting
        return (time.monotonic() >= self.deadline and wanting > 0) or (wish is not None and wanting >= wish)

    def _store(self, fetched: Sequence[FetchResult], uploads: Sequence[Future[None]]) -> _Stored:
        """Store what came, in the storing thread. The contents are closed whatever happens."""
        try:
            batch = [(self._asked[one.listed.number], one.content) for one in fetched if one.content is not None]
            items = self.arrivals.store(batch, uploads) if batch else []
            left = sum(self._left(one) for one in fetched)
            set_aside = sum(one.oversized or one.unreadable is not None for one in fetched)
            return _Stored(items, left, set_aside, gone=len(fetched) - len(items) - left)
        finally:
            cancel_uploads(uploads)
            for one in fetched:
                if one.content is not None:
                    one.content.close()

    def _left(self, one: FetchResult) -> bool:
        """Note a message that stays in the mailbox; False for one that is stored or gone."""
        item = self._asked[one.listed.number]
        if one.oversized:
            record_oversized(self.arrivals, item, max(one.listed.size, self.arrivals.settings.max_message_bytes + 1))
            self._skip(one.listed)
            return True
        if one.postponed:
            self._cut = True
            return False
        if one.refused is None:
            if one.content is None:
                self.undelivered.add(item, "the server lists it and says that it does not exist")
            return False
        if one.unreadable is not None:
            # Graph describes the items that it never delivers. A placeholder may be due to a passing error of Exchange.
            retried_daily = not one.unreadable
            record_unreadable(self.arrivals, item, one.refused, one.unreadable, retried_daily=retried_daily)
            self._skip(one.listed)
            return True
        # Not final: a connection that breaks looks like a message that cannot be read. The next poll tries again.
        self.undelivered.add(item, one.refused)
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

    def _settle(self, stored: _Stored, listed: Sequence[ListedMessage]) -> None:
        """Remove what is stored and announced, and what was known before."""
        settings = self.arrivals.settings
        known, self._known = self._known, []
        self.arrivals.republish(known)
        everything = [*stored.items, *known]
        items = everything if self._keeps else self._remove(everything)
        self._dealt_with.update(item.listed.number for item in items)
        self.drained.collected += len(stored.items)
        self.drained.known += max(0, len(items) - len(stored.items))
        self.drained.skipped += stored.left
        self.drained.gone += stored.gone
        self.drained.newly_skipped += stored.set_aside
        self.drained.stored_bytes += sum(item.receipt.size for item in stored.items if item.receipt is not None)
        if items or stored.left:
            self.progress(settings.name, len(self._dealt_with), len(listed))

    def _remove(self, items: Sequence[Candidate]) -> Sequence[Candidate]:
        """Remove messages, a batch at a time, and give those that were: the rest when the time is up is another look's.

        What was known before may be a whole mailbox, after `keep` was changed to `delete` for instance.
        """
        self.removals.begin(items)
        for start in range(0, len(items), BATCH_MESSAGES):
            if start and time.monotonic() >= self.deadline:
                self._cut = True
                return items[:start]
            self.guard.ensure()
            batch = items[start : start + BATCH_MESSAGES]
            self.mailbox.remove([item.listed for item in batch])
            self._removing += [item.arrival for item in batch]
        return items
