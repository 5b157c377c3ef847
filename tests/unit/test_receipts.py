"""Receipts as records, and queue messages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.documents.blob_paths import (
    attachment_path,
    is_first_result,
    is_result_for,
    parsed_path,
    raw_path,
    record_path,
    reissued_result_path,
    result_path,
    skipped_path,
)
from shared.errors import MessageUnreadable
from shared.keys import outbox_key
from shared.queue_messages import QUEUE_VERSION, Poll, PollReason, RouteRequest
from shared.receipts import MAX_MESSAGE_ID_LENGTH, MAX_SUBJECT_LENGTH, Receipt, State, search_columns
from shared.storage.base import Record

RECEIPT = Receipt(
    arrival="a" * 64,
    mailbox="support",
    protocol="imap",
    folder="INBOX/Gr\u00fc\u00dfe",
    server_key="1.2",
    message="b" * 64,
    size=10,
    reported_size=11,
    received=datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
    stored_at=datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC),
)


@pytest.mark.parametrize(
    "receipt",
    [
        RECEIPT,
        replace(RECEIPT, received=None),
        replace(RECEIPT, outbox=outbox_key("0" * 15, RECEIPT.arrival)),
        replace(RECEIPT, state=State.OVERSIZED, message=""),
        replace(RECEIPT, state=State.FAILED, removed=True),
    ],
)
def test_a_receipt_is_parsed_as_it_was_written(receipt: Receipt) -> None:
    assert Receipt.from_record(Record(receipt.arrival, dict(receipt.to_values()), "e")) == receipt


def test_a_receipt_is_parsed_with_what_routing_added() -> None:
    added = {"outcomes": json.dumps({"sales@example.com": "routed x"}), "last_error": "ValueError: y"}
    receipt = Receipt.from_record(Record(RECEIPT.arrival, {**RECEIPT.to_values(), **added}, "e"))
    assert receipt.outcomes == {"sales@example.com": "routed x"}
    assert receipt.last_error == "ValueError: y"


def test_a_receipt_is_parsed_with_its_search_columns() -> None:
    senders = ("ann@customer.example", "bob@customer.example")
    noted = search_columns(senders, ("sales@example.com",), "1@customer.example")
    assert (noted["sender"], noted["several_senders"]) == (senders[0], True)
    receipt = Receipt.from_record(Record(RECEIPT.arrival, {**RECEIPT.to_values(), **noted, "outcome": "routed"}, "e"))
    assert (receipt.senders, receipt.to_and_cc) == (senders, ("sales@example.com",))
    assert (receipt.message_id, receipt.outcome) == ("1@customer.example", "routed")
    assert (receipt.subject, receipt.sent) == ("", None)
    assert search_columns((), (), None)["sender"] == ""
    assert search_columns((), (), None)["several_senders"] is False
    assert len(str(search_columns((), (), "x" * 2000)["message_id"])) == MAX_MESSAGE_ID_LENGTH


def test_a_receipt_holds_the_beginning_of_the_subject_on_one_line_and_a_credible_date() -> None:
    sent = datetime(2026, 11, 24, 9, tzinfo=UTC)
    columns = search_columns((), (), None, subject=" a\r\n\tb\x00\x1b[1m\x9bc " + "x" * 1000, sent=sent)
    receipt = Receipt.from_record(Record(RECEIPT.arrival, {**RECEIPT.to_values(), **columns}, "e"))
    assert receipt.subject == ("a b [1m c " + "x" * 1000)[:MAX_SUBJECT_LENGTH]
    assert receipt.sent == sent
    for year in (1, 1601, 9999):
        assert "sent" not in search_columns((), (), None, sent=sent.replace(year=year))
    assert not {"subject", "sent"} & replace(receipt, state=State.ERASED).to_values().keys(), "a bare receipt"


def test_a_bare_receipt_was_downloaded_and_is_fully_erased() -> None:
    marked = replace(RECEIPT, state=State.ERASED)
    assert marked.was_downloaded
    assert not marked.is_fully_erased
    assert replace(marked, message="").is_fully_erased
    assert not replace(RECEIPT, state=State.OVERSIZED, message="").is_fully_erased


def test_writing_a_receipt_again_keeps_what_routing_added() -> None:
    """A merge of `to_values` must not replace existing outcomes by empty ones."""
    added = {"outcomes", "last_error", "outcome", "conversation", "routed_at"}
    assert not {*added, *search_columns((), (), None)} & RECEIPT.to_values().keys()


def test_an_outbox_entry_holds_the_receipt_the_arrival_and_the_trace() -> None:
    receipt = replace(RECEIPT, outbox=outbox_key("0" * 15, RECEIPT.arrival))
    values = receipt.to_outbox_values("00-aa-bb-01")
    assert (values["arrival"], values["traceparent"]) == (RECEIPT.arrival, "00-aa-bb-01")
    assert Receipt.from_record(Record(str(values["arrival"]), dict(values), "e")) == receipt


@pytest.mark.parametrize("route_request", [RouteRequest("ab" * 32), RouteRequest("ab" * 8, 3)])
def test_a_route_request_is_parsed_as_it_was_written(route_request: RouteRequest) -> None:
    assert RouteRequest.from_json(route_request.to_json()) == route_request


@pytest.mark.parametrize("reason", PollReason)
def test_a_poll_is_parsed_as_it_was_written(reason: PollReason) -> None:
    poll = Poll("support", reason, 2, "00-aa-bb-01")
    assert Poll.from_json(poll.to_json()) == poll
    assert Poll.from_json(Poll("support", reason).to_json()) == Poll("support", reason)


def test_queue_messages_are_versioned_json_and_small() -> None:
    for body in (RouteRequest("a" * 64, 1).to_json(), Poll("support", PollReason.TIMER).to_json()):
        assert json.loads(body)["v"] == QUEUE_VERSION
        assert len(body) < 1000


JUNK = [
    "",
    "junk",
    "null",
    "[]",
    "1",
    "{}",
    '"text"',
    '{"v": 1}',
    '{"v": 2, "outbox": "abababababababab", "mailbox": "support", "reason": "timer"}',
    '{"outbox": "abababababababab", "mailbox": "support", "reason": "timer"}',
    '{"v": 1, "outbox": 5, "mailbox": 5, "reason": "timer"}',
    '{"v": 1, "outbox": null, "mailbox": null, "reason": "timer"}',
    '{"v": 1, "outbox": ["ab"], "mailbox": ["support"], "reason": "timer"}',
    '{"v": 1, "outbox": "abababababababab", "retries": "3", "mailbox": "support", "reason": "timer"}',
    '{"v": 1, "outbox": "abababababababab", "retries": null, "mailbox": "support", "reason": "timer"}',
    "[" * 100_000,
    "\u0000\ud800",
]


@pytest.mark.parametrize("body", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize("codec", [RouteRequest.from_json, Poll.from_json], ids=["route_request", "poll"])
def test_an_invalid_queue_message_is_rejected(codec: Callable[[str], object], body: str) -> None:
    with pytest.raises(MessageUnreadable):
        codec(body)


@pytest.mark.parametrize("reason", ['"never"', "null", "5", "[]", "{}", '["timer"]'])
def test_a_poll_with_an_unknown_reason_is_rejected(reason: str) -> None:
    with pytest.raises(MessageUnreadable):
        Poll.from_json(f'{{"v": 1, "mailbox": "support", "reason": {reason}}}')


def test_a_field_of_a_later_release_is_ignored() -> None:
    body = '{"v": 1, "outbox": "abababababababab", "new": {"x": 1}}'
    assert RouteRequest.from_json(body) == RouteRequest("ab" * 8)


def test_7_the_layout_of_the_container() -> None:
    message, day = "ab" + "c" * 62, RECEIPT.stored_at
    assert raw_path(message) == f"messages/ab/{message}.eml"
    assert parsed_path(message) == f"messages/ab/{message}/message.json"
    assert attachment_path(message, 1, "invoice.pdf") == f"messages/ab/{message}/attachments/01-invoice.pdf"
    # printf sales@example.com | sha256sum
    recipient = "1bc5b2df43e1"
    assert (
        result_path("sales", day, message, "sales@example.com") == f"routed/sales/2026/11/23/{message}-{recipient}.json"
    )
    first = result_path("sales", day, message, "sales@example.com")
    anew = reissued_result_path("sales", day, message, "sales@example.com", "id")
    assert anew == f"routed/sales/2026/11/23/{message}-{recipient}-{hashlib.sha256(b'id').hexdigest()[:12]}.json"
    assert [is_first_result(first), is_first_result(anew)] == [True, False]
    for path in (first, anew):
        assert is_result_for(path, "sales@example.com")
        assert not is_result_for(path, "billing@example.com")
        assert not is_result_for(path.replace("routed/", "failed/"), "sales@example.com")
    arrival = "0123456789abcdef"
    assert (
        record_path("failed", "support", day, message, arrival)
        == f"failed/support/2026/11/23/{message}-0123456789ab.json"
    )
    assert skipped_path("oversized", "support", day, arrival) == "oversized/support/2026/11/23/0123456789ab.json"
