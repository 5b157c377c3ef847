"""`forget` (rule 8.5) and a worker that still routes the message that is erased."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shared.dispatch.router import MessageRouter
from shared.documents.blob_paths import message_folder, parsed_path, raw_path
from shared.errors import MessageMissing, ServiceUnavailable
from shared.mime.parser import Message
from shared.observability import metric_names
from shared.queue_messages import Poll, PollReason
from shared.receipts import State
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import OFFICE_ONLY, TO_BOTH, dump_storage, run_forget
from tests.integration.replay_fixture import BOTH, ReplayFixture
from tests.integration.routing_fixture import InterceptedCalls
from tests.servers.telemetry import listen


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def test_8_5_a_late_error_is_not_recorded_in_a_bare_receipt(world: ReplayFixture) -> None:
    world.servers["support"].deliver(TO_BOTH)
    app = world.app(BOTH)
    app.poller.poll(Poll("support", PollReason.MANUAL))
    [route_request] = world.take_route_requests()
    app.router.route(route_request)
    run_forget(world, identity(TO_BOTH))
    app.router.record_error(route_request, MessageMissing(f"message {identity(TO_BOTH)} has no raw bytes"))
    assert identity(TO_BOTH) not in dump_storage(world.stores)


def test_8_5_a_late_worker_keeps_the_message_that_arrived_again(world: ReplayFixture) -> None:
    """It finds its arrival erased; the same bytes have arrived in another mailbox and were routed."""
    world.servers["support"].deliver(TO_BOTH)
    app = world.app(OFFICE_ONLY)
    app.poller.poll(Poll("support", PollReason.MANUAL))
    [route_request] = world.take_route_requests()
    slow = world.app(OFFICE_ONLY)

    def decided_then_forgotten(data: Any) -> Message:
        message = slow.router.parse(data)
        assert app.router.route(route_request) == ["routed"]
        run_forget(world, identity(TO_BOTH))
        return message

    def comes(prefix: str = "") -> None:
        if prefix == message_folder(identity(TO_BOTH)) and not world.servers["office"].messages and not come:
            come.append(prefix)
            world.poll_and_route(OFFICE_ONLY, TO_BOTH, mailbox="office")

    come: list[str] = []
    stores = replace(world.stores, blobs=InterceptedCalls(world.stores.blobs, list=comes))
    MessageRouter(stores, slow.router.route_table_for, decided_then_forgotten).route(route_request)
    assert come
    assert list(world.results()) == [("billing", "billing@example.com")]
    assert world.stores.blobs.exists(parsed_path(identity(TO_BOTH)))
    assert world.stores.blobs.exists(raw_path(identity(TO_BOTH)))


@pytest.mark.parametrize("routes", [BOTH, {}], ids=["routed", "unhandled"])
def test_8_5_after_a_late_worker_that_dies_its_results_are_deleted(
    world: ReplayFixture, routes: dict[str, str]
) -> None:
    world.servers["support"].deliver(TO_BOTH)
    app = world.app(routes)
    app.poller.poll(Poll("support", PollReason.MANUAL))
    [route_request] = world.take_route_requests()
    slow = world.app(routes)

    def decided_then_forgotten(data: Any) -> Message:
        message = slow.router.parse(data)
        app.router.route(route_request)
        run_forget(world, identity(TO_BOTH))
        return message

    def ill(_paths: object) -> None:
        raise ServiceUnavailable("storage is unavailable")

    stores = replace(world.stores, blobs=InterceptedCalls(world.stores.blobs, delete_many=ill))
    with pytest.raises(ServiceUnavailable):
        MessageRouter(stores, slow.router.route_table_for, decided_then_forgotten).route(route_request)
    assert list(world.stores.blobs.list())
    app.router.route(route_request)
    assert list(world.stores.blobs.list()) == []
    assert not [gone for gone in (identity(TO_BOTH), "@b.example", "sales@") if gone in dump_storage(world.stores)]


def test_8_5_a_worker_that_still_routes_it_rolls_back_its_results(world: ReplayFixture) -> None:
    """A second route request: the first was done, and the arrival erased, while this one was being handled."""
    world.servers["support"].deliver(TO_BOTH)
    app = world.app(BOTH)
    app.poller.poll(Poll("support", PollReason.MANUAL))
    [route_request] = world.take_route_requests()
    slow = world.app(BOTH)

    def decided_then_forgotten(data: object) -> object:
        message = slow.router.parse(data)
        assert app.router.route(route_request) == ["routed"]
        run_forget(world, identity(TO_BOTH))
        return message

    def counted() -> float:
        return sum(point.value for point in heard.points() if point.name == metric_names.RESULTS)

    heard = listen()
    before = counted()
    late = MessageRouter(world.stores, slow.router.route_table_for, decided_then_forgotten)  # type: ignore[arg-type]  # gives a message
    late.route(route_request)
    assert counted() - before == 2, "by the first worker, and not by the late one again"
    assert list(world.stores.blobs.list()) == []
    routes = dump_storage(world.stores)
    assert not [gone for gone in (identity(TO_BOTH), "@b.example", "sales@") if gone in routes]
    assert [receipt.state for receipt in world.receipts()] == [State.ERASED]
