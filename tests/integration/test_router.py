"""Routing that is interrupted, repeated or dead-lettered (docs/explanation/receipts.md, "When something fails"; rules
8.1, 8.4).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from shared.dispatch.outbox import Replay, publish_replays
from shared.documents.blob_paths import raw_path
from shared.errors import MessageMissing, TransientError
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import State
from shared.storage.base import QueueName, Table
from tests.integration.routing_fixture import (
    InterceptedCalls,
    RoutingFixture,
    letter,
    process_gone_at,
    raise_process_gone,
)
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled
from tests.servers.memory_app import let_time_pass
from tests.servers.pump import poll, work_until_idle


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    fixture = RoutingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def test_8_1_a_kill_between_claim_and_result_is_finished_by_the_next_try(world: RoutingFixture) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    world.run_until_killed("support", blobs=InterceptedCalls(world.stores.blobs, create=process_gone_at("routed/")))
    assert world.results() == []
    assert list(world.stores.records.scan(Table.CLAIMS))
    work_until_idle(world.app())
    assert world.results() == [("support", "support@example.com")]
    assert world.paths("duplicates/") == []
    assert not list(world.stores.records.scan(Table.OUTBOX))


def test_8_1_a_kill_between_claim_and_result_is_finished_by_sweep(world: RoutingFixture) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    world.run_until_killed("support", blobs=InterceptedCalls(world.stores.blobs, create=process_gone_at("routed/")))
    world.drop_route_requests()
    world.time += timedelta(minutes=61)
    app = world.app()
    assert app.router.sweep() == 1
    work_until_idle(app)
    assert world.results() == [("support", "support@example.com")]
    assert app.router.sweep() == 0


def test_8_1_a_lost_route_request_after_a_kill_at_any_operation_is_finished_by_sweep(world: RoutingFixture) -> None:
    """The outbox entry is the last to be deleted."""
    for at in count(1):
        world.servers["support"].deliver(letter("support@example.com", subject=str(at)))
        world.app().poller.poll(Poll("support", PollReason.MANUAL))
        [outbox] = [receipt.outbox for receipt in world.receipts() if receipt.state is State.STORED]
        faults = FaultInjector(at, FailureMode.GONE_AFTER)
        with suppress(ProcessKilled):
            world.app(faults.stores(world.stores)).router.route(RouteRequest(outbox))
        world.drop_route_requests()
        app = world.app()
        app.router.sweep(timedelta(0))
        work_until_idle(app)
        assert {receipt.state for receipt in world.receipts()} == {State.ROUTED}, at
        if faults.count < at:
            return


def test_8_1_a_copy_that_comes_between_claim_and_result_is_the_duplicate(world: RoutingFixture) -> None:
    data = letter("sales@example.com")
    world.servers["support"].deliver(data)
    world.run_until_killed("support", blobs=InterceptedCalls(world.stores.blobs, create=process_gone_at("routed/")))
    world.drop_route_requests()
    world.servers["office"].deliver(data)
    world.run("office")
    assert world.results() == []
    [path] = world.paths("duplicates/office/")
    world.time += timedelta(hours=2)
    app = world.app()
    app.router.sweep()
    work_until_idle(app)
    assert world.paths("routed/") == [world.read(path)["duplicates"][0]["duplicate_of"]["result"]]


def test_8_1_a_kill_between_receipt_and_route_request_is_finished_by_the_next_poll(world: RoutingFixture) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    queues = {
        **world.stores.queues,
        QueueName.ROUTE_REQUESTS: InterceptedCalls(world.stores.queues["route-requests"], put_many=raise_process_gone),
    }
    world.run_until_killed("support", queues=queues)
    assert [receipt.state for receipt in world.receipts()] == [State.STORED]
    assert len(world.servers["support"].messages) == 1
    world.run("support")
    assert world.servers["support"].downloads == 1
    assert world.servers["support"].messages == {}
    assert world.results() == [("support", "support@example.com")]


def test_8_1_a_kill_between_receipt_and_route_request_is_finished_by_sweep_after_an_hour(world: RoutingFixture) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    queues = {
        **world.stores.queues,
        QueueName.ROUTE_REQUESTS: InterceptedCalls(world.stores.queues["route-requests"], put_many=raise_process_gone),
    }
    app = world.app(replace(world.stores, queues=queues))
    poll(app, "support")
    with suppress(ProcessKilled):
        work_until_idle(app)
    router = world.app().router
    world.time += timedelta(minutes=59)
    assert router.sweep() == 0
    world.time += timedelta(minutes=2)
    assert router.sweep() == 1
    work_until_idle(replace(world.app(), poller=replace(app.poller, mailboxes={})))
    assert world.results() == [("support", "support@example.com")]


def test_a_retry_after_midnight_writes_the_same_paths(world: RoutingFixture) -> None:
    world.servers["support"].deliver(
        letter("support@example.com"), letter("nobody@example.com"), letter("sales@example.com")
    )
    world.run_until_killed("support", blobs=InterceptedCalls(world.stores.blobs, create=process_gone_at("routed/")))
    world.time += timedelta(days=1)
    work_until_idle(world.app())
    paths = [*world.paths("routed/"), *world.paths("unhandled/")]
    assert len(paths) == 3
    assert all("/2026/11/23/" in path for path in paths)
    claims = {str(record.values["result"]) for record in world.stores.records.scan(Table.CLAIMS)}
    assert claims == set(world.paths("routed/"))


def test_a_route_renamed_between_two_attempts_leaves_the_result_at_the_claimed_path(world: RoutingFixture) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    world.run_until_killed("support", blobs=InterceptedCalls(world.stores.blobs, create=process_gone_at("routed/")))
    world.values = {name.replace("ROUTES__support", "ROUTES__helpdesk"): v for name, v in world.values.items()}
    work_until_idle(world.app())
    [path] = world.paths("routed/")
    assert path.startswith("routed/support/2026/11/23/")
    [receipt] = world.receipts()
    assert receipt.outcomes == {"support@example.com": f"routed {path}"}


def test_routing_twice_leaves_what_routing_once_leaves(world: RoutingFixture) -> None:
    world.servers["support"].deliver(letter("support@example.com, sales@example.com"), letter("nobody@example.com"))
    world.run("support")
    before = {path: world.stores.blobs.read(path) for path in world.paths("")}
    app = world.app()
    for receipt in world.receipts():
        assert app.router.route(RouteRequest(receipt.outbox)) == []
        # As if the worker had died just before it concluded the arrival.
        stored = replace(receipt, state=State.STORED, outcome="")
        world.stores.records.merge(Table.RECEIPTS, receipt.arrival, {"state": State.STORED.value, "outcome": ""})
        world.stores.records.create(Table.OUTBOX, receipt.outbox, stored.to_outbox_values(""))
        world.time += timedelta(days=1)
        assert app.router.route(RouteRequest(receipt.outbox)) == [receipt.outcome]
    assert {path: world.stores.blobs.read(path) for path in world.paths("")} == before


def stored(world: RoutingFixture, data: bytes) -> RouteRequest:
    """Store a message in `support` without routing it."""
    world.servers["support"].deliver(data)
    app = world.app()
    poll(app, "support")
    queue = world.stores.queues[QueueName.POLLS]
    for item in queue.receive(4, hidden_for=60):
        app.poller.poll(Poll.from_json(item.body))
        queue.delete(item)
    world.drop_route_requests()
    [receipt] = world.receipts()
    return RouteRequest(receipt.outbox)


def test_8_4_a_dead_letter_names_the_message_and_the_error(
    world: RoutingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    route_request = stored(world, letter("support@example.com"))

    def read(_data: object) -> None:
        raise ValueError("an unexpected error")

    app = world.app()
    router = replace(app.router, parse=read)  # type: ignore[arg-type]  # a reader that raises gives no message
    with pytest.raises(ValueError, match="an unexpected error") as caught:
        router.route(route_request)
    router.record_error(route_request, caught.value)
    world.time += timedelta(days=2)
    [path] = router.dead_letter(route_request)
    [receipt] = world.receipts()
    assert path == f"failed/support/2026/11/23/{receipt.message}-{receipt.arrival[:12]}.json"
    assert world.paths("failed/") == [path]
    document = world.read(path)
    assert document["error"] == "an unexpected error: ValueError"
    assert document["arrival"]["mailbox"] == "support"
    assert (receipt.state, receipt.last_error) == (State.FAILED, "an unexpected error: ValueError")
    assert [record.getMessage().split(":")[0] for record in caplog.records if record.levelno == logging.ERROR] == [
        "message-failed"
    ]
    assert world.stores.blobs.exists(raw_path(receipt.message)), "the raw bytes are never lost"
    assert not list(world.stores.records.scan(Table.OUTBOX))
    assert router.sweep(timedelta(0)) == 0
    assert router.dead_letter(route_request) == []
    assert world.paths("failed/") == [path], "reported twice, recorded once"


def test_8_4_a_message_that_was_routed_after_all_is_not_dead_lettered(world: RoutingFixture) -> None:
    route_request = stored(world, letter("support@example.com"))
    app = world.app()
    assert app.router.route(route_request) == ["routed"]
    assert app.router.dead_letter(route_request) == []
    assert world.receipts()[0].state is State.ROUTED
    assert world.paths("failed/") == []


def test_8_4_an_arrival_without_a_receipt_leaves_no_record(
    world: RoutingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    router = world.app().router
    replay = Replay("ab" * 32, "support", "failed/x")
    publish_replays(world.stores, [replay], world.time)
    request = RouteRequest(replay.outbox)
    with pytest.raises(MessageMissing) as caught:
        router.route(request)
    router.record_error(request, caught.value)
    assert router.dead_letter(request) == []
    assert "message-failed" in caplog.text
    assert world.receipts() == []
    assert not list(world.stores.records.scan(Table.OUTBOX))


def test_a_route_request_whose_entry_is_gone_does_nothing(
    world: RoutingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    router = world.app().router
    for request in (RouteRequest("ab" * 32), RouteRequest("ab" * 8)):
        assert router.route(request) == []
        assert router.route(request, tried=True) == []
        router.record_error(request, MessageMissing("no receipt"))
        assert router.dead_letter(request) == []
    assert world.receipts() == []
    assert world.stores.queues[QueueName.ROUTE_REQUESTS].length() == 0
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_8_4_the_dead_letter_of_a_receipt_without_bytes_says_so(world: RoutingFixture) -> None:
    route_request = stored(world, letter("support@example.com"))
    [receipt] = world.receipts()
    (world.folder / "mail" / raw_path(receipt.message)).unlink(missing_ok=True)
    (world.folder / raw_path(receipt.message)).unlink(missing_ok=True)
    router = world.app().router
    with pytest.raises(MessageMissing, match=re.escape(raw_path(receipt.message))) as caught:
        router.route(route_request)
    router.record_error(route_request, caught.value)
    [path] = router.dead_letter(route_request)
    assert raw_path(receipt.message) in world.read(path)["error"]


def test_mail_of_a_mailbox_with_invalid_settings_waits(world: RoutingFixture) -> None:
    route_request = stored(world, letter("support@example.com"))
    app = world.app(faulty={"support": ("MAILBOXES__support__HOST is missing",)})
    with pytest.raises(TransientError) as caught:
        app.router.route(route_request)
    app.router.requeue(route_request, caught.value)
    queue = world.stores.queues[QueueName.ROUTE_REQUESTS]
    assert queue.receive(4, hidden_for=1) == [], "not before its pause is over"
    let_time_pass(world.folder)
    [item] = queue.receive(4, hidden_for=600)
    assert RouteRequest.from_json(item.body) == replace(route_request, retries=1)
    assert world.receipts()[0].state is State.STORED
    app = world.app()
    app.router.route(RouteRequest.from_json(item.body))
    assert world.results() == [("support", "support@example.com")]
