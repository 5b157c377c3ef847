"""Receipts as records, and what stands on the queues."""

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
    left_path,
    parsed_path,
    raw_path,
    record_path,
    result_again_path,
    result_path,
)
from shared.errors import MessageUnreadable
from shared.queue_messages import QUEUE_VERSION, Announcement, Poll, Reason
from shared.receipts import LONGEST, Receipt, State, found_by
from shared.storage.base import Record

RECEIPT = Receipt(
    arrival="a" * 64,
    mailbox="support",
    protocol="imap",
    folder="INBOX/Gr\u00fc\u00dfe",
    server_key="1.2",
    message="b" * 64,
    size=10,
    told_size=11,
    received=datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
    stored_at=datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC),
)


@pytest.mark.parametrize(
    "receipt",
    [
        RECEIPT,
        replace(RECEIPT, received=None),
        replace(RECEIPT, state=State.OVERSIZED, message=""),
        replace(RECEIPT, state=State.FAILED, removed=True),
    ],
)
def test_a_receipt_reads_as_it_was_written(receipt: Receipt) -> None:
    assert Receipt.of(Record(receipt.arrival, dict(receipt.values()), "e")) == receipt


def test_a_receipt_reads_what_sorting_added() -> None:
    added = {"outcomes": json.dumps({"sales@example.com": "routed x"}), "last_error": "ValueError: y"}
    receipt = Receipt.of(Record(RECEIPT.arrival, {**RECEIPT.values(), **added}, "e"))
    assert receipt.outcomes == {"sales@example.com": "routed x"}
    assert receipt.last_error == "ValueError: y"


def test_a_receipt_reads_what_it_is_found_by() -> None:
    senders = ("ann@customer.example", "bob@customer.example")
    noted = found_by(senders, ("sales@example.com",), "1@customer.example")
    assert (noted["sender"], noted["several_senders"]) == (senders[0], True)
    receipt = Receipt.of(Record(RECEIPT.arrival, {**RECEIPT.values(), **noted, "fate": "routed"}, "e"))
    assert (receipt.senders, receipt.named) == (senders, ("sales@example.com",))
    assert (receipt.message_id, receipt.fate) == ("1@customer.example", "routed")
    assert found_by((), (), None)["sender"] == ""
    assert found_by((), (), None)["several_senders"] is False
    assert len(str(found_by((), (), "x" * 2000)["message_id"])) == LONGEST


def test_a_forgotten_receipt_was_downloaded_and_has_nothing_left() -> None:
    marked = replace(RECEIPT, state=State.FORGOTTEN)
    assert marked.was_downloaded
    assert not marked.has_everything_forgotten
    assert replace(marked, message="").has_everything_forgotten
    assert not replace(RECEIPT, state=State.OVERSIZED, message="").has_everything_forgotten


def test_writing_a_receipt_again_leaves_what_sorting_added() -> None:
    """A merge of `values` must not carry the outcomes of nobody over those that are there."""
    added = {"outcomes", "last_error", "fate", "conversation", "routed_at"}
    assert not {*added, *found_by((), (), None)} & RECEIPT.values().keys()


@pytest.mark.parametrize("announcement", [Announcement("ab"), Announcement("ab", 3, "00-aa-bb-01")])
def test_an_announcement_reads_as_it_was_written(announcement: Announcement) -> None:
    assert Announcement.of(announcement.body()) == announcement


@pytest.mark.parametrize("reason", Reason)
def test_a_poll_reads_as_it_was_written(reason: Reason) -> None:
    poll = Poll("support", reason, 2, "00-aa-bb-01")
    assert Poll.of(poll.body()) == poll
    assert Poll.of(Poll("support", reason).body()) == Poll("support", reason)


def test_queue_messages_are_versioned_json_and_small() -> None:
    for body in (Announcement("a" * 64, 1, "t" * 55).body(), Poll("support", Reason.CLOCK).body()):
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
    '{"v": 2, "arrival": "ab", "mailbox": "support", "reason": "clock"}',
    '{"arrival": "ab", "mailbox": "support", "reason": "clock"}',
    '{"v": 1, "arrival": 5, "mailbox": 5, "reason": "clock"}',
    '{"v": 1, "arrival": null, "mailbox": null, "reason": "clock"}',
    '{"v": 1, "arrival": ["ab"], "mailbox": ["support"], "reason": "clock"}',
    '{"v": 1, "arrival": "ab", "retries": "3", "mailbox": "support", "reason": "clock"}',
    '{"v": 1, "arrival": "ab", "retries": null, "mailbox": "support", "reason": "clock"}',
    "[" * 100_000,
    "\u0000\ud800",
]


@pytest.mark.parametrize("body", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize("codec", [Announcement.of, Poll.of], ids=["announcement", "poll"])
def test_junk_on_a_queue_is_refused(codec: Callable[[str], object], body: str) -> None:
    with pytest.raises(MessageUnreadable):
        codec(body)


@pytest.mark.parametrize("reason", ['"never"', "null", "5", "[]", "{}", '["clock"]'])
def test_a_poll_for_no_known_reason_is_refused(reason: str) -> None:
    with pytest.raises(MessageUnreadable):
        Poll.of(f'{{"v": 1, "mailbox": "support", "reason": {reason}}}')


def test_what_a_later_release_adds_is_ignored() -> None:
    assert Announcement.of('{"v": 1, "arrival": "ab", "new": {"x": 1}}') == Announcement("ab")


def test_7_the_layout_of_the_container() -> None:
    message, day = "ab" + "c" * 62, RECEIPT.stored_at
    assert raw_path(message) == f"messages/ab/{message}/raw.eml"
    assert parsed_path(message) == f"messages/ab/{message}/message.json"
    assert attachment_path(message, 1, "invoice.pdf") == f"messages/ab/{message}/attachments/01-invoice.pdf"
    # printf sales@example.com | sha256sum
    recipient = "1bc5b2df43e1"
    assert (
        result_path("sales", day, message, "sales@example.com") == f"routed/sales/2026/11/23/{message}-{recipient}.json"
    )
    first = result_path("sales", day, message, "sales@example.com")
    anew = result_again_path("sales", day, message, "sales@example.com", "id")
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
    assert left_path("oversized", "support", day, arrival) == "oversized/support/2026/11/23/0123456789ab.json"
