"""The stand-in's notifications: whole, lost, doubled, late, out of order, tried again; and lifecycle events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graph_simulator import FaultPlan
from tests.integration.simulator_support import Place, Receiver, letter, receiving, standing
from tests.servers.certificates import Ca


@pytest.fixture
def place(ca: Ca, tmp_path: Path) -> Iterator[Place]:
    with standing(ca, tmp_path, FaultPlan(seed=11)) as found:
        found.graph.notifier.pauses = (0.01, 0.01)
        yield found


@pytest.fixture
def receiver(place: Place) -> Iterator[Receiver]:
    with receiving() as found:
        assert place.subscribe(found.url).status_code == 201
        yield found


def told(receiver: Receiver) -> list[str]:
    return [each["resourceData"]["id"] for each in receiver.entries]


def test_a_new_message_is_announced(place: Place, receiver: Receiver) -> None:
    message = place.box.deliver(letter())
    place.graph.settle(5)
    (entry,) = receiver.entries
    (subscription,) = place.graph.subscriptions
    assert entry["subscriptionId"] == subscription.id
    assert (entry["changeType"], entry["clientState"], entry["tenantId"]) == ("created", "secret", place.graph.tenant)
    assert entry["resource"] == f"Users/{place.box.store.id}/Messages/{message}"
    assert entry["resourceData"]["id"] == message
    assert place.graph.notifications_sent == 1
    ((status, seconds),) = place.graph.notification_answers
    assert status == 202
    assert 0 < seconds < 5


def test_only_the_folder_and_the_kind_that_were_asked_for(place: Place, receiver: Receiver) -> None:
    message = place.box.deliver(letter(), "Inbox/Orders")
    place.box.deliver(letter(), "Archive")
    place.box.mark_read(message)
    place.box.delete(message)
    place.graph.settle(5)
    assert receiver.entries == []
    place.box.move(message, "Inbox")
    place.graph.settle(5)
    assert told(receiver) == [message]


def test_every_kind_of_change_is_told(place: Place) -> None:
    with receiving() as receiver:
        place.subscribe(receiver.url, changeType="created,updated,deleted")
        message = place.box.deliver(letter())
        place.box.mark_read(message)
        place.box.delete(message)
        place.graph.settle(5)
        assert sorted(each["changeType"] for each in receiver.entries) == ["created", "deleted", "updated"]


def test_without_the_preference_ids_are_mutable(place: Place) -> None:
    with receiving() as receiver:
        body = {
            "changeType": "created",
            "notificationUrl": receiver.url,
            "resource": "users/support@example.com/mailFolders('inbox')/messages",
            "expirationDateTime": "2999-01-01T00:00:00Z",
        }
        place.graph.longest_subscription = 10**9
        assert place.ask("POST", "/subscriptions", json=body, headers={"Prefer": ""}).status_code == 201
        place.box.deliver(letter())
        place.graph.settle(5)
        assert told(receiver) == place.box.ids(immutable=False)


def test_many_come_in_batches(place: Place, receiver: Receiver) -> None:
    ids = [place.box.deliver(letter(each)) for each in range(10)]
    place.graph.settle(5)
    assert sorted(told(receiver)) == sorted(ids)
    assert max(len(each) for each in receiver.requests) <= 4


def test_some_are_lost(place: Place, receiver: Receiver) -> None:
    place.graph.trouble.lose = 0.3
    for each in range(50):
        place.box.deliver(letter(each))
    place.graph.settle(5)
    assert 5 < place.graph.notifications_lost < 30
    assert len(receiver.entries) == place.graph.notifications_sent == 50 - place.graph.notifications_lost


def test_all_come_twice(place: Place, receiver: Receiver) -> None:
    place.graph.trouble.double = 1.0
    message = place.box.deliver(letter())
    place.graph.settle(5)
    assert told(receiver) == [message, message]


def test_late_and_out_of_order(place: Place, receiver: Receiver) -> None:
    place.graph.trouble.delay = (0.3, 0.3)
    place.graph.trouble.reorder = True
    began = time.monotonic()
    ids = [place.box.deliver(letter(each)) for each in range(4)]
    with pytest.raises(TimeoutError):
        place.graph.settle(0.05)
    assert receiver.entries == []
    place.graph.settle(5)
    assert time.monotonic() - began >= 0.3
    assert sorted(told(receiver)) == sorted(ids)


def test_a_receiver_that_fails_is_asked_again(place: Place, receiver: Receiver) -> None:
    receiver.statuses = [500, 503, 202]
    place.box.deliver(letter())
    place.graph.settle(5)
    assert [status for status, _ in place.graph.notification_answers] == [500, 503, 202]
    assert (place.graph.notifications_sent, place.graph.notifications_lost) == (1, 0)


@pytest.mark.parametrize(("statuses", "attempts"), [([500] * 9, 3), ([404], 1), ([413], 1)])
def test_a_receiver_that_will_not_is_given_up(
    place: Place, receiver: Receiver, statuses: list[int], attempts: int
) -> None:
    receiver.statuses = statuses
    place.box.deliver(letter())
    place.graph.settle(5)
    assert len(place.graph.notification_answers) == attempts
    assert (place.graph.notifications_sent, place.graph.notifications_lost) == (0, 1)


def test_a_receiver_that_is_gone_is_given_up(place: Place) -> None:
    with receiving() as receiver:
        place.subscribe(receiver.url)
    place.box.deliver(letter())
    place.graph.settle(5)
    assert [status for status, _ in place.graph.notification_answers] == [0, 0, 0]
    assert place.graph.notifications_lost == 1


def test_a_message_is_announced_before_it_can_be_seen(place: Place, receiver: Receiver) -> None:
    place.graph.trouble.hidden_for = 30
    message = place.box.deliver(letter())
    place.graph.settle(5)
    assert told(receiver) == [message]
    assert place.get(place.message(message)).status_code == 404


def test_lifecycle_events(place: Place, receiver: Receiver) -> None:
    (subscription,) = place.graph.subscriptions
    place.graph.send_lifecycle("reauthorizationRequired")
    place.graph.send_lifecycle("missed", "SUPPORT@example.com")
    place.graph.send_lifecycle("missed", "other@example.com")
    place.graph.settle(5)
    assert sorted(each["lifecycleEvent"] for each in receiver.entries) == ["missed", "reauthorizationRequired"]
    assert {each["subscriptionId"] for each in receiver.entries} == {subscription.id}
    assert {each["clientState"] for each in receiver.entries} == {"secret"}
    assert len(place.graph.subscriptions) == 1
    place.graph.send_lifecycle("subscriptionRemoved")
    place.graph.settle(5)
    assert receiver.entries[-1]["lifecycleEvent"] == "subscriptionRemoved"
    assert place.graph.subscriptions == []
    with pytest.raises(ValueError, match="nonsense"):
        place.graph.send_lifecycle("nonsense")


def test_subscriptions_can_be_dropped_without_a_word(place: Place, receiver: Receiver) -> None:
    place.graph.drop_subscriptions("other@example.com")
    assert len(place.graph.subscriptions) == 1
    place.graph.drop_subscriptions("support@example.com")
    place.box.deliver(letter())
    place.graph.settle(5)
    assert (place.graph.subscriptions, receiver.entries) == ([], [])


def test_dropped_subscriptions_may_be_told_of(place: Place, receiver: Receiver) -> None:
    place.graph.drop_subscriptions(notify=True)
    place.graph.settle(5)
    assert [each["lifecycleEvent"] for each in receiver.entries] == ["subscriptionRemoved"]
