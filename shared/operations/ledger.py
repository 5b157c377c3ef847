"""Count arrivals by mailbox and outcome, so that each is counted exactly once (docs/reference/command.md).

Every receipt whose bytes were stored is in exactly one of the counts of `Counts.OUTCOMES`, which its state and the
outcome of the whole message determine. So a mailbox's collected messages are the sum of these counts, whatever replays
and erasures follow. A message with several recipients is one arrival with one outcome.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Self

from shared.receipt_index import ReceiptIndex
from shared.receipts import State
from shared.storage.base import Filter, Record, Records, Table, Value

_STATES: Final[Mapping[State, str]] = {
    State.STORED: "waiting",
    State.FAILED: "failed",
    State.ERASED: "erased",
    State.OVERSIZED: "skipped",
    State.UNREADABLE: "skipped",
}
"""The count of each state that determines it. A routed arrival is counted by its outcome."""

_COUNTED: Final = ("mailbox", "state", "outcome")
"""The properties that determine an arrival's count."""


@dataclass(slots=True)
class Counts:
    """The number of arrivals by what followed.

    Attributes:
        routed: at least one recipient has a result.
        duplicate: each recipient has a result of another message.
        unhandled: no route takes the message.
        blocked: its sender is blocked.
        failed: every attempt to route it failed.
        waiting: stored and not routed yet.
        erased: erased by `forget`; only a bare receipt is left.
        skipped: never collected, since it is oversized or unreadable.
    """

    routed: int = 0
    duplicate: int = 0
    unhandled: int = 0
    blocked: int = 0
    failed: int = 0
    waiting: int = 0
    erased: int = 0
    skipped: int = 0

    @property
    def collected(self) -> int:
        """The arrivals whose bytes were stored."""
        return sum(getattr(self, name) for name in OUTCOMES)

    def add(self, values: Mapping[str, Value], number: int = 1) -> None:
        """Count the arrival of a receipt, or of a number of receipts, with these properties."""
        name = count_of(values)
        setattr(self, name, getattr(self, name) + number)

    def __add__(self, other: Self) -> Counts:
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def to_json(self) -> dict[str, int]:
        """Return the counts, with `collected` first."""
        return {"collected": self.collected} | {field.name: getattr(self, field.name) for field in fields(self)}


OUTCOMES: Final = tuple(field.name for field in fields(Counts) if field.name != "skipped")
"""The counts whose sum is the number of collected messages."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The arrivals of every mailbox, counted.

    Attributes:
        day: the day that `today` is about, in UTC.
        today: the arrivals that were stored, or found and skipped, on that day; by mailbox.
        in_all: all arrivals, by mailbox.
    """

    day: date
    today: Mapping[str, Counts]
    in_all: Mapping[str, Counts]


def read_ledger(records: Records, now: datetime, outbox: Iterable[Record] | None = None) -> Ledger:
    """Count all arrivals, from an index: no receipt is read.

    Args:
        records: where the receipts are stored.
        now: the current time.
        outbox: the records of the outbox, if the caller has just read them; None: they are read if they are needed.

    Raises:
        TransientError: storage is unavailable.
    """
    day = now.astimezone(UTC).date()
    index = ReceiptIndex(records)
    if index.is_needed:
        today, in_all = index.count_each([day, None], outbox)
        return Ledger(day, _by_mailbox(today), _by_mailbox(in_all))
    midnight = datetime.combine(day, time(), UTC)
    return Ledger(
        day,
        today=_count_by_mailbox(records, Filter(since=midnight, until=midnight + timedelta(days=1))),
        in_all=_count_by_mailbox(records, Filter()),
    )


def _by_mailbox(counts: Mapping[tuple[str, str], int]) -> dict[str, Counts]:
    by_mailbox: defaultdict[str, Counts] = defaultdict(Counts)
    for (mailbox, outcome), number in counts.items():
        # An outcome of the index is that of routing, or a state; `waiting` is the name of the count.
        name = "skipped" if outcome in (State.OVERSIZED, State.UNREADABLE) else outcome
        setattr(by_mailbox[mailbox], name, getattr(by_mailbox[mailbox], name) + number)
    return dict(by_mailbox)


def _count_by_mailbox(records: Records, where: Filter) -> dict[str, Counts]:
    by_mailbox: defaultdict[str, Counts] = defaultdict(Counts)
    for (mailbox, state, outcome), number in records.count(Table.RECEIPTS, _COUNTED, where).items():
        by_mailbox[mailbox].add({"state": state, "outcome": outcome}, number)
    return dict(by_mailbox)


def count_of(values: Mapping[str, Value]) -> str:
    """Return the name of the count that a receipt with these properties belongs to."""
    state = State(str(values["state"]))
    return _STATES[state] if state in _STATES else str(values["outcome"])
