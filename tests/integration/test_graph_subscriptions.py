"""Subscriptions at Microsoft Graph: created, renewed and replaced, with real requests to the simulator."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from shared.graph_notifications.client_state import client_state, folder_token, key_name
from shared.graph_notifications.subscription_manager import LEASE, SubscriptionRecord
from shared.lease import RenewingLease
from shared.queue_messages import LifecycleEvent, LifecycleKind, PollReason
from shared.storage.base import Records
from tests.integration.graph_fixture import SubscriptionFixture, graph_world
from tests.servers.graph import STATE_KEY, Graph
from tests.servers.mail import plain_mail

SECOND_KEY = "fedcba9876543210fedcba9876543210"


@pytest.fixture
def world(graph: Graph, tmp_path: Path) -> Iterator[SubscriptionFixture]:
    with graph_world(tmp_path / "mail", graph, support="support@example.com", office="office@example.com") as fixture:
        yield fixture


def live(world: SubscriptionFixture) -> list[str]:
    return sorted(item.id for item in world.graph.server.subscriptions)


def _id(world: SubscriptionFixture, mailbox: str) -> str:
    return world.app().subscriptions.record_for(mailbox, "INBOX").subscription


def test_each_folder_has_a_subscription_with_a_proven_client_state(world: SubscriptionFixture) -> None:
    world.graph.box("support@example.com").folder("Inbox/Orders")
    world.extra = {"MAILBOXES__support__FOLDERS": "INBOX;INBOX/Orders"}
    world.reconcile()
    subscriptions = world.graph.server.subscriptions
    assert len(subscriptions) == 3
    states = {item.client_state for item in subscriptions}
    expected = [("support", "INBOX"), ("support", "INBOX/Orders"), ("office", "INBOX")]
    assert states == {client_state(STATE_KEY, folder_token(*item)) for item in expected}
    assert {poll.mailbox for poll in world.polls()} == {"support", "office"}, "earlier mail is polled"
    app = world.app()
    app.subscriptions.reconcile()
    before = len(world.graph.server.requests)
    app.subscriptions.reconcile()
    assert len(world.graph.server.requests) == before + 1, "a run without changes sends one request"
    assert live(world) == sorted(item.id for item in subscriptions)
    assert world.polls() == []


def test_new_mail_is_notified(world: SubscriptionFixture) -> None:
    world.reconcile()
    world.polls()
    world.graph.box("office@example.com", plain_mail(1))
    world.graph.server.settle()
    (poll,) = world.polls()
    assert (poll.mailbox, poll.reason) == ("office", PollReason.NOTIFIED)
    assert poll.requested_at is not None


def test_a_subscription_is_renewed_at_half_its_lifetime(world: SubscriptionFixture) -> None:
    world.extra = {"GRAPH_SUBSCRIPTION_MINUTES": "3000"}
    world.reconcile()
    before = {item.id: item.expires for item in world.graph.server.subscriptions}
    world.reconcile()
    assert {item.id: item.expires for item in world.graph.server.subscriptions} == before
    assert not world.graph.request_lines("PATCH")
    world.graph.server.max_subscription_minutes = 7000
    world.later = timedelta(minutes=1600)
    world.reconcile()
    after = {item.id: item.expires for item in world.graph.server.subscriptions}
    assert after.keys() == before.keys()
    assert all(after[item] - before[item] > timedelta(minutes=1500) for item in before)
    assert world.app().subscriptions.record_for("support", "INBOX").until == after[_id(world, "support")]


def test_a_shorter_granted_lifetime_does_not_cause_renewals_at_every_run(world: SubscriptionFixture) -> None:
    world.extra = {"GRAPH_SUBSCRIPTION_MINUTES": "20160"}
    world.reconcile()
    assert len(live(world)) == 2
    before = len(world.graph.server.requests)
    world.reconcile()
    assert len(world.graph.server.requests) == before + 1


def test_a_subscription_follows_a_changed_address(world: SubscriptionFixture) -> None:
    world.reconcile()
    world.polls()
    before = live(world)
    world.graph.box("other@example.com")
    world.extra = {"MAILBOXES__support__ADDRESS": "other@example.com"}
    assert not world.app().subscriptions.is_active(world.app().settings.mailboxes["support"]), (
        "the timer polls at its normal pace"
    )
    world.reconcile()
    assert len(live(world)) == 2
    assert len(set(live(world)) & set(before)) == 1
    assert world.app().subscriptions.is_active(world.app().settings.mailboxes["support"])
    assert [poll.mailbox for poll in world.polls()] == ["support"]
    world.graph.box("other@example.com", plain_mail(1))
    world.graph.server.settle()
    assert [poll.mailbox for poll in world.polls()] == ["support"]


def test_two_runs_at_once_create_one_subscription(world: SubscriptionFixture) -> None:
    apps = [world.app(), world.app()]
    threads = [threading.Thread(target=app.subscriptions.reconcile) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(live(world)) == 2
    world.reconcile()
    assert len(live(world)) == 2


def test_a_lifecycle_event_is_ignored_after_notifications_were_disabled(world: SubscriptionFixture) -> None:
    world.reconcile()
    subscription = _id(world, "support")
    world.values.pop("GRAPH_WEBHOOK_URL")
    event = LifecycleEvent("support", "INBOX", LifecycleKind.SUBSCRIPTION_REMOVED, subscription)
    world.app().subscriptions.handle_lifecycle_event(event)


def test_the_maximum_lifetime_is_taken_from_a_refusal(world: SubscriptionFixture) -> None:
    world.graph.server.max_subscription_minutes = 1440
    world.reconcile()
    assert len(live(world)) == 2
    assert world.app().subscriptions.record_for("support", "INBOX").error == ""


def test_8_3_a_missing_subscription_is_recreated_and_the_mailbox_polled(world: SubscriptionFixture) -> None:
    world.reconcile()
    world.polls()
    before = live(world)
    world.graph.server.drop_subscriptions("support@example.com")
    assert world.app().subscriptions.is_active(world.app().settings.mailboxes["support"]), "the loss is not known yet"
    world.reconcile()
    assert len(live(world)) == 2
    assert len(set(live(world)) - set(before)) == 1
    assert [poll.mailbox for poll in world.polls()] == ["support"]


def test_8_1_a_crash_before_the_record_leaves_one_subscription(world: SubscriptionFixture) -> None:
    app = world.app()

    class Dies(Exception):
        pass

    def no_record(_self: object, _recorded: object) -> None:
        raise Dies

    original = type(app.subscriptions)._write
    type(app.subscriptions)._write = no_record  # type: ignore[assignment, method-assign]
    try:
        with pytest.raises(Dies):
            app.subscriptions.reconcile()
    finally:
        type(app.subscriptions)._write = original  # type: ignore[method-assign]
    (orphan,) = live(world)
    world.reconcile()
    assert orphan not in live(world)
    assert len(live(world)) == 2


def test_a_lifecycle_event_is_requeued_while_another_worker_holds_the_lease(world: SubscriptionFixture) -> None:
    lease = RenewingLease.acquire(world.stores.leases, LEASE)
    assert lease is not None
    with lease:
        world.reconcile()
        assert live(world) == []
        event = LifecycleEvent("support", "INBOX", LifecycleKind.SUBSCRIPTION_REMOVED, "")
        world.app().subscriptions.handle_lifecycle_event(event)
        assert live(world) == []
    world.reconcile()
    assert len(live(world)) == 2


def test_a_new_key_replaces_the_subscriptions(world: SubscriptionFixture) -> None:
    world.reconcile()
    before = live(world)
    world.extra = {"GRAPH_CLIENT_STATE_KEY": f"{SECOND_KEY};{STATE_KEY}"}
    world.graph.box("support@example.com", plain_mail(1))
    world.graph.server.settle()
    assert "support" in {poll.mailbox for poll in world.polls()}, "the first key still proves"
    world.reconcile()
    assert len(live(world)) == 2
    assert not set(live(world)) & set(before)
    assert world.app().subscriptions.record_for("support", "INBOX").key == key_name(SECOND_KEY)
    world.extra = {"GRAPH_CLIENT_STATE_KEY": SECOND_KEY}
    world.graph.box("support@example.com", plain_mail(2))
    world.graph.server.settle()
    assert "support" in {poll.mailbox for poll in world.polls()}


def test_the_subscription_of_a_removed_folder_is_deleted(world: SubscriptionFixture) -> None:
    world.reconcile()
    world.extra = {"MAILBOXES__office__ENABLED": "false"}
    world.reconcile()
    (left,) = world.graph.server.subscriptions
    assert left.client_state == client_state(STATE_KEY, folder_token("support", "INBOX"))


def test_subscriptions_with_another_url_are_not_deleted(world: SubscriptionFixture, tmp_path: Path) -> None:
    with graph_world(tmp_path / "other", world.graph, other="support@example.com") as other:
        other.reconcile()
        world.reconcile()
        assert len(live(world)) == 3
        other.reconcile()
        assert len(live(world)) == 3


def test_one_app_with_two_kinds_of_sign_in(world: SubscriptionFixture) -> None:
    world.graph.server.register(client_id="a-second-app")
    second = world.graph.server.apps["a-second-app"]
    world.extra = {
        "MAILBOXES__office__CLIENT_ID": second.client_id,
        "MAILBOXES__office__CLIENT_SECRET": second.secret,
    }
    for _ in range(2):
        world.reconcile()
        assert len(live(world)) == 2


def test_a_url_that_fails_validation_is_reported_and_stops_nothing(
    world: SubscriptionFixture, caplog: pytest.LogCaptureFixture
) -> None:
    world.refusing = True
    with caplog.at_level(logging.WARNING):
        world.reconcile()
    assert live(world) == []
    assert "GRAPH_WEBHOOK_URL" in world.app().subscriptions.record_for("support", "INBOX").error
    assert not world.app().subscriptions.is_active(world.app().settings.mailboxes["support"])
    assert STATE_KEY not in caplog.text
    world.refusing = False
    world.reconcile()
    assert world.app().subscriptions.record_for("support", "INBOX").error == ""


def test_a_refused_subscription_does_not_stop_the_others(world: SubscriptionFixture) -> None:
    world.extra = {"MAILBOXES__alien__PROTOCOL": "graph", "MAILBOXES__alien__ADDRESS": "nobody@example.com"}
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "CA_FILE"):
        world.extra[f"MAILBOXES__alien__{name}"] = world.values[f"MAILBOXES__support__{name}"]
    world.reconcile()
    assert len(live(world)) == 2
    assert "alien" in world.app().subscriptions.record_for("alien", "INBOX").error


def test_a_refused_sign_in_is_recorded_with_its_mailboxes(world: SubscriptionFixture) -> None:
    world.reconcile()
    world.extra = {"MAILBOXES__support__CLIENT_SECRET": "wrong", "MAILBOXES__office__CLIENT_SECRET": "wrong"}
    world.reconcile()
    recorded = world.app().subscriptions.record_for("office", "INBOX")
    assert "CLIENT_SECRET" in recorded.error
    assert recorded.subscription in live(world)


def test_without_a_url_no_request_is_sent(world: SubscriptionFixture) -> None:
    world.values.pop("GRAPH_WEBHOOK_URL")
    world.reconcile()
    assert world.graph.server.requests == []
    assert not world.app().subscriptions.is_active(world.app().settings.mailboxes["support"])


def test_the_first_run_of_the_poll_timer_requests_the_subscriptions(world: SubscriptionFixture) -> None:
    """The timer sends no request to Graph, and enqueues one event for all folders until a subscription was tried."""
    world.graph.box("support@example.com").folder("Inbox/Orders")
    world.extra = {"MAILBOXES__support__FOLDERS": "INBOX;INBOX/Orders"}
    world.app().subscriptions.request_missing()
    assert world.graph.server.requests == []
    assert world.handle_lifecycle_events() == 1
    assert len(live(world)) == 3
    assert {poll.mailbox for poll in world.polls()} == {"support", "office"}
    world.app().subscriptions.request_missing()
    assert world.lifecycle() == []


def test_two_timer_runs_before_the_first_subscription_create_one(world: SubscriptionFixture) -> None:
    for _ in range(2):
        world.app().subscriptions.request_missing()
    assert world.handle_lifecycle_events() == 2
    assert len(live(world)) == 2


def test_a_mailbox_added_later_is_subscribed_by_the_next_timer_run(world: SubscriptionFixture) -> None:
    world.extra = {"MAILBOXES__office__ENABLED": "false"}
    world.reconcile()
    assert len(live(world)) == 1
    world.extra = {}
    world.app().subscriptions.request_missing()
    assert world.handle_lifecycle_events() == 1
    assert len(live(world)) == 2


def stop_for_two_hours(world: SubscriptionFixture) -> None:
    world.later = timedelta(hours=2)
    world.graph.server.drop_subscriptions()


def change_the_url(world: SubscriptionFixture) -> None:
    world.extra = {"GRAPH_WEBHOOK_URL": world.values["GRAPH_WEBHOOK_URL"] + "/new"}


def change_the_key(world: SubscriptionFixture) -> None:
    world.extra = {"GRAPH_CLIENT_STATE_KEY": SECOND_KEY}


def change_the_addresses(world: SubscriptionFixture) -> None:
    for name in ("support", "office"):
        world.graph.box(f"other-{name}@example.com")
        world.extra[f"MAILBOXES__{name}__ADDRESS"] = f"other-{name}@example.com"


@pytest.mark.parametrize("change", [stop_for_two_hours, change_the_url, change_the_key, change_the_addresses])
def test_subscriptions_that_no_longer_notify_are_replaced_after_the_next_timer_run(
    world: SubscriptionFixture, change: Callable[[SubscriptionFixture], None]
) -> None:
    """As at the first start, `renew_subscriptions` would be up to five minutes late."""
    world.values["GRAPH_SUBSCRIPTION_MINUTES"] = "60"
    world.reconcile()
    before = live(world)
    world.app().subscriptions.request_missing()
    assert world.lifecycle() == [], "nothing is missing"
    change(world)
    app = world.app()
    assert not app.subscriptions.is_active(app.settings.mailboxes["support"]), "the timer polls at its normal pace"
    app.subscriptions.request_missing()
    assert world.handle_lifecycle_events() == 1
    assert not set(live(world)) & set(before)
    assert all(app.subscriptions.is_active(mailbox) for mailbox in app.settings.mailboxes.values())
    app.subscriptions.request_missing()
    assert world.lifecycle() == []


def test_a_failed_subscription_is_left_to_the_renewal_timer(world: SubscriptionFixture) -> None:
    world.refusing = True
    world.app().subscriptions.request_missing()
    assert world.handle_lifecycle_events() == 1
    assert world.app().subscriptions.record_for("support", "INBOX").error
    world.app().subscriptions.request_missing()
    assert world.lifecycle() == []


def test_without_a_url_no_subscription_is_missing(world: SubscriptionFixture) -> None:
    world.values.pop("GRAPH_WEBHOOK_URL")
    world.app().subscriptions.request_missing()
    assert world.lifecycle() == []


def test_a_timer_run_does_not_read_the_record_of_a_subscribed_folder(
    world: SubscriptionFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reconcile()
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


def test_a_removed_subscription_is_created_once_for_two_events(world: SubscriptionFixture) -> None:
    world.reconcile()
    event = LifecycleEvent("support", "INBOX", LifecycleKind.SUBSCRIPTION_REMOVED, _id(world, "support"))
    world.graph.server.drop_subscriptions("support@example.com")
    first, second = world.app(), world.app()
    first.subscriptions.handle_lifecycle_event(event)
    second.subscriptions.handle_lifecycle_event(event)
    assert len(live(world)) == 2


def test_a_circular_list_of_subscriptions_ends(world: SubscriptionFixture) -> None:
    world.reconcile()
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
        assert len(graph.list_all()) == 2
