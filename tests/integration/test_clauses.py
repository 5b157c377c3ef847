"""Clauses of rules 2 to 7, each from raw bytes to what is stored: what the tests of single parts do not show."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.queued import Announcement
from shared.storage.protocol import QueueName
from tests.integration.sorting_world import World, identity, letter
from tests.servers.pump import work_until_idle

RECEIVED = "Received: from mx.sender.example by mail.example.com with ESMTPS id 1; Tue, 24 Nov 2026 09:00:00 +0000\r\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stores.close()


def taken(world: World, *messages: bytes, mailbox: str = "support") -> list[dict[str, Any]]:
    """All results, once these messages have come to a mailbox, one after the other."""
    for data in messages:
        world.servers[mailbox].deliver(data)
        world.run(mailbox)
    return [world.read(path) for path in world.paths("routed/")]


def parsed(world: World, data: bytes) -> dict[str, Any]:
    return world.read(f"messages/{identity(data)[:2]}/{identity(data)}/message.json")


def mixed(*parts: str, headers: str = "", boundary: str = "edge") -> bytes:
    """A message to sales of several parts, each with header lines of its own."""
    lines = [
        f"{headers}From: a@b.example\r\nTo: sales@example.com\r\nSubject: x\r\nMessage-ID: <1@b.example>",
        f"Date: Tue, 24 Nov 2026 09:00:00 +0000\r\nContent-Type: multipart/mixed; boundary={boundary}\r\n",
        *(f"--{boundary}\r\n{part}" for part in parts),
        f"--{boundary}--\r\n",
    ]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("to", "above", "matched"),
    [
        ("To: sales@example.com", "", "to"),
        ("Cc: sales@example.com", "", "cc"),
        ("To: support@example.com", "Delivered-To: sales@example.com", "fallback"),
        ("To: x@y.example", "Delivered-To: sales@example.com", "delivered-to"),
        ("To: x@y.example", "Envelope-To: sales@example.com", "envelope-to"),
        ("To: x@y.example", "X-Envelope-To: sales@example.com", "x-envelope-to"),
        ("To: x@y.example", "X-Forwarded-To: sales@example.com", "x-forwarded-to"),
        ("To: x@y.example", "Resent-To: sales@example.com", "resent-to"),
        ("To: x@y.example", "", "wildcard"),
    ],
)
def test_2_3_a_result_says_what_matched_so_that_a_rewritten_alias_can_be_seen(
    world: World, to: str, above: str, matched: str
) -> None:
    world.values = {key: value for key, value in world.values.items() if not key.startswith("ROUTES__support__")}
    world.values |= {
        "MAILBOXES__support__FALLBACK": "rest",
        "ROUTES__rest__MAILBOX": "support",
        "ROUTES__any__MAILBOX": "support",
        "ROUTES__any__ADDRESS": "*",
        "ROUTES__any__SENDERS": "*@b.example" if matched == "wildcard" else "*@partner.example",
    }
    top = f"{above}\r\n{RECEIVED}" if above else RECEIVED
    [result] = taken(world, f"{top}From: a@b.example\r\n{to}\r\n\r\ntext\r\n".encode())
    assert result["matched"] == matched
    # Exchange put the primary address in the alias's place: what matched is not for whom it was delivered.
    assert [one["address"] for one in result["hints"]] == (["sales@example.com"] if above else [])


def test_2_5_what_is_no_address_is_listed_and_the_rest_of_the_message_goes_on(world: World) -> None:
    data = letter("The Sales Team, sales@example.com")
    [result] = taken(world, data)
    assert result["recipient"] == "sales@example.com"
    assert parsed(world, data)["invalid_addresses"] == ["The Sales Team"]
    other = letter("The Sales Team")
    taken(world, other)
    [path] = world.paths("unhandled/")
    told = world.read(path)
    assert (told["reason"], told["invalid_addresses"]) == ("invalid-recipients", ["The Sales Team"])


def test_3_1_a_route_is_one_mailboxs_or_all_mailboxes_and_can_be_disabled(world: World) -> None:
    taken(world, letter("office@example.com"))
    assert world.results() == [], "it is the other mailbox's route"
    taken(world, letter("office@example.com", subject="again"), mailbox="office")
    taken(world, letter("sales@example.com"), mailbox="office")
    assert world.results() == [("office", "office@example.com"), ("sales", "sales@example.com")]
    world.values["ROUTES__sales__ENABLED"] = "false"
    taken(world, letter("sales@example.com", subject="later"))
    assert len(world.results()) == 2
    assert len(world.paths("unhandled/support/")) == 2


PDF = 'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="Offer.PDF"\r\n\r\n%PDF'
TEXT = "Content-Type: text/plain\r\n\r\nhello"
PLAIN = letter("sales@example.com", subject="Angebot 7")


@pytest.mark.parametrize(
    ("setting", "value", "holds", "fails"),
    [
        ("SENDERS", "*@b.example", PLAIN, letter("sales@example.com", sender="a@sub.b.example")),
        ("SENDERS", "A@B.example", PLAIN, letter("sales@example.com", sender="c@b.example")),
        ("RECIPIENTS", "*@y.example", letter("sales@example.com, x@y.example"), PLAIN),
        ("SUBJECT_WORDS", "rechnung;ANGEBOT", PLAIN, letter("sales@example.com", subject="Angebote")),
        ("SUBJECT_WORDS", "text", letter("sales@example.com", subject="a text"), PLAIN),
        ("ATTACHMENT_TYPES", "xml;pdf", mixed(TEXT, PDF), mixed(TEXT)),
        ("IMPORTANT", "true", mixed(TEXT, headers="Importance: High\r\n"), mixed(TEXT, headers="X-Priority: 3\r\n")),
        ("IMPORTANT", "true", mixed(TEXT, headers="X-Priority: 2 (High)\r\n"), mixed(TEXT)),
        ("IMPORTANT", "true", mixed(TEXT, headers="Priority: urgent\r\n"), mixed(TEXT)),
        ("FOLDERS", "INBOX", PLAIN, None),
        ("FOLDERS", "*", PLAIN, None),
        ("FOLDERS", "Archive", None, PLAIN),
    ],
)
def test_3_2_a_route_takes_what_its_conditions_hold_for_and_the_body_is_never_one(
    world: World, setting: str, value: str, holds: bytes | None, fails: bytes | None
) -> None:
    world.values[f"ROUTES__sales__{setting}"] = value
    assert len(taken(world, *filter(None, [holds]))) == (holds is not None)
    taken(world, *filter(None, [fails]))
    reasons = [world.read(path)["reason"] for path in world.paths("unhandled/")]
    assert reasons == ["conditions"] * (fails is not None)
    assert len(world.results()) == (holds is not None)


def test_3_3_every_recipient_has_one_result_by_the_first_route_in_order(world: World) -> None:
    world.values |= {
        "ROUTES__all__ADDRESS": "*@example.com",
        "ROUTES__all__ORDER": "10",
        "ROUTES__sales__ORDER": "20",
        "ROUTES__press__ADDRESS": "press@example.com",
        "ROUTES__press__ORDER": "5",
    }
    taken(world, letter("sales@example.com, press@example.com, sales@example.com"))
    assert world.results() == [("all", "sales@example.com"), ("press", "press@example.com")]


@pytest.mark.parametrize("blocked", ["spam@b.example", "*@b.example"])
def test_3_7_blocked_is_by_address_or_by_domain(world: World, blocked: str) -> None:
    world.values["MAILBOXES__support__BLOCKED_SENDERS"] = blocked
    taken(world, letter("sales@example.com", sender="Spam <SPAM@b.example>"))
    assert [world.read(path)["blocked_by"] for path in world.paths("blocked/")] == [blocked]
    taken(world, letter("sales@example.com", sender="c@c.example"))
    assert world.results() == [("sales", "sales@example.com")]
    assert world.paths("unhandled/") == []


def test_4_2_an_aliass_second_copy_is_a_duplicate_and_another_recipients_is_not(world: World) -> None:
    data = letter("sales@example.com, office@example.com")
    taken(world, data, data)
    taken(world, data, mailbox="office")
    assert world.results() == [("office", "office@example.com"), ("sales", "sales@example.com")]
    assert [path.split("/")[1] for path in world.paths("duplicates/")] == ["office", "support"]


def test_4_3_without_a_message_id_nothing_is_dropped_for_that(world: World) -> None:
    bare = "From: a@b.example\r\nTo: sales@example.com\r\nSubject: x\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    doubled = f"{bare}Message-ID: <1@b.example>\r\nMessage-ID: <2@b.example>\r\n"
    pairs = enumerate((bare, bare, doubled, doubled))
    messages = [f"{head}\r\n{number}\r\n".encode() for number, head in pairs]
    assert len(taken(world, *messages)) == 4
    assert world.paths("duplicates/") == []


def test_4_4_the_same_mail_built_anew_with_other_boundaries_gives_no_second_result(world: World) -> None:
    first, second = mixed(TEXT, PDF), mixed(TEXT, PDF, boundary="other")
    assert len(taken(world, first, second)) == 1
    [path] = world.paths("duplicates/")
    assert world.read(path)["message"] == identity(second)


def test_4_4_an_announcement_that_comes_again_makes_nothing(world: World) -> None:
    taken(world, letter("sales@example.com"))
    before = world.paths("")
    [receipt] = world.receipts()
    world.stores.queues[QueueName.ARRIVALS].put_many([Announcement(receipt.arrival).body()] * 2)
    work_until_idle(world.app())
    assert world.paths("") == before


def test_4_4_a_delete_that_the_server_delays_makes_no_second_result(world: World) -> None:
    """The server says yes, lists the message once more, and removes it at the second asking."""
    server = world.servers["support"]
    server.deliver(letter("sales@example.com"))
    world.run("support")
    server.messages[1] = letter("sales@example.com")
    world.time += timedelta(minutes=5)
    before = world.paths("")
    world.run("support")
    assert world.paths("") == before
    assert (server.downloads, server.messages) == (1, {})


BOUNCE = (
    b"Return-Path: <>\r\nFrom: MAILER-DAEMON@b.example\r\nTo: sales@example.com\r\nAuto-Submitted: auto-replied\r\n"
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=edge\r\n\r\n"
    b"--edge\r\n\r\nSorry.\r\n--edge\r\n"
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.b.example\r\n\r\n"
    b"Final-Recipient: rfc822; gone@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n--edge\r\n"
    b"Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <offer-7@example.com>\r\n--edge--\r\n"
)


def test_5_2_a_delivery_reports_recipients_and_codes_are_in_the_result(world: World) -> None:
    [result] = taken(world, BOUNCE)
    assert result["automatic"]["kind"] == "bounce"
    report = result["report"]
    assert [(one["address"], one["status"]) for one in report["failed"]] == [("gone@b.example", "5.1.1")]
    assert report["original_message_id"] == "offer-7@example.com"
    assert parsed(world, BOUNCE)["report"] == report


def test_6_1_a_result_carries_what_it_refers_to_as_sent(world: World) -> None:
    head = "In-Reply-To: <2@x.example>\r\nReferences: <1@x.example>\r\n <2@x.example>\r\n"
    [result] = taken(world, mixed(TEXT, headers=head))
    assert result["in_reply_to"] == ["2@x.example"]
    assert result["references"] == ["1@x.example", "2@x.example"]
    assert len(result["conversation"]) == 64


RESULT = {
    "schema", "message", "arrival", "route", "recipient", "matched", "reference", "conversation", "hints", "automatic",
    "envelope", "paths",
}  # fmt: skip


def test_7_4_a_result_has_all_that_a_consumer_needs(world: World) -> None:
    [result] = taken(world, mixed(TEXT, PDF))
    assert set(result) >= RESULT
    paths: Sequence[str] = [result["paths"]["raw"], result["paths"]["message"], *result["paths"]["attachments"]]
    assert len(paths) == 3
    assert all(world.stores.blobs.exists(path) for path in paths)


KINDS = {
    "inline image": "Content-Type: image/png\r\nContent-Disposition: inline\r\nContent-ID: <i@b>\r\n\r\npng",
    "message": "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner",
    "invitation": "Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR",
    "winmail.dat": "Content-Type: application/ms-tnef; name=winmail.dat\r\n\r\n\x01",
}


@pytest.mark.parametrize("part", KINDS.values(), ids=KINDS)
def test_7_5_what_is_no_text_of_the_message_is_stored_as_an_attachment(world: World, part: str) -> None:
    data = mixed(TEXT, part)
    [result] = taken(world, data)
    [path] = result["paths"]["attachments"]
    assert world.stores.blobs.read(path) == part.partition("\r\n\r\n")[2].encode()
    told = parsed(world, data)
    assert (told["text"], told["attachments"][0]["path"]) == ("hello", path)


HTML = '<p>Hi <img src="https://t.example/open.gif"><script src="https://t.example/x.js"></script>there</p>'


def test_7_5_html_is_kept_as_sent_and_what_it_points_to_stays_where_it_is(world: World) -> None:
    data = mixed(f"Content-Type: text/html\r\n\r\n{HTML}")
    [result] = taken(world, data)
    told = parsed(world, data)
    assert (told["html"], told["text"]) == (HTML, "Hi there")
    assert result["paths"]["attachments"] == []


DAMAGED = {
    "no closing boundary": mixed(TEXT)[:-10],
    "broken base64": mixed("Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\nA=B!C"),
    "raw bytes in the header": PLAIN.replace(b"Angebot", b"\xff\xfe\xe9"),
    "an unknown charset": mixed("Content-Type: text/plain; charset=x-none\r\n\r\n\xe9"),
    "no such date": PLAIN.replace(b"From:", b"Date: 31 Feb 99999 25:61\r\nFrom:"),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_7_6_what_is_damaged_is_stored_raw_and_routed_all_the_same(world: World, data: bytes) -> None:
    [result] = taken(world, data)
    assert result["route"] == "sales"
    assert world.stores.blobs.read(result["paths"]["raw"]) == data
    assert parsed(world, data)["defects"]


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "koi8-r", "utf-8", "shift_jis", "no-such-charset"])
def test_7_7_what_is_stored_is_utf_8(world: World, charset: str) -> None:
    word = {"koi8-r": "\u043f\u0440\u0438\u0432\u0435\u0442", "shift_jis": "\u65e5\u672c\u8a9e"}.get(
        charset, "Gr\u00fc\u00dfe"
    )
    sent = word.encode("utf-8" if charset == "no-such-charset" else charset)
    data = mixed(
        f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.b64encode(sent).decode()
    )
    taken(world, data)
    stored = world.stores.blobs.read(f"messages/{identity(data)[:2]}/{identity(data)}/message.json")
    assert stored is not None
    assert word in stored.decode("utf-8")
