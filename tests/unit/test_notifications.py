"""Parsing of Graph's notifications, and the webhook's responses."""

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
FOLDERS = {
    folder_token(mailbox, folder): FolderRef(mailbox, folder)
    for mailbox, folder in (("support", "INBOX"), ("support", "INBOX/Orders"), ("office", "INBOX"))
}


def entry(mailbox: str = "support", folder: str = "INBOX", *, key: str = KEY, **more: object) -> dict[str, object]:
    """Return an entry as Graph sends it for a new message."""
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
    return parse_notifications(data, keys, FOLDERS, now=NOW, traceparent=TRACE)


def poll_of(mailbox: str) -> Poll:
    return Poll(mailbox, PollReason.NOTIFIED, traceparent=TRACE, requested_at=NOW)


def test_an_entry_causes_a_poll_of_its_mailbox() -> None:
    assert received(body(entry())) == ParsedNotifications((poll_of("support"),))


def test_many_entries_cause_one_poll_per_mailbox() -> None:
    entries = [entry(), entry(), entry("support", "INBOX/Orders"), entry("office"), entry(), entry("office")]
    assert received(body(*entries * 20)) == ParsedNotifications((poll_of("support"), poll_of("office")))


def test_forged_entries_are_dropped_and_counted() -> None:
    forged = [
        entry(key="another key of 32 characters ...."),
        entry(clientState=None),
        entry(clientState="v1." + "0" * 12 + "." + "0" * 64),
        entry(clientState=["v1"]),
        {},
        entry("gone", "INBOX"),
    ]
    parsed = received(body(forged[0], entry("office"), *forged[1:], entry()))
    assert parsed == ParsedNotifications((poll_of("office"), poll_of("support")), dropped=len(forged))


def test_a_request_with_only_forged_entries_is_accepted() -> None:
    assert received(body({}, {})) == ParsedNotifications(dropped=2)
    assert received(body()) == ParsedNotifications()
    assert received(body(entry()), keys=()) == ParsedNotifications(dropped=1)


def test_both_keys_prove_entries_during_a_key_rotation() -> None:
    both = body(entry("support"), entry("office", key=NEXT_KEY))
    assert received(both, keys=(NEXT_KEY, KEY)).polls == (poll_of("support"), poll_of("office"))
    assert received(both, keys=(NEXT_KEY,)) == ParsedNotifications((poll_of("office"),), dropped=1)


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
def test_only_the_client_state_is_trusted(claim: dict[str, Any]) -> None:
    assert received(body(entry("support", **claim))) == ParsedNotifications((poll_of("support"),))


@pytest.mark.parametrize("kind", list(LifecycleKind))
def test_a_lifecycle_event_is_about_the_proven_folder(kind: LifecycleKind) -> None:
    event = entry("support", "INBOX/Orders", lifecycleEvent=kind.value, resource="Users/office@example.com", id="x")
    expected = LifecycleEvent(
        "support", "INBOX/Orders", kind, "7f105c7d-2dc5-4530-97cd-4e7ae6534c07", traceparent=TRACE
    )
    assert received(body(event, event, event)) == ParsedNotifications(lifecycle=(expected,)), (
        "repeated events are coalesced"
    )


def test_lifecycle_events_and_notifications_may_come_together() -> None:
    missed = entry("office", lifecycleEvent="missed")
    parsed = received(body(entry(), missed, entry(lifecycleEvent="missed", clientState="forged")))
    assert parsed.polls == (poll_of("support"),)
    assert [(event.mailbox, event.kind) for event in parsed.lifecycle] == [("office", LifecycleKind.MISSED)]
    assert parsed.dropped == 1


@pytest.mark.parametrize("kind", ["", "somethingNew", "MISSED", 7, [], {}, ["missed"], False])
def test_an_unknown_lifecycle_event_is_only_reported(kind: object) -> None:
    parsed = received(body(entry(lifecycleEvent=kind), entry("office")))
    assert parsed == ParsedNotifications((poll_of("office"),), unknown=(str(kind),))


@pytest.mark.parametrize("subscription", [None, 7, ["x"], {"a": "b"}, "a\r\nb" * 500, "\ud800", "\x1b[31m"])
def test_a_subscription_id_becomes_short_printable_text(subscription: object) -> None:
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
def test_a_malformed_body_is_refused_with_400(data: bytes) -> None:
    assert refused(data) == 400


def test_a_body_above_256_kilobytes_is_refused_with_413() -> None:
    whole = body(entry())
    assert received(whole.ljust(MAX_BODY_SIZE)) == ParsedNotifications((poll_of("support"),))
    assert refused(whole.ljust(MAX_BODY_SIZE + 1)) == 413
    assert refused(b"{" * (MAX_BODY_SIZE + 1)) == 413
    assert MAX_BODY_SIZE == 256 * 1024


