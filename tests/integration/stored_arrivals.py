"""Arrivals of which a test chooses when each is routed, replayed or erased."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace

from shared.bootstrap import App
from shared.clock import utc_now
from shared.dispatch.outbox import Replay, read_entries
from shared.keys import batch_prefix
from shared.mailboxes.base import FetchResult, ListedMessage
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import Receipt
from shared.storage.base import Storage, Table
from tests.end_to_end.command import identity
from tests.integration.replay_fixture import ReplayFixture
from tests.servers.memory_mailbox import MemoryMailbox


class WholeBatches(MemoryMailbox):
    """A session that yields each batch as a whole, so that its arrivals have one route request."""

    def fetch(
        self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int
    ) -> Generator[list[FetchResult], None, None]:
        for batch in batches:
            yield [result for pair in super().fetch([batch], max_bytes=max_bytes) for result in pair]


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


def store_batch(
    world: ReplayFixture, app: App, *messages: bytes, mailbox: str = "support"
) -> tuple[RouteRequest, list[Receipt]]:
    """Deliver messages, and store them as one batch without routing them.

    Args:
        world: the fixture.
        app: the app that stores them.
        messages: the messages.
        mailbox: the mailbox to which they are delivered.

    Returns:
        The batch's route request, and the receipts in the order of the messages.
    """
    world.servers[mailbox].deliver(*messages)
    before = {receipt.arrival for receipt in world.receipts()}
    poller = replace(app.poller, connect=lambda settings: WholeBatches(world.servers[settings.name]))
    poller.poll(Poll(mailbox, PollReason.MANUAL))
    # A request that failed before may be visible again: it is retried after 30 seconds.
    (request,) = (request for request in world.take_route_requests() if not request.retries)
    receipts = [receipt for receipt in world.receipts() if receipt.arrival not in before]
    receipts.sort(key=lambda receipt: int(receipt.server_key.split(".")[1]))
    assert [receipt.message for receipt in receipts] == list(map(identity, messages))
    assert {batch_prefix(receipt.outbox) for receipt in receipts} == {batch_prefix(request.outbox)}
    return request, receipts
