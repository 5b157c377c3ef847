"""The way in: from a mailbox into storage, every message once (docs/receipts.md, "In"; rules 1.3, 1.7, 1.8, 1.11)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
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
from shared.storage.base import Storage


@dataclass(frozen=True, slots=True)
class MailboxDrain:
    """Drains mailboxes into storage.

    Attributes:
        stores: where to.
        uploads: runs the uploads of a batch, several at once.
        now: the time.
        progress: told after each batch.
    """

    storage: Storage
    uploads: Executor
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
        """Take everything that may be taken from an open mailbox.

        Args:
            settings: the mailbox's.
            mailbox: the open session; left open.
            guard: asked before each removal.
            budget: seconds after which no new batch is begun; one is always begun.
            first_contact: what `SINCE=now` counts from.
            unreadable_before: what was found unreadable before this is tried again; None: nothing is.
            traceparent: the trace that the announcements carry on.
            last_settled: when a poll of the mailbox last ended with all removals recorded; None: never.
            unsettled: the poll before this one did not end well, and may have removed messages all the same.
            account_since: what was stored before this is of another account; None: nothing is.

        Raises:
            MailboxError: the mailbox; what was stored until then stays stored and announced.
            TransientError: the storage, or the lease is lost.
        """
        drained = DrainStats()
        deadline = time.monotonic() + budget
        missing: FolderMissing | None = None
        counted: list[UndeliveredMessages] = []
        for folder in mailbox.folders:
            arrivals = ArrivalStore(self.storage, settings, folder, self.now, traceparent)
            since = first_contact if settings.since == "now" else settings.since
            undelivered = UndeliveredMessages(arrivals)
            removals = Removals(arrivals, last_settled, unsettled, account_since)
            # Of this folder alone: two folders may have the same UIDVALIDITY, and so the same keys.
            refused: set[str] = set()
            counted.append(undelivered)
            folder_round = partial(
                FolderSync,
                arrivals,
                self.uploads,
                self.progress,
                mailbox,
                guard,
                drained,
                deadline,
                since,
                refused,
                undelivered,
                removals,
                unreadable_before,
            )
            try:
                _drain_folder(folder_round, drained, refused, deadline)
            except FolderMissing as error:
                missing = missing or error  # raised at the end: the other folders' mail need not wait for it
            except MailboxBusy:
                # It says nothing of this folder's messages.
                _count(counted[:-1], drained)
                raise
            except MailboxError:
                # Messages that break the connection must be skipped in the end, or nothing behind them is collected.
                _count(counted, drained)
                raise
            if drained.more:
                break
        # Only now: a folder of which nothing is delivered must not keep the other folders' mail.
        busy = _count(counted, drained)
        if busy is not None:
            raise busy
        if missing is not None and not drained.more:
            raise missing
        return drained


def _drain_folder(
    folder_round: Callable[[], FolderSync], drained: DrainStats, refused: Collection[str], deadline: float
) -> None:
    """Take rounds over a folder until it has no mail left, or the time is up."""
    while True:
        before = drained.processed + len(refused)
        cut = folder_round().run()
        if cut and drained.processed and time.monotonic() >= deadline:
            drained.more = True
            return
        # As long as nothing was dealt with, what is refused is passed over, whatever the time: another poll would meet
        # it again, and never come to the messages behind it.
        if not cut or drained.processed + len(refused) == before:
            return


def _count(folders: Sequence[UndeliveredMessages], drained: DrainStats) -> MailboxBusy | None:
    """Count what was not delivered of each folder; return the error where the server seems to be in trouble."""
    busy: MailboxBusy | None = None
    for undelivered in folders:
        try:
            drained.newly_skipped += undelivered.record(delivered=drained.collected > 0)
        except MailboxBusy as error:
            busy = busy or error
    return busy
