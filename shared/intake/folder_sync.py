"""Process one listing of a folder: list, fetch, store, remove (docs/explanation/receipts.md, "Intake").

One thread uses the mailbox's connection: it fetches, and removes between two fetches. Two threads write the raw bytes
of two batches, and one thread then writes their records, in the order of the batches. So download and storage overlap.
A message is removed only when all writes of its batch have been acknowledged.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile

from shared.config import After, MailProtocol
from shared.errors import CommitUncertain
from shared.intake.arrival_store import ArrivalStore, Candidate
from shared.intake.placeholders import Placeholder, find_placeholder
from shared.intake.removals import LeaseGuard, Removals
from shared.intake.skipped import record_oversized, record_unreadable
from shared.intake.undelivered import UndeliveredMessages
from shared.intake.watermark import Watermark, WatermarkStore
from shared.mailboxes.base import FetchResult, ListedMessage, Mailbox
from shared.mailboxes.spool import MEMORY_LIMIT
from shared.receipts import Receipt, State

BATCH_MESSAGES = 100
BATCH_BYTES = 8 * 1024 * 1024
"""The most that is fetched with one command; a larger message is a batch of its own."""

BATCHES_STORING = 3
"""Batches that are held until they are stored, before the next one is awaited: bounds memory and temporary disk."""

BATCHES_UPLOADING = 2
"""Batches whose raw bytes are written at once, while the records of the batch before are."""

LOOKUP_SIZE = 500
"""Receipts that are looked up at once."""

LOGGED_MESSAGES = 1000
"""Messages after which a long drain logs its progress."""

_log = logging.getLogger("mailroom.intake")


@dataclass(slots=True)
class DrainStats:
    """What a drain did.

    Attributes:
        collected: messages downloaded and stored.
        stored_bytes: the size in bytes of these.
        already_stored: messages that had a receipt from an earlier poll.
        removed: messages deleted or moved, for certain.
        skipped: messages that stay in the mailbox: oversized, unreadable, or not delivered by the server.
        gone: messages that were listed, and no longer existed when they were fetched.
        newly_skipped: messages that were recorded as oversized or unreadable now, and are not requested again.
        more: whether the time was up before the mailbox was drained.
        uncertain: whether it is unknown which messages were removed, since the server's response was lost or the
            listing was incomplete: the next poll finds out.
        warnings: what the operator should know about a folder, although the poll succeeded.
    """

    collected: int = 0
    stored_bytes: int = 0
    already_stored: int = 0
    removed: int = 0
    skipped: int = 0
    gone: int = 0
    newly_skipped: int = 0
    more: bool = False
    uncertain: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        """Whether the drain changed nothing: there was no new message, and none to remove."""
        return not (self.collected or self.removed or self.newly_skipped or self.more or self.uncertain)

    @property
    def processed(self) -> int:
        """The messages that the next poll need not process. If there are any, it gets further than this one."""
        return self.collected + self.already_stored + self.newly_skipped


Progress = Callable[[str, int, int], None]
"""Called after each batch with the mailbox's name, the messages processed, and the messages listed in the folder."""


def no_progress(_mailbox: str, _processed: int, _listed: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, slots=True)
class _StoredBatch:
    """The outcome of a batch.

    Attributes:
        candidates: the messages that are stored, with their route requests published.
        skipped: how many messages stay in the mailbox.
        newly_skipped: how many of these were recorded now.
        gone: how many messages no longer existed.
    """

    candidates: Sequence[Candidate]
    skipped: int = 0
    newly_skipped: int = 0
    gone: int = 0


