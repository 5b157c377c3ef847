"""Tombstones: the records of erased arrivals, of which a late worker may still write something
(docs/explanation/receipts.md, "Erasure").

A worker may have read an arrival before it was erased, write its results afterwards, and die before it finds that they
have to be rolled back. A tombstone names the message, which the bare receipt does not name any more, until no such
worker can be alive. Then the erasure is repeated (`shared/operations/erasure.py`), and the tombstone deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from shared.dispatch.outbox import commit_possible
from shared.dispatch.routing_input import conversation_key
from shared.receipts import Receipt
from shared.storage.base import Delete, Filter, Merge, Record, Records, Table, Values

REPEAT_AFTER: Final = timedelta(hours=2)
"""How long after an erasure it is repeated.

A worker that began before the erasure is dead by then: the Functions host ends a function after 30 minutes
(`functionTimeout` in host.json). The rest is room for an operator's machine whose time differs from that of Azure, and
for requests of the worker that the storage still executes.
"""

_REPEAT_AT = "repeat_at"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The record of an erased arrival. It holds keys, ids and times: no address, no Message-ID and no subject.

    Attributes:
        receipt: the arrival's bare receipt, with the ids of its message and of its conversation.
        entry: the key of the conversation entry of its Message-ID; empty: it has none.
    """

    receipt: Receipt
    entry: str = ""

    @classmethod
    def from_record(cls, record: Record) -> Tombstone:
        """Parse a record that was created from `to_change`."""
        return cls(Receipt.from_record(record), str(record.values["entry"]))

    @classmethod
    def of_erased(cls, receipt: Receipt, bare: Receipt) -> Tombstone:
        """Return the tombstone of an arrival.

        Args:
            receipt: its receipt before it was made bare.
            bare: its bare receipt.
        """
        entry = conversation_key("message-id", receipt.message_id) if receipt.message_id else ""
        return cls(replace(bare, message=receipt.message, conversation=receipt.conversation), entry)

    def to_change(self, now: datetime) -> Merge:
        """Return the change that creates the tombstone, or renews one of an earlier erasure of the same arrival.

        Args:
            now: the time of the erasure.
        """
        values: Values = {
            **self.receipt.to_values(),
            "conversation": self.receipt.conversation,
            "entry": self.entry,
            _REPEAT_AT: now + REPEAT_AFTER,
        }
        return Merge(Table.TOMBSTONES, self.receipt.arrival, values)


def take_due(records: Records, now: datetime, limit: int) -> list[Tombstone]:
    """Return the tombstones whose erasure is to be repeated now, and postpone them.

    So one of several sweeps at once repeats an erasure. If it dies, another one does so later.

    Args:
        records: where they are stored.
        now: the current time.
        limit: how many are returned at most.
    """
    where = Filter(time_property=_REPEAT_AT, until=now)
    due = {record.key: record for record in islice(records.scan(Table.TOMBSTONES, where), limit)}
    postponed: Values = {_REPEAT_AT: now + REPEAT_AFTER}
    changes = (Merge(Table.TOMBSTONES, record.key, postponed, record.etag) for record in due.values())
    return [Tombstone.from_record(due[key]) for key in commit_possible(records, changes)]


def delete_taken(records: Records, taken: Iterable[Tombstone], now: datetime) -> None:
    """Delete tombstones whose erasure was repeated, unless their arrivals were erased again meanwhile.

    Args:
        records: where they are stored.
        taken: the tombstones, as `take_due` returned them.
        now: the time that `take_due` was given.
    """
    existing = records.get_many(Table.TOMBSTONES, [tombstone.receipt.arrival for tombstone in taken])
    unchanged = (record for record in existing.values() if record.values[_REPEAT_AT] == now + REPEAT_AFTER)
    commit_possible(records, (Delete(Table.TOMBSTONES, record.key, record.etag) for record in unchanged))
