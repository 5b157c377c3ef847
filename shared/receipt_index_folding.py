"""Fold the index of the receipts: apply its entries to the totals and rows, many in one transaction
(`shared/receipt_index.py`).
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from typing import Final

from shared.errors import WriteConflict
from shared.receipt_index import (
    ENTRIES,
    HEAD_SIZE,
    OLDER,
    PARTITIONS,
    WAITING,
    Counts,
    IndexPartition,
    OutcomeEntry,
    message_key,
    outcome_key,
)
from shared.receipts import Receipt
from shared.storage.base import Change, Create, Delete, Filter, Merge, Records, Table, Values
from shared.storage.transactions import MAX_TRANSACTION

FOLDED_TOGETHER: Final = 33
"""First outcomes that are folded in one transaction, which has up to 100 changes, one of them that of the totals."""

FIRST_CHANGES, LATER_CHANGES = 3, 5
"""Changes that an entry needs at most: it is deleted, and two rows are merged. After a first outcome, the rows of both
outcomes may have to be deleted."""

FOLD_SECONDS: Final = 120.0
"""Seconds after which `fold` begins no further transaction: the timer runs every five minutes."""

FOLD_INTERVAL: Final = 300
"""Seconds between two sweeps."""

PARALLEL_FOLDS: Final = 4
"""Partitions that are folded at once. The transactions of one partition depend on each other."""

DAYS_COUNTED: Final = 7
"""Days before today whose arrivals are counted by day. Older ones are counted together."""

MAX_TRIES: Final = 100
"""Tries to fold an entry that other workers fold at the same time."""

_log = logging.getLogger("mailroom.dispatch")


def fold(records: Records, now: datetime, *, seconds: float = FOLD_SECONDS) -> int:
    """Apply the entries of all partitions to the index, as far as the time allows. Return how many were applied.

    Several workers may do so at once: each entry is applied by one of them. Each transaction is complete in itself, so
    that the next call continues after a call that ended or was killed at any point.

    Args:
        records: where the index is stored.
        now: the current time, UTC.
        seconds: seconds after which no further transaction begins. Each worker makes at least one.
    """
    deadline = monotonic() + seconds
    today = now.astimezone(UTC).date()
    # A call that cannot reach all partitions begins with another one than the last call.
    start = int(now.timestamp()) // FOLD_INTERVAL % len(PARTITIONS)
    waiting = deque(PARTITIONS[start:] + PARTITIONS[:start])

    def work() -> int:
        folded = 0
        is_first = True
        while waiting and (is_first or monotonic() < deadline):
            is_first = False
            try:
                digit = waiting.popleft()
            except IndexError:
                break  # Another thread took the last one.
            number, has_more = _fold_head(records, digit, today, deadline)
            folded += number
            if has_more:
                waiting.append(digit)  # After the others, so that a large partition does not delay them.
        return folded

    with ThreadPoolExecutor(PARALLEL_FOLDS, thread_name_prefix="fold") as pool:
        workers = [pool.submit(work) for _ in range(PARALLEL_FOLDS)]
    folded = sum(worker.result() for worker in workers)
    if waiting:
        _log.info("the index: %d entries were folded in %.0f s; the next sweep continues", folded, seconds)
    return folded


def _fold_head(records: Records, digit: str, today: date, deadline: float) -> tuple[int, bool]:
    """Fold the oldest entries of a partition. Return their number, and whether more may be left to fold."""
    head = IndexPartition.read_head(records, digit)
    folded = 0
    for entries in _transactions(head.entries):
        if folded and monotonic() >= deadline:
            return folded, True
        totals = records.get(Table.INDEX, digit + ENTRIES) if folded else head.totals
        if not records.commit(_fold_changes(records, IndexPartition(digit, totals, entries), today)):
            return folded, False  # Another worker folds them.
        folded += len(entries)
    return folded, len(head.entries) == HEAD_SIZE


def _transactions(entries: Iterable[OutcomeEntry]) -> Iterator[tuple[OutcomeEntry, ...]]:
    """Yield the entries that one transaction folds together, in their order."""
    together: list[OutcomeEntry] = []
    changes = 1  # that of the totals
    for entry in entries:
        number = FIRST_CHANGES if entry.previous == WAITING else LATER_CHANGES
        if changes + number > MAX_TRANSACTION:
            yield tuple(together)
            together, changes = [], 1
        together.append(entry)
        changes += number
    if together:
        yield tuple(together)


def _fold_changes(records: Records, partition: IndexPartition, today: date) -> list[Change]:
    """Return the transaction that applies a partition's entries and deletes them."""
    by_arrival: defaultdict[str, list[OutcomeEntry]] = defaultdict(list)
    for entry in partition.entries:
        by_arrival[entry.arrival].append(entry)
    rows: dict[str, Values] = {}
    # Where an outcome was changed, the receipt has the current one: the entries of two workers may be in either order.
    changed = [arrival for arrival, entries in by_arrival.items() if [entry.previous for entry in entries] != [WAITING]]
    receipts = records.get_many(Table.RECEIPTS, changed) if changed else {}
    for arrival, entries in by_arrival.items():
        entry = entries[-1]
        if arrival in receipts:
            entry = OutcomeEntry.from_receipt(Receipt.from_record(receipts[arrival]))
        if arrival in receipts or arrival not in changed:
            rows |= entry.rows()
    old = {outcome_key(entry.arrival, name, entry.stored_at) for arrival in changed for entry in by_arrival[arrival]
           for name in (entry.previous, entry.outcome)} - {"", *rows}  # fmt: skip
    changes: list[Change] = [Merge(Table.INDEX, key, values) for key, values in rows.items()]
    changes += [Delete(Table.INDEX, key) for key in (records.get_many(Table.INDEX, sorted(old)) if old else ())]
    changes += [Delete(Table.INDEX, record.key, record.etag) for entry in partition.entries if (record := entry.record)]
    values = {"counts": _format_counts(_only_recent(partition.counts(), today))}
    key = partition.digit + ENTRIES
    totals = partition.totals
    changes.append(Create(Table.INDEX, key, values) if totals is None else Merge(Table.INDEX, key, values, totals.etag))
    return changes