@dataclass(slots=True)
class FolderSync:
    """One listing of one folder, processed until it ends, the time is up, or the session needs a commit.

    Attributes:
        arrivals: the folder's arrivals in storage.
        progress: called after each batch.
        mailbox: the open session.
        guard: checked before each removal.
        stats: counts what is done.
        deadline: by `time.monotonic()`; after it no new batch begins.
        since: messages received before this time are ignored.
        refused_keys: keys of messages that the server did not deliver in this drain; added to.
        undelivered: counts the messages that were listed and not delivered in this poll.
        removals: records what this poll removes, and what an earlier one may have removed.
        unreadable_before: messages that were found unreadable before this time are requested again; None: none are.
    """

    arrivals: ArrivalStore
    progress: Progress
    mailbox: Mailbox
    guard: LeaseGuard
    stats: DrainStats
    deadline: float
    since: datetime | None
    refused_keys: set[str]
    undelivered: UndeliveredMessages
    removals: Removals
    unreadable_before: datetime | None = None
    _is_incomplete: bool = False
    _fetching: int = 0
    _candidates: dict[int, Candidate] = field(default_factory=dict)
    _already_stored: list[Candidate] = field(default_factory=list)
    _processed: set[int] = field(default_factory=set)
    _skipped: set[int] = field(default_factory=set)
    _removing: list[str] = field(default_factory=list)
    _storing: deque[Future[_StoredBatch]] = field(default_factory=deque)

    @property
    def _keeps(self) -> bool:
        return self.arrivals.settings.after is After.KEEP

    def run(self) -> bool:
        """List the folder and process its messages. Return True if another listing is needed for the rest."""
        settings, folder = self.arrivals.settings, self.arrivals.folder
        records, now = self.arrivals.storage.records, self.arrivals.now
        watermarks = WatermarkStore(records, settings, folder, now, self.unreadable_before)
        watermark = watermarks.read() if self._keeps else Watermark()
        # POP3 must read the headers of every message to get the time; the other protocols list it at no cost.
        received = self.since is not None or settings.protocol is not MailProtocol.POP3
        listed = self.mailbox.list(folder, received=received, above=watermark.upto, since=self.since)
        if not self.removals.settle(listed, self.mailbox.key_prefix, self.since, self.guard):
            self.stats.uncertain = True
        self._fetch_and_store(listed)
        self._finish_batch(_StoredBatch([]), listed)
        if self._removing:
            self._commit_removals()
        if self._keeps:
            self._advance(watermarks, watermark, listed)
        return self._is_incomplete

    def _fetch_and_store(self, listed: Sequence[ListedMessage]) -> None:
        """Fetch batches in this thread, and store each in another thread while the next one is fetched."""
        settings = self.arrivals.settings
        with (
            ThreadPoolExecutor(BATCHES_UPLOADING, thread_name_prefix=f"upload-{settings.name}") as uploader,
            ThreadPoolExecutor(1, thread_name_prefix=f"store-{settings.name}") as storer,
        ):
            fetching = self.mailbox.fetch(self._batches(listed), max_bytes=settings.max_message_bytes)
            try:
                with closing(fetching):
                    for batch in fetching:
                        fetched = [self._without_placeholder(result) for result in batch]
                        self._storing.append(self._begin_storing(fetched, uploader, storer))
                        while len(self._storing) >= BATCHES_STORING or (self._storing and self._storing[0].done()):
                            self._finish_batch(self._storing.popleft().result(), listed)
                while self._storing:
                    self._finish_batch(self._storing.popleft().result(), listed)
            finally:
                # After an error, each task still runs, and closes the contents that it holds.
                for future in self._storing:
                    future.exception()

    def _begin_storing(
        self, fetched: Sequence[FetchResult], uploader: Executor, storer: Executor
    ) -> Future[_StoredBatch]:
        """Store a batch in other threads. Its bytes are written while earlier batches may wait for their records."""
        uploaded: Future[None] | None = None
        try:
            uploaded = uploader.submit(copy_context().run, self.arrivals.upload, fetched)
            return storer.submit(copy_context().run, self._store, fetched, uploaded)
        except RuntimeError:  # The system has no further thread.
            if uploaded is not None:
                uploaded.exception()
            _close(fetched)
            raise

    def _commit_removals(self) -> None:
        """Commit the removals on the server, then record them in the receipts."""
        self.guard.ensure()
        try:
            self.mailbox.commit()
        except CommitUncertain as error:
            # Neither a failure nor a removal: a message that is listed again is already stored, and is removed again.
            _log.warning("%s; the next poll removes what is still in the mailbox", error)
            self.stats.uncertain = True
        else:
            self.arrivals.mark_removed(self._removing)
            self.stats.removed += len(self._removing)
            self.removals.end()

    def _advance(self, watermarks: WatermarkStore, before: Watermark, listed: Sequence[ListedMessage]) -> None:
        """Move the watermark behind the messages that need not be listed again."""
        upto = self.mailbox.watermark(self._processed)
        changed = self._has_other_uidvalidity(before.upto, upto)
        skipped_before = 0 if changed else before.skipped
        self.stats.skipped += skipped_before
        if upto is not None and upto != before.upto:
            passed = takewhile(lambda number: number in self._processed, (message.number for message in listed))
            watermarks.advance(before, upto, skipped_before + len(self._skipped.intersection(passed)))

    def _has_other_uidvalidity(self, before: str | None, after: str | None) -> bool:
        """Return whether UIDVALIDITY changed since the last poll (RFC 3501 section 2.3.1.1), and warn if it did."""
        if self.arrivals.settings.protocol is not MailProtocol.IMAP or before is None or after is None:
            return False
        old, new = before.partition(".")[0], after.partition(".")[0]
        if old != new:
            name = self.arrivals.settings.name
            self.stats.warnings.append(
                f"folder {self.arrivals.folder!r}: the server changed its UIDVALIDITY from {old} to {new}, and every "
                f"message was downloaded again. If this repeats, the server cannot keep UIDs: set "
                f"MAILBOXES__{name}__AFTER to delete or to move:FOLDER"
            )
        return old != new

    def _without_placeholder(self, fetched: FetchResult) -> FetchResult:
        """Return the fetch result. If the server delivered a placeholder, return what the placeholder reports."""
        if fetched.content is None or self.arrivals.settings.protocol is MailProtocol.GRAPH:
            return fetched
        placeholder = find_placeholder(fetched.content)
        if placeholder is None:
            return fetched
        fetched.content.close()
        kind, subject = placeholder
        if kind is Placeholder.GONE:
            return FetchResult(fetched.listed, None)
        return FetchResult(
            fetched.listed, None, refused=f"Exchange delivered a notice instead of it: {subject}", unreadable={}
        )

    def _batches(self, listed: Sequence[ListedMessage]) -> Iterator[list[ListedMessage]]:
        """Yield the messages to be downloaded, in batches."""
        batch: list[ListedMessage] = []
        batch_size = 0
        for candidate in self._to_download(listed):
            size = candidate.listed.size
            is_full = len(batch) >= BATCH_MESSAGES or batch_size + size > BATCH_BYTES
            # Alone: while the disk that it is spooled to is not available, it must not hold up others.
            if batch and (is_full or max(size, batch[-1].size) > MEMORY_LIMIT):
                yield batch
                batch, batch_size = [], 0
                if self._must_stop():
                    self._is_incomplete = True
                    return
            self._candidates[candidate.listed.number] = candidate
            self._fetching += 1
            batch.append(candidate.listed)
            batch_size += size
        if batch:
            yield batch

    def _to_download(self, listed: Sequence[ListedMessage]) -> Iterator[Candidate]:
        """Yield the messages to be downloaded. Add stored ones to `_already_stored`, and record oversized ones."""
        limit = self.arrivals.settings.max_message_bytes
        messages = [message for message in listed if self._is_eligible(message)]
        for start in range(0, len(messages), LOOKUP_SIZE):
            for candidate in self.arrivals.look_up(messages[start : start + LOOKUP_SIZE]):
                # An earlier download may have shown that the message is larger than the server reports.
                size = max(candidate.listed.size, candidate.receipt.size if candidate.receipt is not None else 0)
                if candidate.receipt is not None and candidate.receipt.was_downloaded:
                    self._already_stored.append(candidate)
                elif candidate.receipt is not None and not self._is_retried(candidate.receipt):
                    self._skip(candidate.listed)
                    self.stats.skipped += 1
                elif size > limit:
                    record_oversized(self.arrivals, candidate, size)
                    self._skip(candidate.listed)
                    self.stats.skipped += 1
                else:
                    yield candidate

    def _skip(self, listed: ListedMessage) -> None:
        """Leave a message in the mailbox that was recorded as oversized or unreadable."""
        self._processed.add(listed.number)
        self._skipped.add(listed.number)

    def _is_eligible(self, message: ListedMessage) -> bool:
        """Return whether a message is recent enough, and was not refused in this drain."""
        if message.key in self.refused_keys:
            return False
        if self.since is not None and message.received is not None and message.received < self.since:
            self._processed.add(message.number)
            return False
        return True

    def _is_retried(self, receipt: Receipt) -> bool:
        """Return whether to request a message again that was unreadable before (rule 8.3).

        A message that the server did not refuse for good is requested again once a day.
        """
        if receipt.state is not State.UNREADABLE or receipt.last_refused_at is None:
            return True
        if receipt.retried_daily and receipt.last_refused_at <= self.arrivals.now() - timedelta(days=1):
            return True
        return self.unreadable_before is not None and receipt.last_refused_at < self.unreadable_before

    def _must_stop(self) -> bool:
        commit_every, fetching = self.mailbox.commit_every, self._fetching
        is_late = time.monotonic() >= self.deadline and fetching > 0
        return is_late or (commit_every is not None and fetching >= commit_every)

    def _store(self, fetched: Sequence[FetchResult], uploaded: Future[None]) -> _StoredBatch:
        """Store a batch when its bytes are uploaded, in the storing thread. Close the contents in any case."""
        try:
            uploaded.result()
            batch = [
                (self._candidates[result.listed.number], result.content)
                for result in fetched
                if result.content is not None
            ]
            stored = self.arrivals.store(batch) if batch else []
            skipped = sum(self._record_skipped(result) for result in fetched)
            newly_skipped = sum(result.oversized or result.unreadable is not None for result in fetched)
            return _StoredBatch(stored, skipped, newly_skipped, gone=len(fetched) - len(stored) - skipped)
        finally:
            _close(fetched)

    def _record_skipped(self, fetched: FetchResult) -> bool:
        """Record a message that stays in the mailbox. Return False for a message that is stored or gone."""
        candidate, listed = self._candidates[fetched.listed.number], fetched.listed
        if fetched.oversized:
            size = max(listed.size, self.arrivals.settings.max_message_bytes + 1)
            record_oversized(self.arrivals, candidate, size)
            self._skip(listed)
            return True
        if fetched.postponed:
            self._is_incomplete = True
            return False
        if fetched.refused is None:
            if fetched.content is None:
                self.undelivered.add(candidate, "the server lists it and says that it does not exist")
            return False
        if fetched.unreadable is not None:
            # Graph describes items that it never delivers. A placeholder may be due to a transient error of Exchange.
            retried_daily = not fetched.unreadable
            record_unreadable(
                self.arrivals, candidate, fetched.refused, fetched.unreadable, retried_daily=retried_daily
            )
            self._skip(listed)
            return True
        # Not final: a broken connection looks like a message that cannot be read. The next poll requests it again.
        self.undelivered.add(candidate, fetched.refused)
        self._fetching -= 1
        if listed.key is not None:
            self.refused_keys.add(listed.key)
        _log.warning(
            "mailbox %s, %s: message %s stays in the mailbox, the server does not deliver it: %s",
            self.arrivals.settings.name,
            self.arrivals.folder,
            listed.key,
            fetched.refused,
        )
        return True

    def _finish_batch(self, stored: _StoredBatch, listed: Sequence[ListedMessage]) -> None:
        """Remove the stored messages of a batch, and the messages that were already stored."""
        settings = self.arrivals.settings
        already_stored, self._already_stored = self._already_stored, []
        self.arrivals.republish(already_stored)
        candidates = [*stored.candidates, *already_stored]
        finished = candidates if self._keeps else self._remove(candidates)
        self._processed.update(candidate.listed.number for candidate in finished)
        receipts = [candidate.receipt for candidate in stored.candidates if candidate.receipt is not None]
        self._collect(len(stored.candidates))
        self.stats.already_stored += max(0, len(finished) - len(stored.candidates))
        self.stats.skipped += stored.skipped
        self.stats.gone += stored.gone
        self.stats.newly_skipped += stored.newly_skipped
        self.stats.stored_bytes += sum(receipt.size for receipt in receipts)
        if finished or stored.skipped:
            self.progress(settings.name, len(self._processed), len(listed))

    def _collect(self, count: int) -> None:
        """Count collected messages, and log one line for each `LOGGED_MESSAGES` of them."""
        before = self.stats.collected
        self.stats.collected += count
        if self.stats.collected // LOGGED_MESSAGES > before // LOGGED_MESSAGES:
            settings, folder = self.arrivals.settings, self.arrivals.folder
            _log.info("mailbox %s, %s: %d messages collected so far", settings.name, folder, self.stats.collected)

    def _remove(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """Remove messages, a batch at a time. Return those that were removed before the time was up.

        The messages already stored may be a whole mailbox, for instance after `keep` was changed to `delete`.
        """
        self.removals.begin(candidates)
        for start in range(0, len(candidates), BATCH_MESSAGES):
            if start and time.monotonic() >= self.deadline:
                self._is_incomplete = True
                return candidates[:start]
            self.guard.ensure()
            batch = candidates[start : start + BATCH_MESSAGES]
            self.mailbox.remove([candidate.listed for candidate in batch])
            self._removing += [candidate.arrival for candidate in batch]
        return candidates


def _close(fetched: Iterable[FetchResult]) -> None:
    """Close the contents of messages."""
    for result in fetched:
        if result.content is not None:
            result.content.close()
