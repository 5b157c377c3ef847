"""Batches of arrivals (docs/explanation/receipts.md, "Dispatch"): failures of single arrivals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from shared.bootstrap import App
from shared.documents.blob_paths import parsed_path, raw_path
from shared.errors import ServiceUnavailable
from shared.keys import batch_prefix
from shared.mime.parser import parse
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import Change, NewBlob, Table
from tests.end_to_end.command import identity
from tests.integration.batch_fixture import (
    RETRY_SECONDS,
    SIXTEEN,
    TRIES,
    VICTIM,
    BatchFixture,
    changes_of,
    failing_for,
    with_commits,
)
from tests.integration.routing_fixture import InterceptedCalls
from tests.servers.faults import FaultInjector, ProcessKilled


@pytest.fixture
def world(storage: str) -> Iterator[BatchFixture]:
    fixture = BatchFixture(storage)
    yield fixture
    fixture.stores.close()


class Sabotage:
    """The ways in which one arrival of a batch fails."""

    @staticmethod
    def parser_raises(world: BatchFixture, _victim: Receipt) -> App:
        app = world.app()
        return world.app(parse=failing_for(SIXTEEN[VICTIM], ValueError("an unexpected error"), app.router.parse))

    @staticmethod
    def raw_bytes_missing(world: BatchFixture, victim: Receipt) -> App:
        world.stores.blobs.delete_many([raw_path(victim.message)])
        return world.app()

    @staticmethod
    def routes_invalid(world: BatchFixture, victim: Receipt) -> App:
        """Make the routes invalid for as long as the victim is decided."""
        order = sorted(receipt.outbox for receipt in world.receipts())
        calls, routes = count(), world.app().router.route_table_for
        return world.app(
            route_table_for=lambda mailbox: None if next(calls) == order.index(victim.outbox) else routes(mailbox)
        )

    @staticmethod
    def claim_unavailable(world: BatchFixture, victim: Receipt) -> App:
        """Make the common transaction fail as if a claim existed, and the victim's own transaction raise."""

        def claim(changes: Sequence[Change]) -> bool | None:
            owners = {getattr(change, "values", {}).get("owner") for change in changes_of(changes, Table.CLAIMS)}
            if owners == {victim.arrival}:
                raise ServiceUnavailable("storage is unavailable")
            return False if victim.arrival in owners else None

        return with_commits(world, claim)

    @staticmethod
    def message_refused(world: BatchFixture, victim: Receipt) -> App:
        """Let the storage refuse a blob of the victim for good."""
        return with_refused_blob(world, parsed_path(victim.message), ValueError("not a valid blob"))

    @staticmethod
    def result_refused(world: BatchFixture, victim: Receipt) -> App:
        """Let the storage refuse the victim's result for good."""
        return with_refused_blob(world, f"/{victim.message}-", ValueError("not a valid blob"))


def with_refused_blob(world: BatchFixture, part: str, error: Exception, refused: list[int] | None = None) -> App:
    """Return an app whose storage refuses a call that creates a blob with this text in its path, and creates none.

    Args:
        world: the fixture.
        part: the text.
        error: what the refused call raises.
        refused: gets the number of blobs of each refused call.
    """

    def refuse(blobs: Sequence[NewBlob]) -> None:
        if any(part in blob.path for blob in blobs):
            if refused is not None:
                refused.append(len(blobs))
            raise error

    blobs: Any = InterceptedCalls(world.stores.blobs, create_many=refuse)
    return world.app(replace(world.stores, blobs=blobs))


