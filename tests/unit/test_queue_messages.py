"""Queue messages are parsed as they were written, those of an older release included."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.errors import MessageUnreadable
from shared.keys import outbox_key
from shared.queue_messages import LifecycleEvent, LifecycleKind, Poll, PollReason, RouteRequest, route_requests

ASKED = datetime(2026, 11, 23, 12, 0, 7, 123456, tzinfo=UTC)
ENTRY = "a1" * 32
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "message",
    [
        RouteRequest("a1" * 32),
        RouteRequest("a1" * 8, 3),
        *(Poll("support", reason) for reason in PollReason),
        Poll("support", PollReason.NOTIFIED, 2, TRACE, ASKED),
        Poll("support", PollReason.RECHECK, requested_at=ASKED.astimezone(timezone(timedelta(hours=2)))),
        *(LifecycleEvent("support", "INBOX/Büro 注文", kind, "id", 1, TRACE) for kind in LifecycleKind),
        LifecycleEvent("support", "INBOX", LifecycleKind.MISSED, ""),
    ],
    ids=lambda item: type(item).__name__,
)
def test_queue_messages_round_trip(message: RouteRequest | Poll | LifecycleEvent) -> None:
    assert type(message).from_json(message.to_json()) == message
    assert json.loads(message.to_json())["v"] == 1


def test_a_queue_message_of_an_older_release_is_parsed() -> None:
    assert RouteRequest.from_json(f'{{"v": 1, "outbox": "{ENTRY}"}}') == RouteRequest(ENTRY)
    assert Poll.from_json('{"v": 1, "mailbox": "support", "reason": "timer"}') == Poll("support", PollReason.TIMER)
    old = json.dumps({"v": 1, "mailbox": "support", "reason": "follow-up", "retries": 2, "traceparent": TRACE})
    assert Poll.from_json(old) == Poll("support", PollReason.FOLLOW_UP, 2, TRACE)


def test_an_additional_field_of_a_newer_release_is_ignored() -> None:
    body = json.loads(Poll("support", PollReason.NOTIFIED, requested_at=ASKED).to_json()) | {"more": [1]}
    assert Poll.from_json(json.dumps(body)).requested_at == ASKED


@pytest.mark.parametrize("time", ["", "soon", "2026-11-23T12:00:00", "2026-13-01T00:00:00+00:00", 7, None, [], {}])
def test_an_invalid_time_never_suppresses_a_poll(time: object) -> None:
    body = {"v": 1, "mailbox": "support", "reason": "notified", "requested_at": time}
    assert Poll.from_json(json.dumps(body)).requested_at is None


@pytest.mark.parametrize("kind", [RouteRequest, Poll, LifecycleEvent], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "body",
    [
        *("", "null", "[]", "{}", "7", '{"v": 1}', "[" * 100_000, "{", "\ud800"),
        *(f'{{"v": 2, "outbox": "{ENTRY}"}}', '{"v": 1, "outbox": 7}', '{"v": 1, "mailbox": "m"}'),
        *(f'{{"v": 1, "outbox": "{ENTRY}", "retries": {retries}}}' for retries in ('"many"', "null", "[]", "1.5")),
        *(f'{{"v": 1, "outbox": "{key}"}}' for key in ("a" * 15, "a" * 65, "A" * 64, "g" * 64, f"{ENTRY}\\n", "")),
        *('{"v": 1, "mailbox": "m", "reason": "why"}', '{"v": 1, "mailbox": ["m"], "reason": "timer"}'),
        *(
            '{"v": 1, "mailbox": "m", "reason": ["timer"]}',
            '{"v": 1, "mailbox": "m", "reason": "timer", "retries": null}',
        ),
        *('{"v": 1, "mailbox": "m", "folder": "f"}', '{"v": 1, "mailbox": "m", "folder": "f", "kind": "MISSED"}'),
        *('{"v": 1, "folder": "f", "kind": "missed"}', '{"v": 1, "mailbox": "m", "folder": 7, "kind": "missed"}'),
    ],
    ids=lambda body: ascii(body)[:60],
)
def test_a_foreign_queue_message_is_rejected_with_the_reason(
    kind: type[RouteRequest | Poll | LifecycleEvent], body: str
) -> None:
    with pytest.raises(MessageUnreadable, match=r"queue"):
        kind.from_json(body)


def test_the_entries_of_a_batch_have_one_request_and_one_alone_has_its_own() -> None:
    batch = [outbox_key("b" * 15, "1" + digit * 63) for digit in "234"]
    alone, of_other_folder = outbox_key("c" * 15, "1" + "2" * 63), outbox_key("b" * 15, "2" * 64)
    assert route_requests([batch[1], alone, batch[0], of_other_folder, alone, batch[2]], retries=1) == [
        RouteRequest("1" + "b" * 15, 1),
        RouteRequest(alone, 1),
        RouteRequest(of_other_folder, 1),
    ]
    assert route_requests([]) == []
