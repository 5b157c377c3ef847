"""Subscriptions at Microsoft Graph: made, renewed, made anew; by real requests to a strict stand-in."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from shared.graph_notifications.client_state import client_state, folder_token, key_name
from shared.graph_notifications.subscription_manager import LEASE
from shared.graph_notifications.subscription_record import SubscriptionRecord
from shared.lease import RenewingLease
from shared.queue_messages import LifecycleEvent, LifecycleKind, PollReason
from shared.storage.base import Records
from tests.integration.graph_fixture import World, graph_world
from tests.servers.graph import STATE_KEY, Graph
from tests.servers.mail import plain_mail

SECOND_KEY = "fedcba9876543210fedcba9876543210"


@pytest.fixture
def world(graph: Graph, tmp_path: Path) -> Iterator[World]:
    with graph_world(tmp_path / "mail", graph, support="support@example.com", office="office@example.com") as made:
        yield made


def live(world: World) -> list[str]:
    return sorted(one.id for one in world.graph.server.subscriptions)


def _id(world: World, mailbox: str) -> str:
    return world.app().subscriptions.of(mailbox, "INBOX").subscription


def test_one_subscription_a_folder_with_a_state_that_proves_itself(world: World) -> None:
    world.graph.box("support@example.com").folder("Inbox/Orders")
    world.extra = {"MAILBOXES__support__FOLDERS": "INBOX;INBOX/Orders"}
    world.keep()
    subscriptions = world.graph.server.subscriptions
    assert len(subscriptions) == 3
    states = {one.client_state for one in subscriptions}
    wanted = [("support", "INBOX"), ("support", "INBOX/Orders"), ("office", "INBOX")]
    assert states == {client_state(STATE_KEY, folder_token(*one)) for one in wanted}
    assert {poll.mailbox for poll in world.polls()} == {"support", "office"}, "what came before is looked at"
    app = world.app()
    app.subscriptions.reconcile()
    before = len(world.graph.server.requests)
    app.subscriptions.reconcile()
    assert len(world.graph.server.requests) == before + 1, "a round in which all is well is one request"
    assert live(world) == sorted(one.id for one in subscriptions)
    assert world.polls() == []


def test_mail_that_comes_is_notified_of(world: World) -> None:
    world.keep()
    world.polls()
    world.graph.box("office@example.com", plain_mail(1))
    world.graph.server.settle()
    (poll,) = world.polls()
    assert (poll.mailbox, poll.reason) == ("office", PollReason.NOTIFIED)
    assert poll.requested_at is not None


def test_it_is_renewed_when_half_of_its_time_is_left(world: World) -> None:
    world.extra = {"GRAPH_SUBSCRIPTION_MINUTES": "3000"}
    world.keep()
    before = {one.id: one.expires for one in world.graph.server.subscriptions}
    world.keep()
    assert {one.id: one.expires for one in world.graph.server.subscriptions} == before
    assert not world.graph.asked("PATCH")
    world.graph.server.longest_subscription = 7000
    world.later = timedelta(minutes=1600)
    world.keep()
    after = {one.id: one.expires for one in world.graph.server.subscriptions}
    assert after.keys() == before.keys()
    assert all(after[one] - before[one] > timedelta(minutes=1500) for one in before)
    assert world.app().subscriptions.of("support", "INBOX").until == after[_id(world, "support")]


def test_what_graph_does_not_grant_is_not_asked_for_at_every_round(world: World) -> None:
    world.extra = {"GRAPH_SUBSCRIPTION_MINUTES": "10080"}
    world.keep()
    assert len(live(world)) == 2
    before = len(world.graph.server.requests)
    world.keep()
    assert len(world.graph.server.requests) == before + 1


def test_a_subscription_is_about_the_mailbox_that_is_set_now(world: World) -> None:
    world.keep()
    world.polls()
    before = live(world)
    world.graph.box("other@example.com")
    world.extra = {"MAILBOXES__support__ADDRESS": "other@example.com"}
    assert not world.app().subscriptions.is_active(world.app().settings.mailboxes["support"]), "the clock takes over"
    world.keep()
    assert len(live(world)) == 2
    assert len(set(live(world)) & set(before)) == 1
    assert world.app().subscriptions.is_active(world.app().settings.mailboxes["support"])
    assert [poll.mailbox for poll in world.polls()] == ["support"]
    world.graph.box("other@example.com", plain_mail(1))
    world.graph.server.settle()
    assert [poll.mailbox for poll in world.polls()] == ["support"]


def test_two_rounds_at_once(world: World) -> None:
    apps = [world.app(), world.app()]
    rounds = [threading.Thread(target=app.subscriptions.reconcile) for app in apps]
    for one in rounds:
        one.start()
    for one in rounds:
        one.join()
    assert len(live(world)) == 2
    world.keep()
    assert len(live(world)) == 2


def test_a_lifecycle_event_that_is_left_over_after_notifications_were_switched_off(world: World) -> None:
    world.keep()
    subscription = _id(world, "support")
    world.values.pop("GRAPH_WEBHOOK_URL")
    event = LifecycleEvent("support", "INBOX", LifecycleKind.SUBSCRIPTION_REMOVED, subscription)
    world.app().subscriptions.handle_lifecycle_event(event)


def test_the_longest_time_is_taken_from_a_refusal(world: World) -> None:
    world.graph.server.longest_subscription = 1440
    world.keep()
    assert len(live(world)) == 2
    assert world.app().subscriptions.of("support", "INBOX").error == ""


def test_8_3_one_that_went_without_a_word_is_made_anew_and_the_mailbox_looked_at(world: World) -> None:
    world.keep()
    world.polls()
    before = live(world)
    world.graph.server.drop_subscriptions("support@example.com")
    assert world.app().subscriptions.is_active(world.app().settings.mailboxes["support"]), "nobody knows yet"
    world.keep()
    assert len(live(world)) == 2
    assert len(set(live(world)) - set(before)) == 1
    assert [poll.mailbox for poll in world.polls()] == ["support"]


def test_8_1_a_crash_between_creating_and_recording(world: World) -> None:
    app = world.app()

    class Dies(Exception):
        pass

    def no_record(_self: object, _recorded: object) -> None:
        raise Dies

    original = type(app.subscriptions)._record
    type(app.subscriptions)._record = no_record  # type: ignore[assignment, method-assign]
    try:
        with pytest.raises(Dies):
            app.subscriptions.reconcile()
    finally:
        type(app.subscriptions)._record = original  # type: ignore[method-assign]
    (orphan,) = live(world)
    world.keep()
    assert orphan not in live(world)
    assert len(live(world)) == 2


def test_two_instances_at_once(world: World) -> None:
    lease = RenewingLease.acquire(world.stores.leases, LEASE)
    assert lease is not None
    with lease:
        world.keep()
        assert live(world) == []
        event = LifecycleEvent("support", "INBOX", LifecycleKind.SUBSCRIPTION_REMOVED, "")
        world.app().subscriptions.handle_lifecycle_event(event)
        assert live(world) == []
    world.keep()
    assert len(live(world)) == 2


def test_a_key_takes_over_from_another(world: World) -> None:
    world.keep()
    before = live(world)
    world.extra = {"GRAPH_CLIENT_STATE_KEY": f"{SECOND_KEY};{STATE_KEY}"}
    world.graph.box("support@example.com", plain_mail(1))
    world.graph.server.settle()
    assert "support" in {poll.mailbox for poll in world.polls()}, "the first key still proves"
    world.keep()
    assert len(live(world)) == 2
    assert not set(live(world)) & set(before)
    assert world.app().subscriptions.of("support", "INBOX").key == key_name(SECOND_KEY)
    world.extra = {"GRAPH_CLIENT_STATE_KEY": SECOND_KEY}
    world.graph.box("support@example.com", plain_mail(2))
    world.graph.server.settle()
    assert "support" in {poll.mailbox for poll in world.polls()}


def test_what_is_collected_no_more_is_not_subscribed_to(world: World) -> None:
    world.keep()
    world.extra = {"MAILBOXES__office__ENABLED": "false"}
    world.keep()
    (left,) = world.graph.server.subscriptions
    assert left.client_state == client_state(STATE_KEY, folder_token("support", "INBOX"))


def test_somebody_elses_subscriptions_are_left_alone(world: World, tmp_path: Path) -> None:
    with graph_world(tmp_path / "other", world.graph, other="support@example.com") as other:
        other.keep()
        world.keep()
        assert len(live(world)) == 3
        other.keep()
        assert len(live(world)) == 3


def test_one_app_with_two_ways_to_sign_in(world: World) -> None:
    world.graph.server.register(client_id="a-second-app")
    second = world.graph.server.apps["a-second-app"]
    world.extra = {
        "MAILBOXES__office__CLIENT_ID": second.client_id,
        "MAILBOXES__office__CLIENT_SECRET": second.secret,
    }
    for _ in range(2):
        world.keep()
        assert len(live(world)) == 2


def test_an_address_that_does_not_answer_is_told_of_and_stops_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.refusing = True
    with caplog.at_level(logging.WARNING):
        world.keep()
    assert live(world) == []
    assert "GRAPH_WEBHOOK_URL" in world.app().subscriptions.of("support", "INBOX").error
    assert not world.app().subscriptions.is_active(world.app().settings.mailboxes["support"])
    assert STATE_KEY not in caplog.text
    world.refusing = False
    world.keep()
    assert world.app().subscriptions.of("support", "INBOX").error == ""


def test_one_mailbox_that_may_not_be_subscribed_to_does_not_stop_the_others(world: World) -> None:
    world.extra = {"MAILBOXES__alien__PROTOCOL": "graph", "MAILBOXES__alien__ADDRESS": "nobody@example.com"}
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "CA_FILE"):
        world.extra[f"MAILBOXES__alien__{name}"] = world.values[f"MAILBOXES__support__{name}"]
    world.keep()
    assert len(live(world)) == 2
    assert "alien" in world.app().subscriptions.of("alien", "INBOX").error


def test_a_refused_sign_in_is_recorded_with_its_mailboxes(world: World) -> None:
    world.keep()
    world.extra = {"MAILBOXES__support__CLIENT_SECRET": "wrong", "MAILBOXES__office__CLIENT_SECRET": "wrong"}
    world.keep()
    recorded = world.app().subscriptions.of("office", "INBOX")
    assert "CLIENT_SECRET" in recorded.error
    assert recorded.subscription in live(world)


def test_without_an_address_nothing_is_asked(world: World) -> None:
    world.values.pop("GRAPH_WEBHOOK_URL")
    world.keep()
    assert world.graph.server.requests == []
    assert not world.app().subscriptions.is_active(world.app().settings.mailboxes["support"])


def test_the_first_subscription_comes_with_the_first_tick_of_the_poll_timer(world: World) -> None:
    """The timer asks nothing of Graph, asks once for all folders, and only while no subscription was ever tried."""
    world.graph.box("support@example.com").folder("Inbox/Orders")
    world.extra = {"MAILBOXES__support__FOLDERS": "INBOX;INBOX/Orders"}
    world.app().subscriptions.request_missing()
    assert world.graph.server.requests == []
    assert world.mend() == 1
    assert len(live(world)) == 3
    assert {poll.mailbox for poll in world.polls()} == {"support", "office"}
    world.app().subscriptions.request_missing()
    assert world.lifecycle() == []


def test_two_ticks_before_the_first_subscription_make_no_second_one(world: World) -> None:
    for _ in range(2):
        world.app().subscriptions.request_missing()
    assert world.mend() == 2
    assert len(live(world)) == 2


def test_a_mailbox_that_is_added_later_is_subscribed_to_with_the_next_tick(world: World) -> None:
    world.extra = {"MAILBOXES__office__ENABLED": "false"}
    world.keep()
    assert len(live(world)) == 1
    world.extra = {}
    world.app().subscriptions.request_missing()
    assert world.mend() == 1
    assert len(live(world)) == 2


def test_what_could_not_be_subscribed_to_is_left_to_its_own_timer(world: World) -> None:
    world.refusing = True
    world.app().subscriptions.request_missing()
    assert world.mend() == 1
    assert world.app().subscriptions.of("support", "INBOX").error
    world.app().subscriptions.request_missing()
    assert world.lifecycle() == []


def test_without_an_address_no_subscription_is_missing(world: World) -> None:
    world.values.pop("GRAPH_WEBHOOK_URL")
    world.app().subscriptions.request_missing()
    assert world.lifecycle() == []


def test_a_tick_reads_no_record_of_a_folder_that_was_subscribed_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.keep()
    app = world.app()
    read: list[str] = []
    original = SubscriptionRecord.read

    def counted(records: Records, mailbox: str, folder: str) -> SubscriptionRecord:
        read.append(mailbox)
        return original(records, mailbox, folder)

    monkeypatch.setattr(SubscriptionRecord, "read", counted)
    app.poller.due_polls(PollReason.TIMER)
    before = len(read)
    app.subscriptions.request_missing()
    assert len(read) == before, "what the timer reads anyway is enough"
    assert before == 2


def test_a_removed_subscription_is_created_once_for_two_events(world: World) -> None:
    world.keep()
    event = LifecycleEvent("support", "INBOX", LifecycleKind.SUBSCRIPTION_REMOVED, _id(world, "support"))
    world.graph.server.drop_subscriptions("support@example.com")
    first, second = world.app(), world.app()
    first.subscriptions.handle_lifecycle_event(event)
    second.subscriptions.handle_lifecycle_event(event)
    assert len(live(world)) == 2


def test_a_list_of_subscriptions_that_goes_in_circles_ends(world: World) -> None:
    world.keep()
    settings = world.app().settings.mailboxes["support"]
    with world.app().subscriptions.connect(settings) as graph:
        inner = graph._client._http._transport

        class Circle(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                passed: httpx.Response = await inner.handle_async_request(request)
                body = json.loads(await passed.aread())
                link = f"{world.graph.server.endpoint}/subscriptions?$skiptoken=x"
                return httpx.Response(200, json={"value": body.get("value", []), "@odata.nextLink": link})

        graph._client._http._transport = Circle()
        assert len(graph.every()) == 2
