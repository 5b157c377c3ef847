"""What Microsoft Graph sends: what is made of it, and what is refused."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.graph_notifications.client_state import client_state, folder_token
from shared.graph_notifications.notifications import (
    MAX_BODY_SIZE,
    FolderRef,
    InvalidNotification,
    ParsedNotifications,
    parse_notifications,
    validation_response,
)
from shared.graph_notifications.webhook import Webhook
from shared.queue_messages import LifecycleEvent, LifecycleKind, Poll, PollReason
from tests.servers.memory_app import settings_for
from tests.sizes import size

KEY, NEXT_KEY = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PLACES = {
    folder_token(mailbox, folder): FolderRef(mailbox, folder)
    for mailbox, folder in (("support", "INBOX"), ("support", "INBOX/Orders"), ("office", "INBOX"))
}


def entry(mailbox: str = "support", folder: str = "INBOX", *, key: str = KEY, **more: object) -> dict[str, object]:
    """An entry as Graph sends it of a new message."""
    return {
        "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
        "subscriptionExpirationDateTime": "2026-11-26T10:30:00+00:00",
        "clientState": client_state(key, folder_token(mailbox, folder)),
        "changeType": "created",
        "resource": "Users/a@example.com/Messages/AAMk",
        "tenantId": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
        "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "id": "AAMk"},
        **more,
    }


def body(*entries: object) -> bytes:
    return json.dumps({"value": entries}).encode()


def received(data: bytes, *, keys: tuple[str, ...] = (KEY,)) -> ParsedNotifications:
    return parse_notifications(data, keys, PLACES, now=NOW, traceparent=TRACE)


def look_at(mailbox: str) -> Poll:
    return Poll(mailbox, PollReason.NOTIFIED, traceparent=TRACE, requested_at=NOW)


def test_an_entry_is_a_look_at_its_mailbox() -> None:
    assert received(body(entry())) == ParsedNotifications((look_at("support"),))


def test_there_is_one_look_a_mailbox_however_many_entries() -> None:
    many = [entry(), entry(), entry("support", "INBOX/Orders"), entry("office"), entry(), entry("office")]
    assert received(body(*many * 20)) == ParsedNotifications((look_at("support"), look_at("office")))


def test_what_is_forged_is_dropped_and_counted_and_the_rest_is_taken() -> None:
    forged = [
        entry(key="another key of 32 characters ...."),
        entry(clientState=None),
        entry(clientState="v1." + "0" * 12 + "." + "0" * 64),
        entry(clientState=["v1"]),
        {},
        entry("gone", "INBOX"),
    ]
    found = received(body(forged[0], entry("office"), *forged[1:], entry()))
    assert found == ParsedNotifications((look_at("office"), look_at("support")), dropped=len(forged))


def test_forged_entries_alone_are_no_work_and_no_error() -> None:
    assert received(body({}, {})) == ParsedNotifications(dropped=2)
    assert received(body()) == ParsedNotifications()
    assert received(body(entry()), keys=()) == ParsedNotifications(dropped=1)


def test_both_keys_count_while_one_takes_over() -> None:
    both = body(entry("support"), entry("office", key=NEXT_KEY))
    assert received(both, keys=(NEXT_KEY, KEY)).polls == (look_at("support"), look_at("office"))
    assert received(both, keys=(NEXT_KEY,)) == ParsedNotifications((look_at("office"),), dropped=1)


@pytest.mark.parametrize(
    "claim",
    [
        {"resource": "Users/office@example.com/Messages/AAMk"},
        {"resource": "Users/office@example.com/mailFolders('INBOX')/messages", "subscriptionId": "office"},
        {"resourceData": {"@odata.id": "Users/office/Messages/1"}, "tenantId": "elsewhere"},
        {"Mailbox": "office", "changeType": "deleted", "subscriptionExpirationDateTime": 7},
        {"resource": None, "subscriptionId": None, "resourceData": [[]]},
    ],
)
def test_nothing_is_believed_but_the_proof(claim: dict[str, Any]) -> None:
    assert received(body(entry("support", **claim))) == ParsedNotifications((look_at("support"),))


@pytest.mark.parametrize("kind", list(LifecycleKind))
def test_a_lifecycle_event_is_about_the_proven_folder_and_no_look(kind: LifecycleKind) -> None:
    event = entry("support", "INBOX/Orders", lifecycleEvent=kind.value, resource="Users/office@example.com", id="x")
    wanted = LifecycleEvent("support", "INBOX/Orders", kind, "7f105c7d-2dc5-4530-97cd-4e7ae6534c07", traceparent=TRACE)
    assert received(body(event, event, event)) == ParsedNotifications(lifecycle=(wanted,)), (
        "once, however often it is told"
    )


def test_lifecycle_events_and_notifications_may_come_together() -> None:
    missed = entry("office", lifecycleEvent="missed")
    found = received(body(entry(), missed, entry(lifecycleEvent="missed", clientState="forged")))
    assert found.polls == (look_at("support"),)
    assert [(one.mailbox, one.kind) for one in found.lifecycle] == [("office", LifecycleKind.MISSED)]
    assert found.dropped == 1


@pytest.mark.parametrize("kind", ["", "somethingNew", "MISSED", 7, [], {}, ["missed"], False])
def test_a_lifecycle_event_that_is_none_is_told_of_and_nothing_else(kind: object) -> None:
    found = received(body(entry(lifecycleEvent=kind), entry("office")))
    assert found == ParsedNotifications((look_at("office"),), unknown=(str(kind),))


@pytest.mark.parametrize("subscription", [None, 7, ["x"], {"a": "b"}, "a\r\nb" * 500, "\ud800", "\x1b[31m"])
def test_a_subscriptions_id_may_be_anything_and_becomes_a_short_printable_text(subscription: object) -> None:
    [event] = received(body(entry(lifecycleEvent="missed", subscriptionId=subscription))).lifecycle
    assert event.subscription.isprintable()
    assert len(event.subscription) <= 200
    assert LifecycleEvent.from_json(event.to_json()) == event


def refused(data: bytes) -> int:
    with pytest.raises(InvalidNotification) as caught:
        received(data)
    return caught.value.status


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b" ",
            b"{",
            b"null",
            b"true",
            b"7",
            b'"value"',
            b"[]",
            b"{}",
            b'[{"value": []}]',
            b"\xff\xfe\xff",
            b"\0",
        ),
        *(b'{"value": null}', b'{"value": {}}', b'{"value": "x"}', b'{"value": 7}', b'{"Value": []}'),
        *(b'{"value": [null]}', b'{"value": [[]]}', b'{"value": [{}, "x"]}', b'{"value": [{}, [{}]]}'),
        *(b'{"value": [{"a": "\xff"}]}', b'{"value": []} {}', b'{"value": [' + b"9" * 5000 + b"]}", b"value=1"),
        *(b"[" * 200_000, b'{"value":' * 25_000, b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
    ids=lambda data: repr(data)[:20],
)
def test_what_is_not_the_json_of_a_notification_is_refused_with_400(data: bytes) -> None:
    assert refused(data) == 400


def test_more_than_256_kilobytes_are_refused_with_413_unread() -> None:
    whole = body(entry())
    assert received(whole.ljust(MAX_BODY_SIZE)) == ParsedNotifications((look_at("support"),))
    assert refused(whole.ljust(MAX_BODY_SIZE + 1)) == 413
    assert refused(b"{" * (MAX_BODY_SIZE + 1)) == 413
    assert MAX_BODY_SIZE == 256 * 1024


@given(
    st.binary(max_size=300) | st.recursive(st.none() | st.text(), st.lists).map(lambda one: json.dumps(one).encode())
)
@settings(max_examples=size(50, soak=2_000), deadline=None)
def test_whatever_comes_is_answered_with_a_status(data: bytes) -> None:
    answer = Webhook((KEY,), PLACES).handle(data, None)
    assert answer.status in (202, 400)
    assert (answer.text, answer.polls, answer.lifecycle) == ("", (), ())


TOKENS = [
    "x",
    "Validation: Testing client application reachability 7f+/=",
    "a token: é 注文 👍",
    "<b>&amp;</b>",
    "x" * 1024,
]


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: ascii(token)[:20])
def test_a_validation_token_is_answered_as_it_came(token: str) -> None:
    assert validation_response(token) == token
    answer = Webhook((), {}).handle(b"", token)
    assert (answer.status, answer.text, answer.polls, answer.lifecycle) == (200, token, (), ())


NO_TOKENS = [
    "",
    "x" * 1025,
    "é" * 513,
    "a\nb",
    "a\r\nSet-Cookie: x",
    "\0",
    "\x1b[31m",
    "a\tb",
    "\x7f",
    "\u202e",
    "\ud800",
]


@pytest.mark.parametrize("token", NO_TOKENS, ids=lambda token: ascii(token)[:20])
def test_a_validation_token_that_graph_would_not_send_is_not_repeated(
    token: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = Webhook((KEY,), PLACES).handle(body(entry()), token)
    assert (answer.status, answer.text, answer.polls, answer.lifecycle) == (400, "", (), ())
    assert "with status 400" in caplog.text
    assert all(one.getMessage().isprintable() for one in caplog.records)


def test_a_batch_is_answered_202_with_what_is_to_be_enqueued(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    webhook = Webhook((NEXT_KEY, KEY), PLACES, lambda: NOW)
    forged = entry(key="another key of 32 characters ....")
    lifecycle = entry("office", lifecycleEvent="subscriptionRemoved")
    answer = webhook.handle(body(entry(), entry("office", key=NEXT_KEY), forged, forged, lifecycle), None, TRACE)
    assert (answer.status, answer.text) == (202, "")
    assert [Poll.from_json(one) for one in answer.polls] == [look_at("support"), look_at("office")]
    [event] = [LifecycleEvent.from_json(one) for one in answer.lifecycle]
    assert (event.mailbox, event.folder, event.kind) == ("office", "INBOX", LifecycleKind.SUBSCRIPTION_REMOVED)
    lines = [one.getMessage() for one in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("dropped 2 notification entries")
    assert "GRAPH_CLIENT_STATE_KEY" in lines[0]
    assert "office, INBOX: Microsoft Graph sent subscriptionRemoved" in lines[1]


def test_a_refusal_says_how_and_why(caplog: pytest.LogCaptureFixture) -> None:
    webhook = Webhook((KEY,), PLACES)
    assert webhook.handle(b"no json", None).status == 400
    assert webhook.handle(b" " * (MAX_BODY_SIZE + 1), None).status == 413
    first, second = (one.getMessage() for one in caplog.records)
    assert "with status 400" in first
    assert "with status 413" in second
    assert str(MAX_BODY_SIZE + 1) in second


def test_no_key_and_no_state_is_ever_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    webhook = Webhook((KEY, NEXT_KEY), PLACES, lambda: NOW)
    forged = "v1.0123456789ab.forged-proof"
    entries = [entry(), entry("office", key=NEXT_KEY, lifecycleEvent="missed"), entry(clientState=forged)]
    answers = [webhook.handle(data, None) for data in (body(*entries), body(*entries)[:-1], body(*entries, 7))]
    shown = f"{caplog.text} {answers} {webhook!r} {[one.__dict__ for one in caplog.records]}"
    proofs = [str(one["clientState"]).rpartition(".")[2] for one in entries]
    for hidden in (KEY, NEXT_KEY, *proofs):
        assert hidden not in shown


def test_no_notifications_come_of_mailboxes_that_are_not_graphs() -> None:
    values = {"MAILBOXES__support__ADDRESS": "support@example.com"}
    assert Webhook.from_settings(settings_for("folder:somewhere", values)).folders == {}


def test_what_is_not_proven_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    time = [NOW]
    webhook = Webhook((KEY,), PLACES, lambda: time[0])
    forged = entry(key="another key of 32 characters ....")
    for _ in range(1_000):
        webhook.handle(body(forged, forged), None)
        webhook.handle(b"no json", None)
    assert [one.getMessage().partition(":")[0] for one in caplog.records] == [
        "dropped 2 notification entries",
        "refused 1 requests to graph_webhook with status 400",
    ]
    caplog.clear()
    time[0] += timedelta(seconds=61)
    webhook.handle(body(entry()), None)
    webhook.handle(b"no json", None)
    assert [one.getMessage().partition(":")[0] for one in caplog.records] == [
        "dropped 1998 notification entries",
        "refused 1000 requests to graph_webhook with status 400",
    ], "none is forgotten"
    caplog.clear()
    time[0] += timedelta(seconds=61)
    webhook.handle(body(entry()), None)
    assert not caplog.records
    time[0] -= timedelta(days=1)
    webhook.handle(body(forged), None)
    assert "dropped 1 notification" in caplog.text, "the clock was set back"


@pytest.mark.parametrize("kind", list(LifecycleKind))
def test_a_request_with_many_lifecycle_events_puts_few_messages_on_the_queue(kind: LifecycleKind) -> None:
    many = [
        entry("support", folder, lifecycleEvent=kind.value, subscriptionId=f"subscription-{number}")
        for number in range(100)
        for folder in ("INBOX", "INBOX/Orders")
    ]
    events = received(body(*many)).lifecycle
    assert len(events) == (2 if kind is LifecycleKind.MISSED else 4)
    assert {one.folder for one in events} == {"INBOX", "INBOX/Orders"}
    assert {one.subscription for one in events} <= {"subscription-0", "subscription-1"}