def delete_message(records: Records, receipt: Receipt, now: datetime) -> None:
    """Delete an erased arrival's message from the index: the rest does not name the message.

    Args:
        records: where the index is stored.
        receipt: the arrival's receipt, with its message.
        now: the current time, UTC.

    Raises:
        WriteConflict: other workers fold the index all the time.
    """
    if not receipt.message:
        return
    digit = receipt.arrival[0]
    where = Filter(key_prefix=digit + ENTRIES, equal={"arrival": receipt.arrival})
    for _ in range(MAX_TRIES):
        # An entry that is not folded yet names the message, too.
        entries = [OutcomeEntry.from_record(record) for record in records.scan(Table.INDEX, where)]
        if not any(entry.message for entry in entries):
            break
        together = next(_transactions(entries))
        partition = IndexPartition(digit, records.get(Table.INDEX, digit + ENTRIES), together)
        records.commit(_fold_changes(records, partition, now.astimezone(UTC).date()))  # Not made: read again.
    else:
        raise WriteConflict(
            f"the index names a message at each of {MAX_TRIES} tries to erase it; run the command again"
        )
    records.delete_many(Table.INDEX, [message_key(receipt.arrival, receipt.message)])


def _format_counts(counts: Counts) -> str:
    # Counts of zero, too: there may be rows, since another arrival's changes may be folded in another order.
    return json.dumps([[*place, number] for place, number in sorted(counts.items())])


def _only_recent(counts: Counts, today: date) -> Counts:
    """Return the counts with those of older days added up."""
    first = (today - timedelta(days=DAYS_COUNTED)).isoformat()
    recent: Counts = Counter()
    for (mailbox, day, outcome), number in counts.items():
        recent[mailbox, day if day >= first else OLDER, outcome] += number
    return recent
