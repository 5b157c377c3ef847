"""Clauses of rules 2 to 4, each from raw bytes to stored documents: what unit tests do not show."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.queue_messages import RouteRequest
from shared.storage.base import QueueName
from tests.integration.routing_fixture import RoutingFixture, identity, letter
from tests.integration.rules_fixture import PDF, TEXT, mixed, read_message, results_of
from tests.servers.pump import work_until_idle

RECEIVED = "Received: from mx.sender.example by mail.example.com with ESMTPS id 1; Tue, 24 Nov 2026 09:00:00 +0000\r\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    fixture = RoutingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


@pytest.mark.parametrize(
    ("to", "above", "matched"),
    [
        ("To: sales@example.com", "", "to"),
        ("Cc: sales@example.com", "", "cc"),
        ("To: support@example.com", "Delivered-To: sales@example.com", "delivered-to"),
        ("To: x@y.example", "Delivered-To: sales@example.com", "delivered-to"),
        ("To: x@y.example", "Envelope-To: sales@example.com", "envelope-to"),
        ("To: x@y.example", "X-Envelope-To: sales@example.com", "x-envelope-to"),
        ("To: x@y.example", "X-Forwarded-To: sales@example.com", "x-forwarded-to"),
        ("To: x@y.example", "Resent-To: sales@example.com", "resent-to"),
        ("To: x@y.example", "", "wildcard"),
    ],
)
def test_2_3_a_result_says_what_matched_so_that_a_rewritten_alias_can_be_seen(
    world: RoutingFixture, to: str, above: str, matched: str
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
    [result] = results_of(world, f"{top}From: a@b.example\r\n{to}\r\n\r\ntext\r\n".encode())
    assert result["matched"] == matched
    # Exchange replaced the alias with the primary address: the match is not the envelope recipient.
    assert [hint["address"] for hint in result["hints"]] == (["sales@example.com"] if above else [])


def test_2_5_an_invalid_address_is_listed_and_the_others_are_routed(world: RoutingFixture) -> None:
    data = letter("The Sales Team, sales@example.com")
    [result] = results_of(world, data)
    assert result["recipient"] == "sales@example.com"
    assert read_message(world, data)["invalid_addresses"] == ["The Sales Team"]
    other = letter("The Sales Team")
    results_of(world, other)
    [path] = world.paths("unhandled/")
    record = world.read(path)
    assert (record["reason"], record["invalid_addresses"]) == ("invalid-recipients", ["The Sales Team"])


def test_3_1_a_route_applies_to_one_or_all_mailboxes_and_can_be_disabled(world: RoutingFixture) -> None:
    results_of(world, letter("office@example.com"))
    assert world.results() == [], "it is the other mailbox's route"
    results_of(world, letter("office@example.com", subject="again"), mailbox="office")
    results_of(world, letter("sales@example.com"), mailbox="office")
    assert world.results() == [("office", "office@example.com"), ("sales", "sales@example.com")]
    world.values["ROUTES__sales__ENABLED"] = "false"
    results_of(world, letter("sales@example.com", subject="later"))
    assert len(world.results()) == 2
    assert len(world.paths("unhandled/support/")) == 2


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
def test_3_2_a_route_matches_by_its_conditions_and_never_by_the_body(
    world: RoutingFixture, setting: str, value: str, holds: bytes | None, fails: bytes | None
) -> None:
    world.values[f"ROUTES__sales__{setting}"] = value
    assert len(results_of(world, *filter(None, [holds]))) == (holds is not None)
    results_of(world, *filter(None, [fails]))
    reasons = [world.read(path)["reason"] for path in world.paths("unhandled/")]
    assert reasons == ["conditions"] * (fails is not None)
    assert len(world.results()) == (holds is not None)


def test_3_3_every_recipient_has_one_result_by_the_first_route_in_order(world: RoutingFixture) -> None:
    world.values |= {
        "ROUTES__all__ADDRESS": "*@example.com",
        "ROUTES__all__ORDER": "10",
        "ROUTES__sales__ORDER": "20",
        "ROUTES__press__ADDRESS": "press@example.com",
        "ROUTES__press__ORDER": "5",
    }
    results_of(world, letter("sales@example.com, press@example.com, sales@example.com"))
    assert world.results() == [("all", "sales@example.com"), ("press", "press@example.com")]


@pytest.mark.parametrize("blocked", ["spam@b.example", "*@b.example"])
def test_3_7_blocked_is_by_address_or_by_domain(world: RoutingFixture, blocked: str) -> None:
    world.values["MAILBOXES__support__BLOCKED_SENDERS"] = blocked
    results_of(world, letter("sales@example.com", sender="Spam <SPAM@b.example>"))
    assert [world.read(path)["blocked_by"] for path in world.paths("blocked/")] == [blocked]
    results_of(world, letter("sales@example.com", sender="c@c.example"))
    assert world.results() == [("sales", "sales@example.com")]
    assert world.paths("unhandled/") == []


def test_4_2_an_aliass_second_copy_is_a_duplicate_and_another_recipients_is_not(world: RoutingFixture) -> None:
    data = letter("sales@example.com, office@example.com")
    results_of(world, data, data)
    results_of(world, data, mailbox="office")
    assert world.results() == [("office", "office@example.com"), ("sales", "sales@example.com")]
    assert [path.split("/")[1] for path in world.paths("duplicates/")] == ["office", "support"]


def test_4_3_a_missing_message_id_drops_nothing(world: RoutingFixture) -> None:
    bare = "From: a@b.example\r\nTo: sales@example.com\r\nSubject: x\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    doubled = f"{bare}Message-ID: <1@b.example>\r\nMessage-ID: <2@b.example>\r\n"
    pairs = enumerate((bare, bare, doubled, doubled))
    messages = [f"{head}\r\n{number}\r\n".encode() for number, head in pairs]
    assert len(results_of(world, *messages)) == 4
    assert world.paths("duplicates/") == []


def test_4_4_the_same_mail_with_other_mime_boundaries_has_no_second_result(world: RoutingFixture) -> None:
    first, second = mixed(TEXT, PDF), mixed(TEXT, PDF, boundary="other")
    assert len(results_of(world, first, second)) == 1
    [path] = world.paths("duplicates/")
    assert world.read(path)["message"] == identity(second)


def test_4_4_a_route_request_delivered_twice_writes_nothing(world: RoutingFixture) -> None:
    results_of(world, letter("sales@example.com"))
    before = world.paths("")
    [receipt] = world.receipts()
    world.stores.queues[QueueName.ROUTE_REQUESTS].put_many([RouteRequest(receipt.outbox).to_json()] * 2)
    work_until_idle(world.app())
    assert world.paths("") == before


def test_4_4_a_delete_that_the_server_delays_causes_no_second_result(world: RoutingFixture) -> None:
    """The server accepts the removal, lists the message once more, and removes it at the second request."""
    server = world.servers["support"]
    server.deliver(letter("sales@example.com"))
    world.run("support")
    server.messages[1] = letter("sales@example.com")
    world.time += timedelta(minutes=5)
    before = world.paths("")
    world.run("support")
    assert world.paths("") == before
    assert (server.downloads, server.messages) == (1, {})