@pytest.mark.parametrize(
    ("sabotage", "delay", "error"),
    [
        (Sabotage.message_refused, RETRY_SECONDS, "an unexpected error: ValueError"),
        (Sabotage.result_refused, RETRY_SECONDS, "an unexpected error: ValueError"),
        (Sabotage.parser_raises, RETRY_SECONDS, "an unexpected error: ValueError"),
        (Sabotage.raw_bytes_missing, RETRY_SECONDS, "no raw bytes"),
        (Sabotage.routes_invalid, 300, ""),
        (Sabotage.claim_unavailable, 30, ""),
    ],
)
def test_8_4_an_arrival_that_fails_is_requeued_alone_and_the_others_are_routed(
    world: BatchFixture, sabotage: Callable[[BatchFixture, Receipt], App], delay: float, error: str
) -> None:
    receipts = world.store(*SIXTEEN)
    victim = receipts[VICTIM]
    app = sabotage(world, victim)
    world.run_host(app)
    current = world.current(receipts)
    assert [item.state for item in current] == [State.ROUTED] * VICTIM + [State.STORED] + [State.ROUTED] * 8
    assert error in current[VICTIM].last_error
    assert bool(error) == bool(current[VICTIM].last_error), "a transient error is not the message's"
    assert all(not item.last_error for item in current if item.state is State.ROUTED)
    assert world.entries() == {victim.outbox}
    assert [RouteRequest.from_json(body) for body in world.queue.bodies()] == [RouteRequest(victim.outbox, 1)]
    assert world.queue.hidden() == [delay]
    world.stores.blobs.create(raw_path(victim.message), SIXTEEN[VICTIM], content_type="message/rfc822")
    world.run_until_idle(world.app())
    assert world.results() == Counter({("sales@example.com", identity(data)): 1 for data in SIXTEEN})
    world.assert_all_routed()
    assert world.receipts()[0].last_error == ""


@pytest.mark.parametrize("table", [Table.CLAIMS, Table.RECEIPTS], ids=["claims", "conclusion"])
def test_a_batch_is_published_again_as_a_whole_after_storage_was_unavailable(world: BatchFixture, table: Table) -> None:
    request, _ = world.store_batch(*SIXTEEN)

    def unavailable(changes: Sequence[Change]) -> bool | None:
        if changes_of(changes, table):
            raise ServiceUnavailable("storage is unavailable")
        return None

    assert with_commits(world, unavailable).router.route(request) == []
    world.seconds += 31
    [again] = world.take_requests()
    assert again == replace(request, retries=1)
    assert len(world.app().router.route(again)) == len(SIXTEEN)
    world.assert_all_routed()


@pytest.mark.parametrize("part", ["message.json", "routed/"])
def test_a_batch_is_published_again_as_a_whole_after_no_blob_could_be_created(world: BatchFixture, part: str) -> None:
    request, _ = world.store_batch(*SIXTEEN)
    refused: list[int] = []
    app = with_refused_blob(world, part, ServiceUnavailable("storage is unavailable"), refused)
    assert app.router.route(request) == []
    assert refused == [len(SIXTEEN)], "not once more for each message"
    assert not world.results()
    world.seconds += 31
    [again] = world.take_requests()
    assert again == replace(request, retries=1)
    assert len(world.app().router.route(again)) == len(SIXTEEN)
    world.assert_all_routed()
    assert world.results() == Counter({("sales@example.com", identity(data)): 1 for data in SIXTEEN})


def test_8_4_an_arrival_that_fails_in_a_batch_has_five_tries_of_its_own(world: BatchFixture) -> None:
    receipts = world.store(*SIXTEEN)
    victim = receipts[VICTIM]
    parsed: Counter[str] = Counter()

    def read(data: Any) -> Any:
        parsed[identity(bytes(data))] += 1
        return failing_for(SIXTEEN[VICTIM], ValueError("an unexpected error"), parse)(data)

    app = world.app(parse=read)
    world.run_host(app)
    for number in range(1, TRIES + 1):
        assert world.run_host(app) == [], "not before a minute has passed"
        assert world.poison.bodies() == []
        world.seconds += RETRY_SECONDS
        [item] = world.run_host(app)
        assert (item.dequeue_count, RouteRequest.from_json(item.body)) == (number, RouteRequest(victim.outbox, 1))
    assert world.queue.bodies() == []
    [path] = world.run_poison(app)
    assert world.paths("failed/") == [path]
    assert world.read(path)["error"] == "an unexpected error: ValueError"
    assert parsed == {identity(data): TRIES + 1 if data == SIXTEEN[VICTIM] else 1 for data in SIXTEEN}
    states = Counter(item.state for item in world.receipts())
    assert states == {State.ROUTED: 15, State.FAILED: 1}
    assert world.entries() == set()
    assert sum(world.results().values()) == 15


