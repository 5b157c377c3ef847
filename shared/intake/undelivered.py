"""Messages that a server lists and does not deliver: counted over polls, skipped at the third (rule 1.8).

A server may answer OK without data, refuse one message permanently, or answer "no such message" for a message that it
lists again at the next poll. None of these is final at first. A message that is listed and not delivered at three polls
in a row is recorded under `unreadable/` and skipped: it stays in the mailbox and is never removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.config import MailProtocol
from shared.errors import MailboxBusy
from shared.intake.arrival_store import ArrivalStore, Candidate
from shared.intake.skipped import record_unreadable
from shared.keys import digest
from shared.storage.base import Table

POLLS_BEFORE_SKIPPING = 3

GRAPH_SETTLING_TIME = timedelta(minutes=2)
"""Graph answers 404 for some seconds after a notification; notifications can trigger three polls in that time."""

MIN_UNDELIVERED_FOR_BUSY = 20
"""Undelivered messages above which the server counts as busy, if it delivered none at all in the same poll."""

MAX_COUNTED = 250
"""Messages that are counted per folder: one table property holds 32,000 characters (Table service data model)."""


@dataclass(slots=True)
class UndeliveredMessages:
    """The messages of a folder that the server did not deliver in one poll.

    Attributes:
        arrivals: the folder's arrivals in storage.
    """

    arrivals: ArrivalStore
    _reasons: dict[str, tuple[Candidate, str]] = field(default_factory=dict)

    def add(self, candidate: Candidate, reason: str) -> None:
        """Note that a message was not delivered. A message without a server key cannot be counted and is ignored."""
        if candidate.arrival:
            self._reasons.setdefault(candidate.arrival, (candidate, reason))

    def record(self, *, delivered: bool) -> int:
        """Count this poll, and record the messages that were not delivered for the last time.

        Args:
            delivered: whether the server delivered any message at this poll.

        Returns:
            How many messages were recorded as skipped.

        Raises:
            MailboxBusy: the server delivered none of many messages, so the problem is the server.
        """
        if not self._reasons:
            return 0
        settings = self.arrivals.settings
        if not delivered and len(self._reasons) >= MIN_UNDELIVERED_FOR_BUSY:
            raise MailboxBusy(
                f"mailbox {settings.name}, {self.arrivals.folder}: the server delivered none of the "
                f"{len(self._reasons)} messages that were requested: {next(iter(self._reasons.values()))[1]}"
            )
        now = self.arrivals.now()
        counts = self._read()
        remaining: dict[str, tuple[int, str]] = {}
        skipped = 0
        for arrival, (candidate, reason) in self._reasons.items():
            polls, first = counts.get(arrival, (0, now.isoformat()))
            if self._is_final(candidate, polls + 1, now - datetime.fromisoformat(first)):
                record_unreadable(self.arrivals, candidate, reason, {}, retried_daily=True)
                skipped += 1
            elif len(remaining) < MAX_COUNTED:
                remaining[arrival] = polls + 1, first
        self._write(remaining)
        return skipped

    def _is_final(self, candidate: Candidate, polls: int, since: timedelta) -> bool:
        """Return whether a message is skipped after so many polls without it."""
        if candidate.receipt is not None and candidate.receipt.last_refused_at is not None:
            return True  # Recorded before and tried again today: one more refusal is enough.
        is_settling = self.arrivals.settings.protocol is MailProtocol.GRAPH and since < GRAPH_SETTLING_TIME
        return polls >= POLLS_BEFORE_SKIPPING and not is_settling

    @property
    def _key(self) -> str:
        return digest("undelivered", self.arrivals.settings.name, self.arrivals.folder)

    def _read(self) -> Mapping[str, tuple[int, str]]:
        """Return the polls counted so far and the time of the first of them, by arrival."""
        record = self.arrivals.storage.records.get(Table.MAILBOXES, self._key)
        stored = json.loads(str(record.values.get("undelivered", "{}"))) if record is not None else {}
        return {arrival: (int(polls), str(first)) for arrival, (polls, first) in stored.items()}

    def _write(self, counts: Mapping[str, Sequence[int | str]]) -> None:
        # Arrivals that were delivered, or are no longer listed, are not among the counts and start at zero again.
        text = json.dumps(counts)
        self.arrivals.storage.records.merge(
            Table.MAILBOXES, self._key, {"folder": self.arrivals.folder, "undelivered": text}
        )
