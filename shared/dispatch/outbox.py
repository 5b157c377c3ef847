"""The outbox: the table of arrivals and replays whose route request is not done yet.

It makes the queue a transactional outbox: an entry is written before its route request is published, and deleted after
the request is done. So a lost queue message is published again. A stored arrival has an entry under its own key. Each
replay has an entry of its own, since it is another request and ends at another time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.errors import WriteConflict
from shared.queue_messages import RouteRequest
from shared.storage.base import Delete, Filter, QueueName, Record, Records, Storage, Table, Values

_log = logging.getLogger("mailroom.dispatch")


@dataclass(frozen=True, slots=True)
class Replay:
    """The part of an entry that makes it a replay: route again, with the current routes (docs/how-to/replay.md).

    Attributes:
        record: the path of the record, or of the result, that the operator named.
        reissue: the id of the request for a new result that replaces the result at `record`; empty: keep all results.
    """

    record: str
    reissue: str = ""


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
        replay = Replay(str(values["replay"]), str(values.get("reissue", ""))) if values.get("replay") else None
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


def publish_replays(storage: Storage, requests: Iterable[tuple[RouteRequest, str]], now: datetime) -> None:
    """Write replays to the outbox, then to the queue. Existing entries stay.

    Args:
        storage: the storage.
        requests: route requests with a replay, each with the mailbox of its arrival.
        now: the time of the request.
    """
    entries: dict[str, Values] = {}
    bodies = []
    for request, mailbox in requests:
        replay = request.replay
        assert replay is not None
        entries[request.outbox_key] = {
            "mailbox": mailbox,
            "stored_at": now,
            "arrival": request.arrival,
            "replay": replay.record,
            "reissue": replay.reissue,
        }
        bodies.append(request.to_json())
    if bodies:
        storage.records.create_many(Table.OUTBOX, entries)
        storage.queues[QueueName.ROUTE_REQUESTS].put_many(bodies)


def republish_overdue(storage: Storage, older_than: timedelta, now: datetime) -> int:
    """Publish again the route requests that have been in the outbox for too long. Return how many there were."""
    overdue = []
    for record in storage.records.scan(Table.OUTBOX):
        since = record.values.get("published_at", record.values["stored_at"])
        if not isinstance(since, datetime) or since > now - older_than:
            continue
        with suppress(WriteConflict):  # Another sweep publishes it, or it is routed by now.
            storage.records.merge(Table.OUTBOX, record.key, {"published_at": now}, etag=record.etag)
            overdue.append(_to_request(record).to_json())
    if overdue:
        _log.warning("%d arrivals were in the outbox for over %s; they are published again", len(overdue), older_than)
        storage.queues[QueueName.ROUTE_REQUESTS].put_many(overdue)
    return len(overdue)


def _to_request(record: Record) -> RouteRequest:
    values = record.values
    traceparent = str(values.get("traceparent", ""))
    if not values.get("replay"):
        return RouteRequest(record.key, retries=1, traceparent=traceparent)  # An attempt may have been made.
    replay = ReplayRequest(str(values["replay"]), str(values.get("reissue", "")))
    return RouteRequest(str(values["arrival"]), traceparent=traceparent, replay=replay)
