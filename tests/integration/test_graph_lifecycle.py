"""Lifecycle notifications: the subscription is renewed or recreated, or the mailbox is polled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.queue_messages import LifecycleEvent, LifecycleKind
from tests.integration.graph_fixture import SubscriptionFixture, graph_world
from tests.servers.graph import Graph


@pytest.fixture
def world(graph: Graph, tmp_path: Path) -> Iterator[SubscriptionFixture]:
    with graph_world(tmp_path / "mail", graph, support="support@example.com", office="office@example.com") as fixture:
        yield fixture


def live(world: SubscriptionFixture) -> list[str]:
    return sorted(subscription.id for subscription in world.graph.server.subscriptions)


def test_a_reauthorization_renews_the_subscription(world: SubscriptionFixture) -> None:
    world.reconcile()
    before = live(world)
    world.graph.server.send_lifecycle("reauthorizationRequired", "support@example.com")
    world.graph.server.settle()
    assert world.handle_lifecycle_events() == 1
    assert len(world.graph.request_lines("PATCH")) == 1
    assert live(world) == before


def test_a_reauthorization_recreates_a_missing_subscription(world: SubscriptionFixture) -> None:
    world.reconcile()
    world.graph.server.send_lifecycle("reauthorizationRequired", "support@example.com")
    world.graph.server.settle()
    world.graph.server.drop_subscriptions("support@example.com")
    world.polls()
    world.handle_lifecycle_events()
    assert len(live(world)) == 2
    assert [poll.mailbox for poll in world.polls()] == ["support"]


def test_a_removed_subscription_is_recreated_and_the_mailbox_polled(world: SubscriptionFixture) -> None:
    world.reconcile()
    world.polls()
    world.graph.server.drop_subscriptions("support@example.com", notify=True)
    world.graph.server.settle()
    events = world.lifecycle()
    for event in [*events, *events]:  # duplicated: the second event finds the new subscription
        world.app().subscriptions.handle_lifecycle_event(event)
    assert len(live(world)) == 2
    assert {poll.mailbox for poll in world.polls()} == {"support"}
    assert len(world.graph.request_lines("POST", "/subscriptions")) == 3


def test_a_missed_event_polls_the_mailbox(world: SubscriptionFixture) -> None:
    world.reconcile()
    world.polls()
    before = len(world.graph.server.requests)
    world.graph.server.send_lifecycle("missed")
    world.graph.server.settle()
    assert world.handle_lifecycle_events() == 2
    assert {poll.mailbox for poll in world.polls()} == {"support", "office"}
    assert len(world.graph.server.requests) == before


def test_a_lifecycle_event_of_an_unknown_folder_is_ignored(world: SubscriptionFixture) -> None:
    event = LifecycleEvent("nobody", "INBOX", LifecycleKind.SUBSCRIPTION_REMOVED, "x")
    world.app().subscriptions.handle_lifecycle_event(event)
    assert world.graph.server.requests == []
