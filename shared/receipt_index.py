"""An index of the receipts by outcome, time and message, for storage that has no index of its own: tables.

Each change of an arrival's outcome creates an entry in the same transaction as the receipt's change (`outcome_change`):
one more record, whose key is new, so that it never makes the transaction fail. `receipt_index_folding` applies the
entries later, many in one transaction: it counts the outcomes, and creates and deletes rows. Readers read the entries
too, so the index is never behind. A partition has the rows of its receipts. Each row's key begins with the partition's
digit, then

* `0`: the totals, and, in the order of time, the entries that are not folded yet;
* `1`: a row for each arrival by outcome and time, the latest first;
* `2`: a row for each arrival by message.

An arrival that waits to be routed has no row: its outbox entry has all that is known of it. A row may be out of date
after two workers changed an arrival at once, so readers compare it with the receipt.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from heapq import merge
from itertools import chain, islice, takewhile
from typing import Final, TypeVar

from shared.receipts import Receipt, State
from shared.storage.base import (
    MATCH_ALL,
    MAX_FILTERED_SCANS,
    Change,
    Create,
    Filter,
    Record,
    Records,
    Table,
    Values,
)

WAITING: Final = "waiting"
"""The outcome of an arrival that is stored and not routed yet, which is not indexed."""

_CODES: Final[Mapping[str, str]] = {
    "routed": "1",
    "duplicate": "2",
    "unhandled": "3",
    "blocked": "4",
    "failed": "5",
    "erased": "6",
    "oversized": "7",
    "unreadable": "8",
}
"""A digit for each outcome."""

PARTITIONS: Final = "0123456789abcdef"
ENTRIES, _OUTCOMES, _MESSAGES = "0", "1", "2"

KEY_START: Final = 2
"""Digits with which a key begins: those of the partition and of the kind of row."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = 2**63 - 1

OLDER: Final = ""
"""The day of the totals of all older days."""

READ_TOGETHER: Final = 64
"""Receipts that are read at once."""

PAGE_SIZE: Final = 128
"""Rows that a request returns: most readers stop after the first ones."""

HEAD_SIZE: Final = 999
"""Entries that one request returns with the totals: the service returns up to 1,000 rows."""

PARALLEL: Final = 16
"""Requests at once."""

_COMPLEMENTS: Final = str.maketrans("0123456789abcdef", "fedcba9876543210")
"""Reverse the order of digits: rows are in the ascending order of their keys, and the latest is to be the first."""

Item = TypeVar("Item")
Result = TypeVar("Result")

Counts = Counter[tuple[str, str, str]]
"""Numbers of arrivals by mailbox, day (`OLDER`: an older one) and outcome."""


def outcome_of(receipt: Receipt) -> str:
    """Return an arrival's outcome: that of routing, or else its state; `waiting` if it is `stored`."""
    if receipt.state is State.STORED:
        return WAITING
    return receipt.outcome if receipt.state is State.ROUTED else receipt.state.value


def outcome_change(before: Receipt | None, after: Receipt, now: datetime) -> list[Change]:
    """Return the change that belongs into the transaction which changes a receipt; empty if its outcome stays.

    Args:
        before: the receipt before the transaction; None: the transaction creates it.
        after: the receipt after the transaction.
        now: the current time, UTC.
    """
    previous = WAITING if before is None else outcome_of(before)
    outcome = outcome_of(after)
    if previous == outcome:
        return []
    # A receipt that leaves the index may be replaced by one with another time.
    indexed = before if before is not None and outcome == WAITING else after
    entry = replace(OutcomeEntry.from_receipt(after, previous), stored_at=indexed.stored_at)
    return [Create(Table.INDEX, entry.new_key(now), entry.to_values())]


