"""The outbox: the table of arrivals and replays whose route request is not done yet.

It makes the queue a transactional outbox: an entry is written before its route request is published, and deleted after
the request is done. So a lost queue message is published again. A stored arrival has an entry under its own key. Each
replay has an entry of its own, since it is another request and ends at another time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from shared.errors import WriteConflict
from shared.queue_messages import ReplayRequest, RouteRequest
from shared.storage.base import QueueName, Record, Storage, Table, Values

_log = logging.getLogger("mailroom.dispatch")


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
