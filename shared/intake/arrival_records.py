"""Create the receipts and outbox entries of downloaded messages (docs/explanation/receipts.md, "Intake", step 4).

A receipt that says `stored`, and its outbox entry, are created in one transaction: a stored arrival always has its
entry. Most arrivals are new, so up to 50 of them are created with one request, and no receipt is read. A transaction
is not made if one of its receipts exists. Then its arrivals are created one by one, by what their receipts say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from shared.clock import utc_now
from shared.errors import WriteConflict
from shared.keys import PARTITION, batch_prefix, outbox_key, reused_arrival_key
from shared.mailboxes.base import ListedMessage
from shared.receipt_index import ReceiptIndex
from shared.receipts import Receipt, State
from shared.storage.base import Change, Create, Merge, Record, Records, Replace, Table, storable_time
from shared.storage.transactions import pack_transactions

MAX_ATTEMPTS = 5
"""Transactions that are tried for one arrival, whose receipt another worker may change meanwhile."""


@dataclass(frozen=True, slots=True)
class NewArrival:
    """A downloaded message whose receipt is to be created.

    Attributes:
        listed: the message as the server lists it.
        receipt: its new receipt, with the key of its outbox entry.
        traceparent: the trace of the message; empty: none.
    """

    listed: ListedMessage
    receipt: Receipt
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class StoredArrival:
    """An arrival that is stored.

    Attributes:
        receipt: its receipt: the new one, or an existing one.
        is_new: whether the receipt is the new one.
    """

    receipt: Receipt
    is_new: bool = True


def create_arrivals(
    records: Records, arrivals: Sequence[NewArrival], *, recorded: Collection[str], has_immutable_ids: bool
) -> list[StoredArrival]:
    """Create the receipts and outbox entries of arrivals, and return the arrivals in the same order.

    Args:
        records: where they are created.
        arrivals: different arrivals of one folder.
        recorded: the keys of arrivals that are known to have receipts, since they were skipped before.
        has_immutable_ids: whether a server key belongs to one message for good (Graph).

    Raises:
        WriteConflict: another worker changed a receipt at each attempt.
        TransientError: storage is unavailable. Arrivals that were created until then stay.
    """
    by_key = {arrival.receipt.arrival: arrival for arrival in arrivals}
    stored: dict[str, StoredArrival] = {}
    for creations in pack_transactions(_creation(by_key[key]) for key in by_key if key not in recorded):
        if records.commit([*chain.from_iterable(creations)]):
            keys = [receipt.key for receipt, _ in creations]
            stored.update({key: StoredArrival(by_key[key].receipt) for key in keys})
    remaining = [key for key in by_key if key not in stored]
    existing = records.get_many(Table.RECEIPTS, remaining) if remaining else {}
    for key in remaining:
        stored[key] = _create_one(records, by_key[key], existing.get(key), has_immutable_ids=has_immutable_ids)
    return [stored[key] for key in by_key]


def look_up_receipts(records: Records, keys: Iterable[str]) -> Mapping[str, Receipt]:
    """Return the existing receipts of arrivals, by key. Empty keys are ignored."""
    named = [key for key in keys if key]
    existing = records.get_many(Table.RECEIPTS, named) if named else {}
    return {key: Receipt.from_record(record) for key, record in existing.items()}


def is_same_message(listed: ListedMessage, receipt: Receipt) -> bool:
    """Return whether a receipt is of the listed message, and not of another that had the same server key before."""
    received = storable_time(listed.received)
    has_other_time = received is not None and receipt.received is not None and received != receipt.received
    return receipt.reported_size == listed.size and not has_other_time


def key_of_reused(arrival: str, listed: ListedMessage) -> str:
    """Return the arrival key of a listed message whose server key was another message's before."""
    received = storable_time(listed.received)
    return reused_arrival_key(arrival, listed.size, received.isoformat() if received is not None else "")


def _create_one(
    records: Records, arrival: NewArrival, record: Record | None, *, has_immutable_ids: bool
) -> StoredArrival:
    """Create an arrival that may have a receipt.

    Args:
        records: where it is created.
        arrival: the arrival.
        record: its receipt, as it was read; None: it has none.
        has_immutable_ids: whether a server key belongs to one message for good.

    Raises:
        WriteConflict: another worker changed the receipt at each attempt.
    """
    original_key = arrival.receipt.arrival
    for _ in range(MAX_ATTEMPTS):
        if record is not None:
            existing = Receipt.from_record(record)
            has_reusable_key = arrival.listed.key is not None and not has_immutable_ids
            is_original = existing.arrival == original_key
            if has_reusable_key and is_original and not is_same_message(arrival.listed, existing):
                # To take the receipt for this message's would lose the message.
                arrival = _rekeyed(arrival)
                record = records.get(Table.RECEIPTS, arrival.receipt.arrival)
                continue
            if existing.outbox == arrival.receipt.outbox:
                return StoredArrival(existing)  # The transaction was made, and its reply was lost.
            if not _is_replaceable(existing, arrival.listed):
                return StoredArrival(existing, is_new=False)
            if not existing.was_downloaded:
                arrival = replace(arrival, receipt=replace(arrival.receipt, stored_at=existing.stored_at))
        before = None if record is None else Receipt.from_record(record)
        indexed = ReceiptIndex(records).changes(before, arrival.receipt, utc_now())
        if records.commit([*_creation(arrival, record), *indexed]):
            return StoredArrival(arrival.receipt)
        record = records.get(Table.RECEIPTS, arrival.receipt.arrival)
    raise WriteConflict(f"the receipt of arrival {arrival.receipt.arrival} changed at each of {MAX_ATTEMPTS} attempts")


def _is_replaceable(existing: Receipt, listed: ListedMessage) -> bool:
    """Return whether an existing receipt allows the message to be stored.

    A message may be stored that was skipped before, or was erased and is identified by its bytes alone. The latter may
    be a leftover or may have been sent again. Its bytes are stored by now, and bytes must not exist without a receipt.
    """
    return not existing.was_downloaded or (existing.state is State.ERASED and listed.key is None)


def _rekeyed(arrival: NewArrival) -> NewArrival:
    """Return an arrival under another key, since its server key was another message's before."""
    key = key_of_reused(arrival.receipt.arrival, arrival.listed)
    entry = outbox_key(batch_prefix(arrival.receipt.outbox)[PARTITION:], key)
    return replace(arrival, receipt=replace(arrival.receipt, arrival=key, outbox=entry))


def _creation(arrival: NewArrival, existing: Record | None = None) -> list[Change]:
    """Return the changes that store an arrival: its receipt, and the outbox entry that the receipt names.

    Args:
        arrival: the arrival.
        existing: its receipt, which is replaced or completed; None: it has none.
    """
    receipt = arrival.receipt
    values = receipt.to_values()
    change: Change
    if existing is None:
        change = Create(Table.RECEIPTS, receipt.arrival, values)
    elif Receipt.from_record(existing).state is State.ERASED:
        change = Replace(Table.RECEIPTS, receipt.arrival, values, existing.etag)
    else:
        change = Merge(Table.RECEIPTS, receipt.arrival, values, existing.etag)
    return [change, Create(Table.OUTBOX, receipt.outbox, receipt.to_outbox_values(arrival.traceparent))]
