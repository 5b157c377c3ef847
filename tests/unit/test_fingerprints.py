"""By what two messages are the same (rules 4.1, 4.3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.mail.message import parse
from shared.routing.fingerprints import Seen, fingerprints
from shared.sorting.asked import seen_of

SEEN = Seen(
    senders=("ann@customer.example",),
    to=("sales@example.com", "billing@example.com"),
    cc=("support@example.com",),
    subject="Ten chairs",
    sent=datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    message_id="1@customer.example",
    bodies=("We would like ten chairs.", ""),
    attachments=(("order.pdf", "aa"), ("logo.png", "bb")),
)


def kinds(seen: Seen, message: str = "x") -> dict[str, str]:
    return {one.kind: one.digest for one in fingerprints(message, seen)}


def test_4_1_the_one_order_in_which_claims_are_taken() -> None:
    assert list(kinds(SEEN)) == ["raw", "content", "message-id"]
    assert kinds(SEEN)["raw"] == "x"


@pytest.mark.parametrize(
    "same",
    [
        replace(SEEN, to=("billing@example.com", "sales@example.com", "sales@example.com")),
        replace(SEEN, subject="Ten  chairs "),
        replace(SEEN, bodies=("We would\r\n  like ten chairs.\n\n", "")),
        replace(SEEN, attachments=(("logo.png", "bb"), ("order.pdf", "aa"))),
    ],
)
def test_4_1_what_servers_change_on_the_way_is_no_difference(same: Seen) -> None:
    assert kinds(same, "y") == {**kinds(SEEN), "raw": "y"}


def test_4_1_a_footer_that_a_gateway_adds_leaves_the_message_id() -> None:
    other = kinds(replace(SEEN, bodies=("We would like ten chairs.\n--\nScanned.", "")), "y")
    assert other["content"] != kinds(SEEN)["content"]
    assert other["message-id"] == kinds(SEEN)["message-id"]


def test_4_1_another_message_id_leaves_the_content() -> None:
    other = kinds(replace(SEEN, message_id="2@customer.example"), "y")
    assert other["content"] == kinds(SEEN)["content"]
    assert other["message-id"] != kinds(SEEN)["message-id"]


@pytest.mark.parametrize(
    "other",
    [
        replace(SEEN, sent=datetime(2026, 11, 24, 9, 0, 1, tzinfo=UTC)),
        replace(SEEN, senders=("bob@customer.example",)),
        replace(SEEN, to=("sales@example.com",)),
        replace(SEEN, cc=()),
        replace(SEEN, to=SEEN.cc, cc=SEEN.to),
        replace(SEEN, subject="Eleven chairs"),
        replace(SEEN, attachments=(("order2.pdf", "aa"), ("logo.png", "bb"))),
        replace(SEEN, attachments=SEEN.attachments[:1]),
    ],
)
def test_4_3_the_same_message_id_with_anything_else_visible_is_another_message(other: Seen) -> None:
    assert kinds(other)["message-id"] != kinds(SEEN)["message-id"]


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        (replace(SEEN, message_id=None), ["raw", "content"]),
        (replace(SEEN, sent=None), ["raw"]),
        (replace(SEEN, senders=()), ["raw", "message-id"]),
        (replace(SEEN, whole=False), ["raw", "message-id"]),
    ],
)
def test_4_3_what_could_not_be_read_makes_nothing_the_same(seen: Seen, left: list[str]) -> None:
    assert list(kinds(seen)) == left


@pytest.mark.parametrize(
    ("head", "left"),
    [
        ("Message-ID: <1@x>\nMessage-ID: <1@x>\n", ["raw", "content"]),
        ("Message-ID: \n", ["raw", "content"]),
        ("Message-ID: <1@x>\n", ["raw", "content", "message-id"]),
    ],
)
def test_4_3_a_message_id_that_is_missing_empty_or_there_twice_is_none(head: str, left: list[str]) -> None:
    raw = f"From: a@b.example\nDate: Tue, 24 Nov 2026 09:00:00 +0100\n{head}\ntext\n".encode()
    seen = seen_of(parse(raw))
    assert list(kinds(seen)) == left
    assert seen.sent == datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    assert replace(seen, sent=seen.sent + timedelta(seconds=1)) != seen


def test_4_4_the_same_mail_built_anew_with_other_boundaries_is_the_same() -> None:
    def built(boundary: str) -> bytes:
        return (
            "From: a@b.example\nTo: sales@example.com\nDate: Tue, 24 Nov 2026 09:00:00 +0100\n"
            f'Content-Type: multipart/mixed; boundary="{boundary}"\n\n--{boundary}\n\nhello\n--{boundary}\n'
            f"Content-Type: application/pdf; name=a.pdf\n\npdf\n--{boundary}--\n"
        ).encode()

    assert kinds(seen_of(parse(built("one"))))["content"] == kinds(seen_of(parse(built("two"))))["content"]


def test_4_1_a_message_past_a_cap_has_no_content_fingerprint() -> None:
    parts = b"".join(b"--b\r\n\r\nx\r\n" for _ in range(10_100))
    raw = b"From: a@b.example\r\nDate: Tue, 24 Nov 2026 09:00:00 +0100\r\nMessage-ID: <1@x>\r\n"
    raw += b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"
    assert list(kinds(seen_of(parse(raw)))) == ["raw", "message-id"]
