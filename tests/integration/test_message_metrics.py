"""Metrics and traces are right whatever fails: a removal, or a poll that meets waiting messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import RemovalRefused, ServiceUnavailable
from shared.graph_notifications.subscription_manager import SubscriptionRecord
from shared.observability import metric_names
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.storage.base import QueueName, Table
from tests.integration.intake_fixture import IntakeFixture, letter
from tests.servers.telemetry import TelemetryRecorder, listen


@pytest.fixture
def heard() -> TelemetryRecorder:
    return listen()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeFixture]:
    fixture = IntakeFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def counted(heard: TelemetryRecorder, name: str, **attributes: str) -> float:
    """Return the value of a counter in this process, which other tests share."""
    return sum(point.value for point in heard.points() if point.name == name and point.attributes == attributes)


def test_a_stored_message_is_counted_once_even_if_its_removal_fails(
    world: IntakeFixture, heard: TelemetryRecorder
) -> None:
    before = counted(heard, metric_names.COLLECTED, mailbox="support")
    world.server.refuses_removal = RemovalRefused("mailbox support: NO [NOPERM] no right to delete")
    world.server.deliver(letter(1), letter(2))
    world.poll()
    assert counted(heard, metric_names.COLLECTED, mailbox="support") - before == 2
    world.server.refuses_removal = None
    world.poll()
    assert world.server.messages == {}
    assert counted(heard, metric_names.COLLECTED, mailbox="support") - before == 2


def test_a_waiting_message_keeps_its_trace_when_its_request_is_published_again(
    world: IntakeFixture, heard: TelemetryRecorder
) -> None:
    def traces() -> list[str]:
        return [
            format(span.context.trace_id, "032x")
            for span in heard.spans()
            if span.name == "collect message" and span.context is not None
        ]

    before = len(traces())
    world.server.refuses_removal = RemovalRefused("mailbox support: NO")  # so that the next poll meets it again
    world.server.deliver(letter(1))
    world.app().poller.poll(Poll("support", PollReason.MANUAL))
    world.server.refuses_removal = None
    world.app().poller.poll(Poll("support", PollReason.MANUAL))
    (trace,) = traces()[before:]
    arrivals = world.stores.queues[QueueName.ROUTE_REQUESTS]
    route_requests = [RouteRequest.from_json(item.body) for item in arrivals.receive(32, hidden_for=60)]
    assert [request.retries for request in route_requests] == [0, 1]
    (entry,) = world.stores.records.scan(Table.OUTBOX)
    assert {request.outbox for request in route_requests} == {entry.key}
    assert str(entry.values["traceparent"]).split("-")[1] == trace


def test_every_poll_with_a_transient_error_is_counted_including_the_last(
    world: IntakeFixture, heard: TelemetryRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = counted(heard, metric_names.FAILURES, kind="ServiceUnavailable", where="mailbox")

    def ill(*_arguments: object, **_more: object) -> None:
        raise ServiceUnavailable("storage is unavailable")

    app = world.app()
    monkeypatch.setattr(type(app.poller.health), "record_contact", ill)
    for retries in range(6):
        app.poller.poll(Poll("support", PollReason.FOLLOW_UP, retries))
    assert counted(heard, metric_names.FAILURES, kind="ServiceUnavailable", where="mailbox") - before == 6


def test_a_subscription_that_fails_is_counted(world: IntakeFixture, heard: TelemetryRecorder) -> None:
    before = counted(heard, metric_names.FAILURES, kind="ServiceUnavailable", where="subscription")
    subscriptions = world.app().subscriptions
    subscriptions._record_failure(
        SubscriptionRecord(mailbox="support", folder="INBOX"), ServiceUnavailable("Graph is unavailable")
    )
    assert counted(heard, metric_names.FAILURES, kind="ServiceUnavailable", where="subscription") - before == 1