@dataclass(frozen=True, slots=True)
class OutcomeEntry:
    """A change of an arrival's outcome.

    Attributes:
        arrival: the arrival's key.
        mailbox: its mailbox.
        stored_at: when it was stored.
        message: the message's id; empty if it has none.
        previous: the outcome before.
        outcome: the outcome after.
        record: the stored entry; None: it is not stored yet.
    """

    arrival: str
    mailbox: str
    stored_at: datetime
    message: str
    previous: str
    outcome: str
    record: Record | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """The key of the stored entry; empty if it is not stored yet."""
        return "" if self.record is None else self.record.key

    @property
    def day(self) -> str:
        """The day on which it was stored, UTC."""
        return self.stored_at.astimezone(UTC).date().isoformat()

    def new_key(self, now: datetime) -> str:
        """Return a new key, which sorts after the keys of earlier entries in its partition."""
        return f"{self.arrival[0]}{ENTRIES}{_microseconds(now):016x}{secrets.token_hex(8)}"

    def to_values(self) -> dict[str, str | datetime]:
        """Return the record's properties."""
        return {
            "arrival": self.arrival,
            "mailbox": self.mailbox,
            "stored_at": self.stored_at,
            "message": self.message,
            "previous": self.previous,
            "outcome": self.outcome,
        }

    @classmethod
    def from_record(cls, record: Record) -> OutcomeEntry:
        """Parse a stored entry."""
        texts = (str(record.values[name]) for name in ("arrival", "mailbox", "message", "previous", "outcome"))
        arrival, mailbox, message, previous, outcome = texts
        stored_at = record.values["stored_at"]
        assert isinstance(stored_at, datetime)
        return cls(arrival, mailbox, stored_at, message, previous, outcome, record)

    @classmethod
    def from_receipt(cls, receipt: Receipt, previous: str = WAITING) -> OutcomeEntry:
        """Return the entry of a change to an arrival's current outcome. That of an erased one names no message."""
        outcome = outcome_of(receipt)
        message = "" if outcome == "erased" else receipt.message
        return cls(receipt.arrival, receipt.mailbox, receipt.stored_at, message, previous, outcome)

    def rows(self) -> dict[str, Values]:
        """Return the rows of the arrival, by key; none if it waits."""
        key = outcome_key(self.arrival, self.outcome, self.stored_at)
        rows: dict[str, Values] = {key: {"mailbox": self.mailbox}} if key else {}
        if key and self.message:
            rows[message_key(self.arrival, self.message)] = {}
        return rows

    def count(self, counts: Counts) -> None:
        """Count the change."""
        for outcome, number in ((self.previous, -1), (self.outcome, 1)):
            if outcome != WAITING:
                counts[self.mailbox, self.day, outcome] += number


@dataclass(frozen=True, slots=True)
class IndexPartition:
    """The totals and the entries of a partition.

    Attributes:
        digit: the first digit of its keys.
        totals: the record of the totals; None: nothing was folded yet.
        entries: the entries that are not folded yet, the oldest first.
    """

    digit: str
    totals: Record | None
    entries: tuple[OutcomeEntry, ...]

    @classmethod
    def read(cls, records: Records, digit: str) -> IndexPartition:
        """Read all entries of a partition, and the totals as they were with these entries.

        Meanwhile, a sweep may fold the entries, for minutes. Then only the first page is read again: a sweep folds the
        oldest entries first, so those after that page were not folded yet.

        Args:
            records: where the index is stored.
            digit: the first digit of its keys.
        """
        partition = cls._from_records(digit, records.scan(Table.INDEX, Filter(key_prefix=digit + ENTRIES)))
        current = records.get(Table.INDEX, digit + ENTRIES)
        if _etag(current) == _etag(partition.totals):
            return partition
        # Between two pages, entries became part of the totals.
        head = cls.read_head(records, digit)
        if len(head.entries) < HEAD_SIZE:
            return head
        last = head.entries[-1].key
        return replace(head, entries=(*head.entries, *(entry for entry in partition.entries if entry.key > last)))

    @classmethod
    def read_head(cls, records: Records, digit: str) -> IndexPartition:
        """Read the totals and the oldest entries of a partition, `HEAD_SIZE` at most, with one request."""
        size = HEAD_SIZE + 1
        rows = records.scan(Table.INDEX, Filter(key_prefix=digit + ENTRIES), page_size=size)
        partition = cls._from_records(digit, islice(rows, size))
        return replace(partition, entries=partition.entries[:HEAD_SIZE])

    @classmethod
    def _from_records(cls, digit: str, records: Iterable[Record]) -> IndexPartition:
        rows = list(records)
        totals = next((record for record in rows if record.key == digit + ENTRIES), None)
        entries = (OutcomeEntry.from_record(record) for record in rows if record is not totals)
        return cls(digit, totals, tuple(entries))

    def counts(self) -> Counts:
        """Return the numbers of all arrivals that are indexed."""
        counts = _parse_counts(self.totals)
        for entry in self.entries:
            entry.count(counts)
        return counts


