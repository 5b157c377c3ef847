"""The simulator's notifications: lost, duplicated, delayed, reordered, retried; and lifecycle events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graph_simulator import FaultPlan
from tests.integration.simulator_support import Receiver, SimulatorFixture, letter, running_receiver, running_simulator
from tests.servers.certificates import Ca


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path, FaultPlan(seed=11)) as fixture:
        fixture.graph.notifier.retry_delays = (0.01, 0.01)
        yield fixture


@pytest.fixture
def receiver(sim: SimulatorFixture) -> Iterator[Receiver]:
    with running_receiver() as receiver:
        assert sim.subscribe(receiver.url).status_code == 201
        yield receiver


def notified_ids(receiver: Receiver) -> list[str]:
    return [item["resourceData"]["id"] for item in receiver.entries]


def test_a_new_message_is_notified(sim: SimulatorFixture, receiver: Receiver) -> None:
    message = sim.box.deliver(letter())
    sim.graph.settle(5)
    (entry,) = receiver.entries
    (subscription,) = sim.graph.subscriptions
    assert entry["subscriptionId"] == subscription.id
    assert (entry["changeType"], entry["clientState"], entry["tenantId"]) == ("created", "secret", sim.graph.tenant)
    assert entry["resource"] == f"Users/{sim.box.store.id}/Messages/{message}"
    assert entry["resourceData"]["id"] == message
    assert sim.graph.notifications_sent == 1
    ((status, seconds),) = sim.graph.notification_responses
    assert status == 202
    assert 0 < seconds < 5


def test_only_the_subscribed_folder_and_kind_are_notified(sim: SimulatorFixture, receiver: Receiver) -> None:
    message = sim.box.deliver(letter(), "Inbox/Orders")
    sim.box.deliver(letter(), "Archive")
    sim.box.mark_read(message)
    sim.box.delete(message)
    sim.graph.settle(5)
    assert receiver.entries == []
    sim.box.move(message, "Inbox")
    sim.graph.settle(5)
    assert notified_ids(receiver) == [message]


def test_every_subscribed_kind_of_change_is_notified(sim: SimulatorFixture) -> None:
    with running_receiver() as receiver:
        sim.subscribe(receiver.url, changeType="created,updated,deleted")
        message = sim.box.deliver(letter())
        sim.box.mark_read(message)
        sim.box.delete(message)
        sim.graph.settle(5)
        assert sorted(item["changeType"] for item in receiver.entries) == ["created", "deleted", "updated"]


def test_without_the_preference_ids_are_mutable(sim: SimulatorFixture) -> None:
    with running_receiver() as receiver:
        body = {
            "changeType": "created",
            "notificationUrl": receiver.url,
            "resource": "users/support@example.com/mailFolders('inbox')/messages",
            "expirationDateTime": "2999-01-01T00:00:00Z",
        }
        sim.graph.max_subscription_minutes = 10**9
        assert sim.ask("POST", "/subscriptions", json=body, headers={"Prefer": ""}).status_code == 201
        sim.box.deliver(letter())
        sim.graph.settle(5)
        assert notified_ids(receiver) == sim.box.ids(immutable=False)


def test_notifications_are_sent_in_batches(sim: SimulatorFixture, receiver: Receiver) -> None:
    ids = [sim.box.deliver(letter(number)) for number in range(10)]
    sim.graph.settle(5)
    assert sorted(notified_ids(receiver)) == sorted(ids)
    assert max(len(item) for item in receiver.requests) <= 4


def test_notifications_are_lost(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.graph.fault_plan.lose = 0.3
    for number in range(50):
        sim.box.deliver(letter(number))
    sim.graph.settle(5)
    assert 5 < sim.graph.notifications_lost < 30
    assert len(receiver.entries) == sim.graph.notifications_sent == 50 - sim.graph.notifications_lost


def test_notifications_are_duplicated(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.graph.fault_plan.duplicate = 1.0
    message = sim.box.deliver(letter())
    sim.graph.settle(5)
    assert notified_ids(receiver) == [message, message]


def test_notifications_are_delayed_and_reordered(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.graph.fault_plan.delay = (0.3, 0.3)
    sim.graph.fault_plan.reorder = True
    began = time.monotonic()
    ids = [sim.box.deliver(letter(number)) for number in range(4)]
    with pytest.raises(TimeoutError):
        sim.graph.settle(0.05)
    assert receiver.entries == []
    sim.graph.settle(5)
    assert time.monotonic() - began >= 0.3
    assert sorted(notified_ids(receiver)) == sorted(ids)


def test_a_failed_notification_is_retried(sim: SimulatorFixture, receiver: Receiver) -> None:
    receiver.statuses = [500, 503, 202]
    sim.box.deliver(letter())
    sim.graph.settle(5)
    assert [status for status, _ in sim.graph.notification_responses] == [500, 503, 202]
    assert (sim.graph.notifications_sent, sim.graph.notifications_lost) == (1, 0)


@pytest.mark.parametrize(("statuses", "attempts"), [([500] * 9, 3), ([404], 1), ([413], 1)])
def test_a_refused_notification_is_lost(
    sim: SimulatorFixture, receiver: Receiver, statuses: list[int], attempts: int
) -> None:
    receiver.statuses = statuses
    sim.box.deliver(letter())
    sim.graph.settle(5)
    assert len(sim.graph.notification_responses) == attempts
    assert (sim.graph.notifications_sent, sim.graph.notifications_lost) == (0, 1)


def test_a_notification_to_an_unreachable_receiver_is_lost(sim: SimulatorFixture) -> None:
    with running_receiver() as receiver:
        sim.subscribe(receiver.url)
    sim.box.deliver(letter())
    sim.graph.settle(5)
    assert [status for status, _ in sim.graph.notification_responses] == [0, 0, 0]
    assert sim.graph.notifications_lost == 1


def test_a_hidden_message_is_notified(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.graph.fault_plan.hidden_for = 30
    message = sim.box.deliver(letter())
    sim.graph.settle(5)
    assert notified_ids(receiver) == [message]
    assert sim.get(sim.message(message)).status_code == 404


def test_lifecycle_events_are_sent(sim: SimulatorFixture, receiver: Receiver) -> None:
    (subscription,) = sim.graph.subscriptions
    sim.graph.send_lifecycle("reauthorizationRequired")
    sim.graph.send_lifecycle("missed", "SUPPORT@example.com")
    sim.graph.send_lifecycle("missed", "other@example.com")
    sim.graph.settle(5)
    assert sorted(item["lifecycleEvent"] for item in receiver.entries) == ["missed", "reauthorizationRequired"]
    assert {item["subscriptionId"] for item in receiver.entries} == {subscription.id}
    assert {item["clientState"] for item in receiver.entries} == {"secret"}
    assert len(sim.graph.subscriptions) == 1
    sim.graph.send_lifecycle("subscriptionRemoved")
    sim.graph.settle(5)
    assert receiver.entries[-1]["lifecycleEvent"] == "subscriptionRemoved"
    assert sim.graph.subscriptions == []
    with pytest.raises(ValueError, match="nonsense"):
        sim.graph.send_lifecycle("nonsense")


def test_subscriptions_are_dropped_silently(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.graph.drop_subscriptions("other@example.com")
    assert len(sim.graph.subscriptions) == 1
    sim.graph.drop_subscriptions("support@example.com")
    sim.box.deliver(letter())
    sim.graph.settle(5)
    assert (sim.graph.subscriptions, receiver.entries) == ([], [])


def test_dropped_subscriptions_are_notified(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.graph.drop_subscriptions(notify=True)
    sim.graph.settle(5)
    assert [item["lifecycleEvent"] for item in receiver.entries] == ["subscriptionRemoved"]
