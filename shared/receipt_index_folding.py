"""Fold the index of the receipts: apply its entries to the totals and rows, many in one transaction
(`shared/receipt_index.py`).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Final

from shared.errors import WriteConflict
from shared.receipt_index import (
    ENTRIES,
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
from shared.storage.base import Change, Create, Delete, Merge, Records, Table, Values

FOLDED_TOGETHER: Final = 19
"""Entries that are folded in one transaction, which has up to 100 changes.

An entry needs up to five: it is deleted, two rows are merged, and the rows of its two outcomes may have to be deleted.
"""

MAX_FOLDS: Final = 1_000
"""Transactions in one partition and one call of `fold`."""

DAYS_COUNTED: Final = 7
"""Days before today whose arrivals are counted by day. Older ones are counted together."""

MAX_TRIES: Final = 100
"""Tries to fold an entry that other workers fold at the same time."""


def fold(records: Records, now: datetime) -> int:
    """Apply the entries of all partitions to the index. Return how many there were.

    Several workers may do so at once: each entry is applied by one of them.

    Args:
        records: where the index is stored.
        now: the current time, UTC.
    """
    return sum(_fold_partition(records, digit, now.astimezone(UTC).date()) for digit in PARTITIONS)


def _fold_partition(records: Records, digit: str, today: date) -> int:
    folded = 0
    for _ in range(MAX_FOLDS):
        partition = IndexPartition.read(records, digit, FOLDED_TOGETHER)
        if not partition.entries or not records.commit(_fold_changes(records, partition, today)):
            break  # Another worker folds them.
        folded += len(partition.entries)
    return folded


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
    for _ in range(MAX_TRIES):
        # An entry that is not folded yet names the message, too.
        if not any(entry.message == receipt.message for entry in IndexPartition.read(records, digit).entries):
            break
        _fold_partition(records, digit, now.astimezone(UTC).date())
    else:
        raise WriteConflict(
            f"the index names a message at each of {MAX_TRIES} tries to erase it; run the command again"
        )
    records.delete_many(Table.INDEX, [message_key(receipt.arrival, receipt.message)])


def _format_counts(counts: Counts) -> str:
    return json.dumps([[*place, number] for place, number in sorted(counts.items()) if number])


def _only_recent(counts: Counts, today: date) -> Counts:
    """Return the counts with those of older days added up."""
    first = (today - timedelta(days=DAYS_COUNTED)).isoformat()
    recent: Counts = Counter()
    for (mailbox, day, outcome), number in counts.items():
        recent[mailbox, day if day >= first else OLDER, outcome] += number
    return recent
