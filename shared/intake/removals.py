"""Removals whose receipts were not written: the process was killed, or the server's last answer was lost (rule 8.2).

A message that is gone from its mailbox was removed. The poll after one that did not end well compares the receipts that
do not say so with what the server lists now. Ordinary polls write and read nothing for it: which polls ended well is in
the mailbox's health, and the receipts in question are those since the last of these. Only a poll that removes older
mail, as after `keep` was changed to `delete`, records since when.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from shared.config import After
from shared.intake.arrival_store import DIGEST_KEY_PREFIX, ArrivalStore, Candidate
from shared.keys import digest
from shared.mailboxes.base import ListedMessage
from shared.receipts import Receipt, State
from shared.storage.base import Filter, Table, Values

MAX_CLOCK_SKEW = timedelta(hours=1)
"""How far the clocks of two machines may be apart."""

_log = logging.getLogger("mailroom.intake")


class LeaseGuard(Protocol):
    """What is asked before each removal: a held lease."""

    def ensure(self) -> None:
        """Raise `LeaseLost` if another worker may hold the mailbox."""


@dataclass(slots=True)
class Removals:
    """The removals of one poll of a folder.

    Attributes:
        arrivals: the folder's storage side.
        last_settled: when a poll of the mailbox last ended with all removals recorded; None: never.
        unsettled: the poll before this one did not end well.
        account_since: what was stored before this is of another account, and its removal is never settled.
    """

    arrivals: ArrivalStore
    last_settled: datetime | None
    unsettled: bool
    account_since: datetime | None = None
    _recorded: datetime | None = field(default=None, init=False)

    def settle(
        self, listed: Sequence[ListedMessage], key_prefix: str | None, since: datetime | None, guard: LeaseGuard
    ) -> bool:
        """Record as removed what an earlier poll may have removed, and is not listed any more.

        Args:
            listed: the folder, but for what was received before `since`.
            key_prefix: the mailbox's, of this listing.
            since: SINCE; None: everything is listed.
            guard: asked between reading receipts and writing them.

        Returns:
            False if the listing does not show which messages are gone, and the next poll has to settle it.

        Raises:
            LeaseLost: another worker may have stored messages since the listing.
        """
        if not self.unsettled or self.arrivals.settings.after is After.KEEP:
            return True
        # Without keys, only a download shows which messages these are.
        if key_prefix is None or any(one.key is None for one in listed):
            return False
        self.unsettled = False
        now = self.arrivals.now()
        values = self._values
        settled_at, oldest = values.get("settled_at"), values.get("oldest")
        begin = self._earlier_by_a_margin(settled_at if isinstance(settled_at, datetime) else None)
        begin = max(filter(None, (begin, self._earlier_by_a_margin(self.last_settled))), default=None)
        if begin is not None and isinstance(oldest, datetime):
            begin = min(begin, oldest)
        begin = max(filter(None, (begin, self.account_since)), default=None)
        gone = _gone(self._not_removed(begin), listed, key_prefix, since)
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

    def begin(self, items: Sequence[Candidate]) -> None:
        """Record, before messages are removed, since when they are stored, if `settle` would not look so far back."""
        limit = self._recorded or self._earlier_by_a_margin(self.last_settled)
        oldest = min((one.receipt.stored_at for one in items if one.receipt is not None), default=None)
        if limit is not None and oldest is not None and oldest < limit:
            if self.unsettled and (recorded := self._values.get("oldest")) and isinstance(recorded, datetime):
                oldest = min(oldest, recorded)  # an earlier poll's, which is settled later
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
        for record in arrivals.storage.records.scan(Table.RECEIPTS, Filter(equal=equal, since=since)):
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
    def _earlier_by_a_margin(time: datetime | None) -> datetime | None:
        return None if time is None else time - MAX_CLOCK_SKEW


def _gone(
    receipts: Iterable[Receipt], listed: Sequence[ListedMessage], prefix: str, since: datetime | None
) -> list[str]:
    """Return the arrivals whose messages are not listed any more, as far as the listing shows it."""
    keys = {one.key for one in listed}
    return [
        one.arrival
        for one in receipts
        if one.server_key not in keys
        # With another UIDVALIDITY, the message may be listed under another UID, or in a folder that was renamed.
        and one.server_key.startswith(prefix)
        # What had no key when it was downloaded may be listed under one now.
        and not (keys and one.server_key.startswith(DIGEST_KEY_PREFIX))
        and (since is None or one.received is None or one.received >= since)
    ]
