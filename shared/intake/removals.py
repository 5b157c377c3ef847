"""Record removals that an earlier poll made and did not record (rule 8.2).

The process may have been killed, or the server's last response lost. A message that is gone from its mailbox was
removed. The poll after one that did not end well compares the receipts that are not marked as removed with the
server's list. To settle a poll is to find out and record what it removed.

Ordinary polls read and write nothing for it. The mailbox's health holds which polls ended well, and only receipts since
the last of these are compared. A poll that removes older mail, for instance after `keep` was changed to `delete`,
records the time of the oldest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from shared.config import After
from shared.intake.arrival_store import DIGEST_KEY_PREFIX, ArrivalStore, Candidate
from shared.keys import PARTITION, digest
from shared.mailboxes.base import ListedMessage
from shared.receipts import Receipt, State
from shared.storage.base import Filter, Table, Values

MAX_CLOCK_SKEW = timedelta(hours=1)
"""How far the system times of two machines may differ."""

_log = logging.getLogger("mailroom.intake")


class LeaseGuard(Protocol):
    """A held lease, checked before each removal."""

    def ensure(self) -> None:
        """Raise `LeaseLost` if another worker may hold the mailbox."""


@dataclass(slots=True)
class Removals:
    """The removals of one poll of a folder.

    Attributes:
        arrivals: the folder's arrivals in storage.
        last_settled: when a poll of the mailbox last ended with all removals recorded; None: never.
        unsettled: whether the previous poll did not end well.
        account_since: messages stored before this time are of another account, and their removal is never settled.
    """

    arrivals: ArrivalStore
    last_settled: datetime | None
    unsettled: bool
    account_since: datetime | None = None
    _recorded: datetime | None = field(default=None, init=False)

    def settle(
        self, listed: Sequence[ListedMessage], key_prefix: str | None, since: datetime | None, guard: LeaseGuard
    ) -> bool:
        """Record the messages as removed that an earlier poll may have removed and the server no longer lists.

        Args:
            listed: the folder's messages, except those received before `since`.
            key_prefix: the prefix of the server keys in this listing; None if the server has no keys.
            since: SINCE; None: everything is listed.
            guard: checked between reading receipts and writing them.

        Returns:
            False if the listing does not show which messages are gone, and the next poll has to settle it.

        Raises:
            LeaseLost: another worker may have stored messages since the listing.
        """
        if not self.unsettled or self.arrivals.settings.after is After.KEEP:
            return True
        # Without keys, only a download identifies a message.
        if key_prefix is None or any(message.key is None for message in listed):
            return False
        self.unsettled = False
        now = self.arrivals.now()
        values = self._values
        settled_at, oldest = values.get("settled_at"), values.get("oldest")
        begin = self._minus_clock_skew(settled_at if isinstance(settled_at, datetime) else None)
        begin = max(filter(None, (begin, self._minus_clock_skew(self.last_settled))), default=None)
        if begin is not None and isinstance(oldest, datetime):
            begin = min(begin, oldest)
        begin = max(filter(None, (begin, self.account_since)), default=None)
        gone = _find_gone(self._not_removed(begin), listed, key_prefix, since)
        guard.ensure()
        if gone:
            name = self.arrivals.settings.name
            _log.info(
                "mailbox %s, %s: %d messages were removed by an earlier poll", name, self.arrivals.folder, len(gone)
            )
            self.arrivals.mark_removed(gone)
        self._record(settled_at=now, oldest=now)
        self.last_settled = now
        return True

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """Record, before messages are removed, the time of the oldest, if `settle` would not compare it otherwise."""
        limit = self._recorded or self._minus_clock_skew(self.last_settled)
        stored_at = (candidate.receipt.stored_at for candidate in candidates if candidate.receipt is not None)
        oldest = min(stored_at, default=None)
        if limit is not None and oldest is not None and oldest < limit:
            if self.unsettled and (recorded := self._values.get("oldest")) and isinstance(recorded, datetime):
                oldest = min(oldest, recorded)  # Of an earlier poll, which is settled later.
            self._record(oldest=oldest)
            self._recorded = oldest

    def end(self) -> None:
        """Record that the removals of this poll are in the receipts."""
        if self._recorded is not None and not self.unsettled:
            self._record(oldest=self.arrivals.now())
            self._recorded = None

    def _not_removed(self, since: datetime | None) -> Iterator[Receipt]:
        arrivals = self.arrivals
        equal: dict[str, str | bool] = {"mailbox": arrivals.settings.name, "folder": arrivals.folder, "removed": False}
        # The arrivals of a folder are in one partition.
        where = Filter(key_prefix=arrivals.key("")[:PARTITION], equal=equal, since=since)
        for record in arrivals.storage.records.scan(Table.RECEIPTS, where):
            receipt = Receipt.from_record(record)
            if (
                receipt.protocol == arrivals.settings.protocol.value
                and receipt.was_downloaded
                and receipt.state is not State.ERASED
            ):
                yield receipt

    def _record(self, **times: datetime) -> None:
        values: Values = {"folder": self.arrivals.folder, **times}
        self.arrivals.storage.records.merge(Table.MAILBOXES, self._key, values)

    @property
    def _values(self) -> Values:
        record = self.arrivals.storage.records.get(Table.MAILBOXES, self._key)
        return record.values if record is not None else {}

    @property
    def _key(self) -> str:
        return digest("removals", self.arrivals.settings.name, self.arrivals.folder)

    @staticmethod
    def _minus_clock_skew(time: datetime | None) -> datetime | None:
        return None if time is None else time - MAX_CLOCK_SKEW


def _find_gone(
    receipts: Iterable[Receipt], listed: Sequence[ListedMessage], prefix: str, since: datetime | None
) -> list[str]:
    """Return the arrivals whose messages are no longer listed, as far as the listing shows it."""
    keys = {message.key for message in listed}
    return [
        receipt.arrival
        for receipt in receipts
        if receipt.server_key not in keys
        # With another UIDVALIDITY, the message may be listed under another UID, or in a folder that was renamed.
        and receipt.server_key.startswith(prefix)
        # A message that had no key when it was downloaded may be listed under one now.
        and not (keys and receipt.server_key.startswith(DIGEST_KEY_PREFIX))
        and (since is None or receipt.received is None or receipt.received >= since)
    ]
