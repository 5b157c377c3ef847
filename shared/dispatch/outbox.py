"""The outbox: the table of arrivals and replays that are not routed yet.

It makes the queue a transactional outbox: an entry is created before its route request is published, and deleted when
its arrival or replay is concluded. So a lost queue message is published again. A stored arrival has an entry exactly
while its receipt says `stored`. Each replay has an entry of its own, since it is another request and ends at another
time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.keys import replay_outbox_key
from shared.queue_messages import RouteRequest, route_requests
from shared.storage.base import (
    Change,
    Create,
    Delete,
    Filter,
    Merge,
    QueueName,
    Record,
    Records,
    Storage,
    Table,
    Values,
)
from shared.storage.transactions import pack_transactions

_log = logging.getLogger("mailroom.dispatch")


@dataclass(frozen=True, slots=True)
class Replay:
    """A request to route a stored arrival again.

    Attributes:
        arrival: the arrival's key.
        mailbox: the arrival's mailbox.
        record: the path of the record or result that the operator named.
        reissue: the id of the request for a new result; empty: results are kept.
    """

    arrival: str
    mailbox: str
    record: str
    reissue: str = ""

    @property
    def outbox(self) -> str:
        """The key of its outbox entry. The same replay has one entry, however often it is requested."""
        return replay_outbox_key(self.arrival, self.record, self.reissue)

    def to_outbox_values(self, now: datetime) -> Values:
        """Return the properties of its outbox entry.

        Args:
            now: the time of the request.
        """
        return {
            "mailbox": self.mailbox,
            "stored_at": now,
            "arrival": self.arrival,
            "replay": self.record,
            "reissue": self.reissue,
        }


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An arrival, or a replay, that is in the outbox.

    A stored arrival's entry exists exactly while its receipt's state is `stored`, and holds the values of that receipt.

    Attributes:
        key: the entry's key.
        etag: the entry's etag; it changes when `sweep` publishes the entry again.
        arrival: the arrival's key.
        traceparent: the trace that it belongs to (W3C Trace Context), or empty.
        replay: the replay; None for a stored arrival.
        receipt: the arrival's receipt; None for a replay, whose receipt may have changed since.
    """

    key: str
    etag: str
    arrival: str
    traceparent: str = ""
    replay: Replay | None = None
    receipt: Record | None = None

    @classmethod
    def from_record(cls, record: Record) -> OutboxEntry:
        """Parse a record of the outbox."""
        values = record.values
        arrival = str(values["arrival"])
        replay = None
        if values.get("replay"):
            replay = Replay(arrival, str(values["mailbox"]), str(values["replay"]), str(values.get("reissue", "")))
        receipt = Record(arrival, values, record.etag) if replay is None else None
        return cls(record.key, record.etag, arrival, str(values.get("traceparent", "")), replay, receipt)

    @property
    def size(self) -> int:
        """The message's size in bytes; 0 for a replay, whose receipt has it."""
        return int(str(self.receipt.values["size"])) if self.receipt is not None else 0

    @classmethod
    def read(cls, records: Records, key: str) -> OutboxEntry | None:
        """Read an entry. Return None if it is gone: the arrival is concluded, or the replay is done."""
        record = records.get(Table.OUTBOX, key)
        return None if record is None else cls.from_record(record)

    def to_deletion(self) -> Delete:
        """Return the deletion of this entry, unless it changed since it was read."""
        return Delete(Table.OUTBOX, self.key, self.etag)


def read_entries(records: Records, request: RouteRequest) -> list[OutboxEntry]:
    """Return the entries of a route request, by key. Entries that are gone are done."""
    entries = records.scan(Table.OUTBOX, Filter(key_prefix=request.outbox))
    return sorted(map(OutboxEntry.from_record, entries), key=lambda entry: entry.key)


def publish_replays(storage: Storage, replays: Iterable[Replay], now: datetime) -> None:
    """Write replays to the outbox, then to the queue, with a route request each. Existing entries stay.

    Args:
        storage: the storage.
        replays: the replays.
        now: the time of the request.
    """
    entries = {replay.outbox: replay.to_outbox_values(now) for replay in replays}
    if entries:
        commit_possible(storage.records, (Create(Table.OUTBOX, key, values) for key, values in entries.items()))
        bodies = [request.to_json() for request in route_requests(entries)]
        storage.queues[QueueName.ROUTE_REQUESTS].put_many(bodies)


def republish_overdue(storage: Storage, older_than: timedelta, now: datetime) -> int:
    """Publish again the route requests of the entries that have been in the outbox for too long.

    Args:
        storage: the storage.
        older_than: the age of an overdue entry: since it was created, or published again.
        now: the current time.

    Returns:
        The number of entries.
    """
    limit = now - older_than
    # The overdue entries are among the ones that were created by then. `until` is exclusive, and Azurite compares
    # milliseconds.
    created = storage.records.scan(Table.OUTBOX, Filter(until=limit + timedelta(seconds=1)))
    overdue = [record for record in created if _is_overdue(record.values, limit)]
    marked = commit_possible(
        storage.records, (Merge(Table.OUTBOX, record.key, {"published_at": now}, record.etag) for record in overdue)
    )
    if marked:
        _log.warning("%d arrivals were in the outbox for over %s; they are published again", len(marked), older_than)
        # An attempt to route them may have been made.
        bodies = [request.to_json() for request in route_requests(marked, retries=1)]
        storage.queues[QueueName.ROUTE_REQUESTS].put_many(bodies)
    return len(marked)


def _is_overdue(values: Values, limit: datetime) -> bool:
    since = values.get("published_at", values["stored_at"])
    return isinstance(since, datetime) and since <= limit


def commit_possible(records: Records, changes: Iterable[Change]) -> list[str]:
    """Make changes in transactions, except those that cannot be made. Return the keys of the changed records.

    A change cannot be made if its entry exists already, was published by another sweep, or was concluded.
    """
    made: list[str] = []
    for groups in pack_transactions([change] for change in changes):
        transaction = [change for [change] in groups]
        if records.commit(transaction):
            made += [change.key for change in transaction]
        else:
            made += [change.key for change in transaction if records.commit([change])]
    return made