def test_8_4_a_message_that_ends_its_worker_costs_the_others_no_try(world: BatchFixture) -> None:
    receipts = world.store(*SIXTEEN)
    app = world.app(parse=failing_for(SIXTEEN[VICTIM], ProcessKilled(), parse))
    with pytest.raises(ProcessKilled):
        world.run_host(app)
    assert world.results() == Counter()
    world.seconds += 600
    [batch] = world.run_host(app)
    assert batch.dequeue_count == 2
    requests = [RouteRequest.from_json(body) for body in world.queue.bodies()]
    assert Counter(requests) == Counter(RouteRequest(receipt.outbox, 1) for receipt in receipts)
    assert set(world.queue.hidden()) == {0}
    assert world.results() == Counter(), "it only requeues"
    for item in world.queue.receive(32, hidden_for=600):
        request = RouteRequest.from_json(item.body)
        if request.outbox == receipts[VICTIM].outbox:
            with pytest.raises(ProcessKilled):
                app.router.route(request)
        else:
            assert app.router.route(request) == ["routed"]
            world.queue.delete(item)
    assert sum(world.results().values()) == 15
    assert world.entries() == {receipts[VICTIM].outbox}
    world.run_until_idle(world.app())
    world.assert_all_routed()


def test_a_second_delivery_requeues_the_remaining_arrivals_alone(world: BatchFixture) -> None:
    request, receipts = world.store_batch(*SIXTEEN)
    app = world.app()
    for receipt in receipts[:3]:
        assert app.router.route(RouteRequest(receipt.outbox)) == ["routed"]
    operations = FaultInjector()
    assert world.app(operations.stores(world.stores)).router.route(request, tried=True) == []
    assert operations.names == ["scan", "put_many"]
    requests = [RouteRequest.from_json(body) for body in world.queue.bodies()]
    assert Counter(requests) == Counter(RouteRequest(receipt.outbox, 1) for receipt in receipts[3:])
    assert set(world.queue.hidden()) == {0}
    world.run_host(app)
    world.assert_all_routed()
    assert world.queue.bodies() == []
    assert app.router.route(request, tried=True) == []
    assert world.queue.bodies() == []


def test_the_last_arrival_of_a_batch_is_routed_at_a_second_delivery(world: BatchFixture) -> None:
    request, receipts = world.store_batch(*SIXTEEN[:2])
    app = world.app()
    assert app.router.route(RouteRequest(receipts[0].outbox)) == ["routed"]
    assert app.router.route(request, tried=True) == ["routed"]
    world.assert_all_routed()


def test_the_next_delivery_repeats_a_requeue_that_failed(world: BatchFixture) -> None:
    receipts = world.store(*SIXTEEN)
    app = world.app(parse=failing_for(SIXTEEN[VICTIM], ValueError("an unexpected error"), parse))
    world.queue.failing["put_many"] = 1
    world.run_host(app)  # The batch's own request is published again.
    assert [RouteRequest.from_json(body).outbox for body in world.queue.bodies()] == [batch_prefix(receipts[0].outbox)]
    world.seconds += 30
    with pytest.raises(ValueError, match="an unexpected error"):  # It names one arrival by now.
        app.router.route(world.take_requests()[0])
    assert world.entries() == {receipts[VICTIM].outbox}
    assert sum(world.results().values()) == 15
