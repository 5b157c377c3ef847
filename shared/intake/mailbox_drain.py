"""Drain a mailbox into storage, every message once (rules 1.3, 1.7, 1.8, 1.11; docs/explanation/receipts.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from shared.clock import Now, utc_now
from shared.config import MailboxSettings
from shared.errors import FolderMissing, MailboxBusy, MailboxError
from shared.intake.arrival_store import ArrivalStore
from shared.intake.folder_sync import DrainStats, FolderSync, Progress, no_progress
from shared.intake.removals import LeaseGuard, Removals
from shared.intake.undelivered import UndeliveredMessages
from shared.mailboxes.base import Mailbox
from shared.observability import log_context
from shared.storage.base import Storage


@dataclass(frozen=True, slots=True)
class MailboxDrain:
    """Drains mailboxes into storage.

    Attributes:
        storage: where messages are stored.
        now: returns the current time.
        progress: called after each batch.
    """

    storage: Storage
    now: Now = utc_now
    progress: Progress = no_progress

    def run(
        self,
        settings: MailboxSettings,
        mailbox: Mailbox,
        guard: LeaseGuard,
        *,
        budget: float,
        first_contact: datetime,
        unreadable_before: datetime | None = None,
        traceparent: str = "",
        last_settled: datetime | None = None,
        unsettled: bool = False,
        account_since: datetime | None = None,
    ) -> DrainStats:
        """Drain all folders of an open mailbox.

        Args:
            settings: the mailbox's.
            mailbox: the open session; left open.
            guard: checked before each removal.
            budget: seconds after which no new batch begins; at least one batch is processed.
            first_contact: the time that `SINCE=now` means.
            unreadable_before: messages that were found unreadable before this time are requested again; None: none are.
            traceparent: the trace that the route requests continue.
            last_settled: when a poll of the mailbox last ended with all removals recorded; None: never.
            unsettled: whether the previous poll did not end well, and may have removed messages without recording it.
            account_since: messages stored before this time are of another account; None: none are.

        Raises:
            MailboxError: the mailbox failed; the messages stored until then stay stored, with their route requests.
            TransientError: storage is unavailable, or the lease is lost.
        """
        stats = DrainStats()
        deadline = time.monotonic() + budget
        missing: FolderMissing | None = None
        undelivered_by_folder: list[UndeliveredMessages] = []
        for folder in mailbox.folders:
            arrivals = ArrivalStore(self.storage, settings, folder, self.now, traceparent)
            since = first_contact if settings.since == "now" else settings.since
            undelivered = UndeliveredMessages(arrivals)
            removals = Removals(arrivals, last_settled, unsettled, account_since)
            # For each folder: two folders may have the same UIDVALIDITY, and so the same keys.
            refused_keys: set[str] = set()
            undelivered_by_folder.append(undelivered)
            new_sync = partial(
                FolderSync,
                arrivals,
                self.progress,
                mailbox,
                guard,
                stats,
                deadline,
                since,
                refused_keys,
                undelivered,
                removals,
                unreadable_before,
            )
            try:
                with log_context.bind(folder=folder):
                    _drain_folder(new_sync, stats, refused_keys, deadline)
            except FolderMissing as error:
                missing = missing or error  # Raised at the end, so that the other folders are drained.
            except MailboxBusy:
                # It says nothing about this folder's messages.
                _record_undelivered(undelivered_by_folder[:-1], stats)
                raise
            except MailboxError:
                # Messages that break the connection must be skipped at last, or the ones behind them never arrive.
                _record_undelivered(undelivered_by_folder, stats)
                raise
            if stats.more:
                break
        # Last: a folder of which nothing is delivered must not delay the other folders' mail.
        busy = _record_undelivered(undelivered_by_folder, stats)
        if busy is not None:
            raise busy
        if missing is not None and not stats.more:
            raise missing
        return stats


def _drain_folder(
    new_sync: Callable[[], FolderSync], stats: DrainStats, refused_keys: Collection[str], deadline: float
) -> None:
    """List and process a folder until it is drained, or the time is up."""
    while True:
        before = stats.processed + len(refused_keys)
        is_incomplete = new_sync().run()
        if is_incomplete and stats.processed and time.monotonic() >= deadline:
            stats.more = True
            return
        # While nothing was processed, go on past refused messages even if the time is up. The next poll would meet the
        # same messages again, and never reach the ones behind them.
        if not is_incomplete or stats.processed + len(refused_keys) == before:
            return


def _record_undelivered(folders: Sequence[UndeliveredMessages], stats: DrainStats) -> MailboxBusy | None:
    """Count the undelivered messages of each folder. Return an error if the server seems to be overloaded."""
    busy: MailboxBusy | None = None
    for undelivered in folders:
        try:
            stats.newly_skipped += undelivered.record(delivered=stats.collected > 0)
        except MailboxBusy as error:
            busy = busy or error
    return busy