@dataclass(frozen=True, slots=True)
class ReceiptIndex:
    """The index of the receipts in a storage.

    Attributes:
        records: where the index and the receipts are stored.
    """

    records: Records

    @property
    def is_needed(self) -> bool:
        """Whether the storage has no index of its own. Otherwise this one is neither written nor read."""
        return not self.records.is_indexed(Table.RECEIPTS, "stored_at")

    def changes(self, before: Receipt | None, after: Receipt, now: datetime) -> list[Change]:
        """Return `outcome_change` if the storage needs this index. Each transaction that changes a receipt adds it."""
        changes = outcome_change(before, after, now)
        return changes if changes and self.is_needed else []

    def count(self, day: date | None = None) -> Counter[tuple[str, str]]:
        """Return the number of arrivals by mailbox and outcome: one result of `count_each`."""
        return self.count_each([day])[0]

    def count_each(
        self, days: Sequence[date | None], outbox: Iterable[Record] | None = None
    ) -> list[Counter[tuple[str, str]]]:
        """Return the numbers of arrivals by mailbox and outcome, those that wait to be routed included.

        An arrival that is routed meanwhile may be counted as waiting, too.

        Args:
            days: a result is about the arrivals stored on one of these days, UTC: today, or one of the `DAYS_COUNTED`
                before; None: about all arrivals.
            outbox: the records of the outbox, if the caller has read them; None: they are read.
        """
        # In this order: an arrival goes from the outbox to an entry.
        waiting = {entry.arrival: entry for entry in self._waiting(records=outbox)}
        counts: Counts = Counter()
        for partition in self._partitions():
            for entry in partition.entries:
                waiting.pop(entry.arrival, None)  # It was routed after the outbox was read.
            counts.update(partition.counts())
        for entry in waiting.values():
            counts[entry.mailbox, entry.day, WAITING] += 1
        results: list[Counter[tuple[str, str]]] = [Counter() for _ in days]
        for (mailbox, of_day, outcome), number in counts.items():
            for day, result in zip(days, results, strict=True):
                if number and (day is None or of_day == day.isoformat()):
                    result[mailbox, outcome] += number
        return results

    def newest_first(
        self,
        *,
        outcomes: Collection[str] = (WAITING, *_CODES),
        mailbox: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[Receipt]:
        """Yield receipts, the latest first; equally late ones by their keys, descending.

        Only the rows of these outcomes and times are read, in pages, as far as the caller reads.

        Args:
            outcomes: the outcomes.
            mailbox: the mailbox's name; empty: all mailboxes.
            since: the earliest time at which they were stored, inclusive; None: no limit.
            until: the latest time, exclusive; None: no limit.
        """
        # `until` is exclusive, and Azurite compares milliseconds.
        end = None if until is None else until + timedelta(seconds=1)
        where = Filter(equal={"mailbox": mailbox} if mailbox else {}, since=since, until=end)
        changes = where
        if len(outcomes) == 1:
            changes = replace(where, equal={**where.equal, "outcome": next(iter(outcomes))})
        # In this order: an arrival goes from the outbox to an entry, and from there to a row.
        changed = self._waiting(where) if WAITING in outcomes else []
        changed += [entry for entry in self._entries(changes) if entry.outcome in outcomes]
        places = {
            (digit, outcome)
            for digit, totals in self._totals().items()
            for of_mailbox, _, outcome in _parse_counts(totals)
            if outcome in outcomes and mailbox in ("", of_mailbox)
        }
        rows = self._begun([self._rows(digit, outcome, mailbox, since, until) for digit, outcome in sorted(places)])
        entries = sorted(((_microseconds(entry.stored_at), entry.arrival) for entry in changed), reverse=True)
        newest = merge(*rows, entries, reverse=True)
        seen: set[str] = set()
        while chunk := list(islice(newest, READ_TOGETHER)):
            # An arrival may have an entry and a row.
            arrivals = [arrival for arrival in dict.fromkeys(arrival for _, arrival in chunk) if arrival not in seen]
            seen.update(arrivals)
            yield from (
                receipt
                for receipt in self._read(arrivals)
                if outcome_of(receipt) in outcomes
                and mailbox in ("", receipt.mailbox)
                and (since is None or receipt.stored_at >= since)
                and (until is None or receipt.stored_at < until)
            )

    def with_message(self, *prefixes: str) -> list[Receipt]:
        """Return the receipts of the arrivals whose message's id begins with one of `prefixes`, in no particular order.

        A prefix is a query in each partition that has rows.
        """
        # The service selects by a few prefixes. For more, all entries are read once.
        each = [Filter(prefixes={"message": prefix}) for prefix in prefixes]
        selected = each if len(each) <= MAX_FILTERED_SCANS else [MATCH_ALL]
        # In this order: an arrival goes from the outbox to an entry, and from there to a row.
        changed = [entry for filter_ in selected for entry in self._waiting(filter_)]
        changed += self._entries(*selected)
        digits = self._totals() if len(prefixes) > 1 else PARTITIONS
        where = [Filter(key_prefix=digit + _MESSAGES + prefix) for prefix in prefixes for digit in digits]
        rows = self._map(lambda filter_: list(self.records.scan(Table.INDEX, filter_)), where)
        arrivals = {record.key[0] + record.key[66:] for record in chain.from_iterable(rows)}
        arrivals |= {entry.arrival for entry in changed if entry.message.startswith(prefixes)}
        return [receipt for receipt in self._read(sorted(arrivals)) if receipt.message.startswith(prefixes)]

    def _partitions(self) -> list[IndexPartition]:
        return self._map(lambda digit: IndexPartition.read(self.records, digit), PARTITIONS)

    def _totals(self) -> dict[str, Record]:
        """Return the totals of the partitions that have rows, by the partition's digit."""
        totals = self.records.get_many(Table.INDEX, [digit + ENTRIES for digit in PARTITIONS])
        return {key[0]: record for key, record in sorted(totals.items())}

    def _entries(self, *where: Filter) -> list[OutcomeEntry]:
        """Return the entries that match one of several filters."""
        filters = [replace(filter_, key_prefix=digit + ENTRIES) for filter_ in where for digit in PARTITIONS]
        pages = self._map(lambda filter_: list(self.records.scan(Table.INDEX, filter_)), filters)
        # The totals have the prefix as their key.
        return [
            OutcomeEntry.from_record(record) for record in chain.from_iterable(pages) if len(record.key) > KEY_START
        ]

    def count_waiting(self, *, mailbox: str = "", since: datetime | None = None, until: datetime | None = None) -> int:
        """Return the number of arrivals that wait to be routed. The arguments are those of `newest_first`."""
        entries = self._waiting(Filter(equal={"mailbox": mailbox} if mailbox else {}, since=since))
        return sum(1 for entry in entries if until is None or entry.stored_at < until)

    def _waiting(self, where: Filter = MATCH_ALL, records: Iterable[Record] | None = None) -> list[OutcomeEntry]:
        """Return the arrivals that wait to be routed and match.

        Args:
            where: the condition, if the outbox is to be read.
            records: the records of the outbox; None: they are read.
        """
        if records is None:
            records = self.records.scan(Table.OUTBOX, where)
        return [
            OutcomeEntry(
                str(record.values["arrival"]),
                str(record.values["mailbox"]),
                _time_of(record),
                str(record.values["message"]),
                WAITING,
                WAITING,
            )
            for record in records
            # A replay's entry has none of a receipt's properties, and a dead letter's says `failed`.
            if record.values.get("state") == State.STORED.value
        ]

    def _rows(
        self, digit: str, outcome: str, mailbox: str, since: datetime | None, until: datetime | None
    ) -> Iterator[tuple[int, str]]:
        """Yield time and arrival of the rows of an outcome in a partition, the latest first."""
        prefix = digit + _OUTCOMES + _CODES[outcome]
        where = Filter(
            key_prefix=prefix,
            key_from="" if until is None else f"{prefix}{_LATEST - _microseconds(until) + 1:016x}",
            equal={"mailbox": mailbox} if mailbox else {},
        )
        earliest = 0 if since is None else _microseconds(since)
        rows = (
            (_LATEST - int(record.key[3:19], 16), record.key[0] + record.key[19:].translate(_COMPLEMENTS))
            for record in self.records.scan(Table.INDEX, where, page_size=PAGE_SIZE)
        )
        return takewhile(lambda row: row[0] >= earliest, rows)

    def _begun(self, streams: Sequence[Iterator[tuple[int, str]]]) -> list[Iterator[tuple[int, str]]]:
        """Return the streams after their first rows were read, in parallel."""
        first = self._map(lambda stream: list(islice(stream, 1)), streams)
        return [chain(rows, stream) for rows, stream in zip(first, streams, strict=True)]

    def _read(self, arrivals: Sequence[str]) -> list[Receipt]:
        """Return the receipts of arrivals, in their order. A receipt may be gone."""
        records = self.records.get_many(Table.RECEIPTS, arrivals) if arrivals else {}
        return [Receipt.from_record(records[arrival]) for arrival in arrivals if arrival in records]

    @staticmethod
    def _map(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="index") as pool:
            return list(pool.map(function, items))


def _etag(record: Record | None) -> str:
    return "" if record is None else record.etag


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def outcome_key(arrival: str, outcome: str, stored_at: datetime) -> str:
    """Return the key of an arrival's row by outcome; empty if the outcome has no rows."""
    if outcome not in _CODES:
        return ""
    inverted = f"{_LATEST - _microseconds(stored_at):016x}{arrival[1:].translate(_COMPLEMENTS)}"
    return f"{arrival[0]}{_OUTCOMES}{_CODES[outcome]}{inverted}"


def message_key(arrival: str, message: str) -> str:
    """Return the key of an arrival's row by message."""
    return f"{arrival[0]}{_MESSAGES}{message}{arrival[1:]}"


def _time_of(record: Record) -> datetime:
    stored_at = record.values["stored_at"]
    assert isinstance(stored_at, datetime)
    return stored_at


def _parse_counts(totals: Record | None) -> Counts:
    """Return the counts in the record of a partition's totals."""
    rows = [] if totals is None else json.loads(str(totals.values["counts"]))
    return Counter({(mailbox, day, outcome): number for mailbox, day, outcome, number in rows})