@given(
    st.binary(max_size=300) | st.recursive(st.none() | st.text(), st.lists).map(lambda item: json.dumps(item).encode())
)
@settings(max_examples=size(50, soak=2_000), deadline=None)
def test_any_body_gets_a_status(data: bytes) -> None:
    response = Webhook((KEY,), FOLDERS).handle(data, None)
    assert response.status in (202, 400)
    assert (response.text, response.polls, response.lifecycle) == ("", (), ())


TOKENS = [
    "x",
    "Validation: Testing client application reachability 7f+/=",
    "a token: é 注文 👍",
    "<b>&amp;</b>",
    "x" * 1024,
]


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: ascii(token)[:20])
def test_a_validation_token_is_returned(token: str) -> None:
    assert validation_response(token) == token
    response = Webhook((), {}).handle(b"", token)
    assert (response.status, response.text, response.polls, response.lifecycle) == (200, token, (), ())


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
def test_an_invalid_validation_token_is_not_returned(token: str, caplog: pytest.LogCaptureFixture) -> None:
    response = Webhook((KEY,), FOLDERS).handle(body(entry()), token)
    assert (response.status, response.text, response.polls, response.lifecycle) == (400, "", (), ())
    assert "with status 400" in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_a_batch_is_answered_with_202_and_its_queue_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    webhook = Webhook((NEXT_KEY, KEY), FOLDERS, lambda: NOW)
    forged = entry(key="another key of 32 characters ....")
    lifecycle = entry("office", lifecycleEvent="subscriptionRemoved")
    response = webhook.handle(body(entry(), entry("office", key=NEXT_KEY), forged, forged, lifecycle), None, TRACE)
    assert (response.status, response.text) == (202, "")
    assert [Poll.from_json(item) for item in response.polls] == [poll_of("support"), poll_of("office")]
    [event] = [LifecycleEvent.from_json(item) for item in response.lifecycle]
    assert (event.mailbox, event.folder, event.kind) == ("office", "INBOX", LifecycleKind.SUBSCRIPTION_REMOVED)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("dropped 2 notification entries")
    assert "GRAPH_CLIENT_STATE_KEY" in lines[0]
    assert "office, INBOX: Microsoft Graph sent subscriptionRemoved" in lines[1]


def test_a_refusal_is_logged_with_status_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    webhook = Webhook((KEY,), FOLDERS)
    assert webhook.handle(b"no json", None).status == 400
    assert webhook.handle(b" " * (MAX_BODY_SIZE + 1), None).status == 413
    first, second = (record.getMessage() for record in caplog.records)
    assert "with status 400" in first
    assert "with status 413" in second
    assert str(MAX_BODY_SIZE + 1) in second


def test_keys_and_client_states_are_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    webhook = Webhook((KEY, NEXT_KEY), FOLDERS, lambda: NOW)
    forged = "v1.0123456789ab.forged-proof"
    entries = [entry(), entry("office", key=NEXT_KEY, lifecycleEvent="missed"), entry(clientState=forged)]
    answers = [webhook.handle(data, None) for data in (body(*entries), body(*entries)[:-1], body(*entries, 7))]
    shown = f"{caplog.text} {answers} {webhook!r} {[record.__dict__ for record in caplog.records]}"
    proofs = [str(item["clientState"]).rpartition(".")[2] for item in entries]
    for hidden in (KEY, NEXT_KEY, *proofs):
        assert hidden not in shown


def test_only_graph_mailboxes_receive_notifications() -> None:
    values = {"MAILBOXES__support__ADDRESS": "support@example.com"}
    assert Webhook.from_settings(settings_for("folder:somewhere", values)).folders == {}


def test_unproven_entries_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    time = [NOW]
    webhook = Webhook((KEY,), FOLDERS, lambda: time[0])
    forged = entry(key="another key of 32 characters ....")
    for _ in range(1_000):
        webhook.handle(body(forged, forged), None)
        webhook.handle(b"no json", None)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "dropped 2 notification entries",
        "refused 1 requests to graph_webhook with status 400",
    ]
    caplog.clear()
    time[0] += timedelta(seconds=61)
    webhook.handle(body(entry()), None)
    webhook.handle(b"no json", None)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "dropped 1998 notification entries",
        "refused 1000 requests to graph_webhook with status 400",
    ], "all are counted"
    caplog.clear()
    time[0] += timedelta(seconds=61)
    webhook.handle(body(entry()), None)
    assert not caplog.records
    time[0] -= timedelta(days=1)
    webhook.handle(body(forged), None)
    assert "dropped 1 notification" in caplog.text, "the system time was set back"


@pytest.mark.parametrize("kind", list(LifecycleKind))
def test_many_lifecycle_events_of_a_request_are_coalesced(kind: LifecycleKind) -> None:
    entries = [
        entry("support", folder, lifecycleEvent=kind.value, subscriptionId=f"subscription-{number}")
        for number in range(100)
        for folder in ("INBOX", "INBOX/Orders")
    ]
    events = received(body(*entries)).lifecycle
    assert len(events) == (2 if kind is LifecycleKind.MISSED else 4)
    assert {event.folder for event in events} == {"INBOX", "INBOX/Orders"}
    assert {event.subscription for event in events} <= {"subscription-0", "subscription-1"}
