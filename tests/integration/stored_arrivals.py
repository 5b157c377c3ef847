"""Arrivals of which a test chooses when each is routed, replayed or erased."""

from __future__ import annotations

from shared.clock import utc_now
from shared.dispatch.outbox import Replay, read_entries
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt
from shared.storage.base import Storage, Table


def current_receipt(stores: Storage, arrival: str) -> Receipt:
    """Return the receipt of an arrival as it is now."""
    record = stores.records.get(Table.RECEIPTS, arrival)
    assert record is not None
    return Receipt.from_record(record)


def arrival_of(stores: Storage, request: RouteRequest) -> Receipt:
    """Return the receipt of the only arrival that a route request names."""
    (entry,) = read_entries(stores.records, request)
    return current_receipt(stores, entry.arrival)


def route_request(arrival: Receipt, retries: int = 0) -> RouteRequest:
    """Return the route request of a stored arrival alone."""
    return RouteRequest(arrival.outbox, retries)


def replay_request(stores: Storage, arrival: Receipt, record: str, reissue: str = "") -> RouteRequest:
    """Create the outbox entry of a replay, and return its route request, which is not published."""
    replay = Replay(arrival.arrival, arrival.mailbox, record, reissue)
    stores.records.create_many(Table.OUTBOX, {replay.outbox: replay.to_outbox_values(utc_now())})
    return RouteRequest(replay.outbox)
