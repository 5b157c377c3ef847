"""Clauses of rules 5 to 7, each from raw bytes to stored documents: what unit tests do not show."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration.routing_fixture import RoutingFixture, identity, letter
from tests.integration.rules_fixture import PDF, TEXT, mixed, read_message, results_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    fixture = RoutingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


BOUNCE = (
    b"Return-Path: <>\r\nFrom: MAILER-DAEMON@b.example\r\nTo: sales@example.com\r\nAuto-Submitted: auto-replied\r\n"
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=edge\r\n\r\n"
    b"--edge\r\n\r\nSorry.\r\n--edge\r\n"
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.b.example\r\n\r\n"
    b"Final-Recipient: rfc822; gone@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n--edge\r\n"
    b"Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <offer-7@example.com>\r\n--edge--\r\n"
)


def test_5_2_a_delivery_reports_recipients_and_codes_are_in_the_parsed_message(world: RoutingFixture) -> None:
    [result] = results_of(world, BOUNCE)
    assert result["automatic"]["kind"] == "bounce"
    assert result["report"] == "delivery"
    report = read_message(world, BOUNCE)["report"]
    assert [(item["address"], item["status"]) for item in report["failed"]] == [("gone@b.example", "5.1.1")]
    assert report["original_message_id"] == "offer-7@example.com"


def test_6_1_a_result_holds_its_references_as_sent(world: RoutingFixture) -> None:
    head = "In-Reply-To: <2@x.example>\r\nReferences: <1@x.example>\r\n <2@x.example>\r\n"
    [result] = results_of(world, mixed(TEXT, headers=head))
    assert result["in_reply_to"] == ["2@x.example"]
    assert result["references"] == ["1@x.example", "2@x.example"]
    assert len(result["conversation"]) == 64


RESULT = {
    "schema", "message", "arrival", "route", "recipient", "matched", "reference", "conversation", "hints", "automatic",
    "envelope", "paths",
}  # fmt: skip


def test_7_4_a_result_has_every_field_that_a_consumer_needs(world: RoutingFixture) -> None:
    [result] = results_of(world, mixed(TEXT, PDF))
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
def test_7_5_a_part_that_is_not_text_is_stored_as_an_attachment(world: RoutingFixture, part: str) -> None:
    data = mixed(TEXT, part)
    [result] = results_of(world, data)
    [path] = result["paths"]["attachments"]
    assert world.stores.blobs.read(path) == part.partition("\r\n\r\n")[2].encode()
    document = read_message(world, data)
    assert (document["text"], document["attachments"][0]["path"]) == ("hello", path)


HTML = '<p>Hi <img src="https://t.example/open.gif"><script src="https://t.example/x.js"></script>there</p>'


def test_7_5_html_is_kept_as_sent_and_its_links_are_not_fetched(world: RoutingFixture) -> None:
    data = mixed(f"Content-Type: text/html\r\n\r\n{HTML}")
    [result] = results_of(world, data)
    document = read_message(world, data)
    assert (document["html"], document["text"]) == (HTML, "Hi there")
    assert result["paths"]["attachments"] == []


DAMAGED = {
    "no closing boundary": mixed(TEXT)[:-10],
    "broken base64": mixed("Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\nA=B!C"),
    "raw bytes in the header": letter("sales@example.com", subject="Angebot").replace(b"Angebot", b"\xff\xfe\xe9"),
    "an unknown charset": mixed("Content-Type: text/plain; charset=x-none\r\n\r\n\xe9"),
    "no such date": letter("sales@example.com").replace(b"From:", b"Date: 31 Feb 99999 25:61\r\nFrom:"),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_7_6_a_damaged_message_is_stored_raw_and_still_routed(world: RoutingFixture, data: bytes) -> None:
    [result] = results_of(world, data)
    assert result["route"] == "sales"
    assert world.stores.blobs.read(result["paths"]["raw"]) == data
    assert read_message(world, data)["defects"]


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "koi8-r", "utf-8", "shift_jis", "no-such-charset"])
def test_7_7_documents_are_utf_8(world: RoutingFixture, charset: str) -> None:
    word = {"koi8-r": "\u043f\u0440\u0438\u0432\u0435\u0442", "shift_jis": "\u65e5\u672c\u8a9e"}.get(
        charset, "Gr\u00fc\u00dfe"
    )
    sent = word.encode("utf-8" if charset == "no-such-charset" else charset)
    data = mixed(
        f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.b64encode(sent).decode()
    )
    results_of(world, data)
    stored = world.stores.blobs.read(f"messages/{identity(data)[:2]}/{identity(data)}/message.json")
    assert stored is not None
    assert word in stored.decode("utf-8")
