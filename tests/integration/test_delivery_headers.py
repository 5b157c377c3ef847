"""Delivery hints and loops, from the raw message to its result (rules 2.2, 2.3, 5.1 to 5.3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.routing_fixture import InterceptedCalls, RoutingFixture, process_gone_at

MX = (
    "Received: from mx.sender.example by mail.example.com with ESMTPS id 1{clause}; Tue, 24 Nov 2026 09:00:00 +0000\r\n"
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    fixture = RoutingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def letter(above: str = "", clause: str = "", below: str = "", to: str = "undisclosed-recipients:;") -> bytes:
    head = f"{above}{MX.format(clause=clause)}{below}From: a@b.example\r\nTo: {to}\r\nSubject: x\r\n"
    return f"{head}Date: Tue, 24 Nov 2026 09:00:00 +0000\r\n\r\ntext\r\n".encode()


def sorted_as(world: RoutingFixture, data: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the results and unhandled records of a single message."""
    world.servers["support"].deliver(data)
    world.run("support")
    return [world.read(p) for p in world.paths("routed/")], [world.read(p) for p in world.paths("unhandled/")]


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (letter(above="Delivered-To: sales@example.com\r\n"), "delivered-to"),
        (letter(above="X-Original-To: Sales@Example.com\r\n"), "x-original-to"),
        (letter(clause=" for <sales@example.com>"), "received-for"),
    ],
)
def test_2_2_and_2_3_a_hint_routes_what_to_and_cc_do_not(world: RoutingFixture, data: bytes, where: str) -> None:
    (result,), unhandled = sorted_as(world, data)
    assert (result["recipient"], result["route"], result["matched"]) == ("sales@example.com", "sales", where)
    assert result["hints"] == [{"address": "sales@example.com", "where": where}]
    assert result["envelope"]["to"] == [], "it never becomes a participant"
    assert unhandled == []


@pytest.mark.parametrize(
    "forged",
    [
        letter(below="Delivered-To: sales@example.com\r\n"),
        letter(below="Received: from x by y for <sales@example.com>; Tue, 24 Nov 2026 08:00:00 +0000\r\n"),
        letter(below="X-Original-To: sales@example.com\r\nEnvelope-To: sales@example.com\r\n"),
        b"Delivered-To: sales@example.com\r\nFrom: a@b.example\r\nTo: nobody@example.com\r\n\r\nno Received at all\r\n",
    ],
)
def test_2_2_a_header_that_the_sender_can_forge_is_ignored(world: RoutingFixture, forged: bytes) -> None:
    results, (unhandled,) = sorted_as(world, forged)
    assert results == []
    assert unhandled["reason"] in ("no-recipient", "no-route")


def test_2_2_hints_come_after_to_and_cc(world: RoutingFixture) -> None:
    data = letter(above="Delivered-To: support@example.com\r\n", to="sales@example.com")
    results, _ = sorted_as(world, data)
    assert [(result["recipient"], result["matched"]) for result in results] == [("sales@example.com", "to")]


def test_2_2_with_hints_switched_off_only_to_and_cc_count(world: RoutingFixture) -> None:
    world.values["MAILBOXES__support__DELIVERY_HINTS"] = "false"
    results, (unhandled,) = sorted_as(world, letter(above="Delivered-To: sales@example.com\r\n"))
    assert results == []
    assert unhandled["reason"] == "no-recipient"


def test_2_2_behind_our_own_gateways_the_trusted_line_is_further_down(world: RoutingFixture) -> None:
    inner = MX.format(clause=" for <sales@example.com>").replace("mail.example.com", "gateway.example.com")
    data = letter(below=inner)
    world.values |= {
        "MAILBOXES__support__TRUSTED_HOPS": "2",
        "MAILBOXES__support__RECEIVED_BY": "gateway.example.com",
    }
    (result,), _ = sorted_as(world, data)
    assert result["matched"] == "received-for"


def test_2_2_a_line_that_another_host_wrote_is_not_trusted(world: RoutingFixture) -> None:
    world.values["MAILBOXES__support__RECEIVED_BY"] = "other.example.com"
    results, _ = sorted_as(world, letter(clause=" for <sales@example.com>"))
    assert results == []


def test_3_5_a_hint_never_falls_back(world: RoutingFixture) -> None:
    """An alias without a route, `Delivered-To` the primary address, and a fallback: unhandled."""
    world.values |= {"MAILBOXES__support__FALLBACK": "rest", "ROUTES__rest__MAILBOX": "support"}
    world.values.pop("ROUTES__support__ADDRESS")
    world.values.pop("ROUTES__support__MAILBOX")
    data = letter(above="Delivered-To: support@example.com\r\n", to="alias@example.com")
    results, (unhandled,) = sorted_as(world, data)
    assert results == []
    assert unhandled["reason"] == "no-route"


def to_alias(alias: str, copy: int) -> bytes:
    """Return a copy of a message as Postfix delivers it: To names the primary address of the mailbox."""
    above = f"X-Original-To: {alias}\r\nDelivered-To: support@example.com\r\n"
    return letter(above, clause=f" ({copy})", to="Support <support@example.com>")


def test_3_9_and_4_2_copies_to_the_alias_and_to_the_primary_address_have_a_result_each(world: RoutingFixture) -> None:
    """The claim is on the recipient of the result: the alias, not the primary address that it replaces."""
    world.servers["support"].deliver(to_alias("support@example.com", 1))
    world.run("support")
    for copy, alias in enumerate(("sales@example.com", "SALES@example.com", "support@example.com"), 2):
        world.servers["support"].deliver(to_alias(alias, copy))
        world.run("support")
    assert world.results() == [("sales", "sales@example.com"), ("support", "support@example.com")]
    duplicates = [world.read(path)["duplicates"] for path in world.paths("duplicates/")]
    assert sorted(duplicate["recipient"] for (duplicate,) in duplicates) == ["sales@example.com", "support@example.com"]
    assert {duplicate["by"] for (duplicate,) in duplicates} == {"content"}


def test_3_9_and_4_4_a_claimed_alias_has_its_result_after_the_settings_changed(
    world: RoutingFixture,
) -> None:
    world.servers["support"].deliver(to_alias("sales@example.com", 1))
    world.run_until_killed("support", blobs=InterceptedCalls(world.stores.blobs, create=process_gone_at("routed/")))
    world.values["MAILBOXES__support__ALIASES"] = "press@example.com"
    world.run()
    assert world.results() == [("sales", "sales@example.com"), ("support", "support@example.com")]


def test_2_2_hints_are_listed_once_for_each_field(world: RoutingFixture) -> None:
    data = letter(
        above="X-Original-To: Sales+A@example.com\r\nX-Original-To: sales+a@example.com\r\n" + MX.format(clause=""),
        to="support@example.com",
    ).replace(b"From:", b"X-Alias: billing@example.com\r\nFrom:", 1)
    world.values |= {
        "MAILBOXES__support__TRUSTED_HOPS": "2",
        "MAILBOXES__support__DELIVERY_FIELDS": "X-Alias!",
        "ROUTES__billing__ADDRESS": "billing@example.com",
    }
    (result,), _ = sorted_as(world, data)
    assert (result["recipient"], result["matched"]) == ("billing@example.com", "x-alias")
    assert result["hints"] == [
        {"address": "sales+a@example.com", "where": "x-original-to"},
        {"address": "billing@example.com", "where": "x-alias"},
    ]


def test_5_3_automatic_mail_from_an_alias_of_ours_is_a_loop(world: RoutingFixture) -> None:
    world.values["MAILBOXES__office__ALIASES"] = "press@example.com"
    head = f"{MX.format(clause='')}From: press@example.com\r\nTo: sales@example.com\r\n"
    results, (unhandled,) = sorted_as(world, f"{head}Auto-Submitted: auto-replied\r\n\r\nx".encode())
    assert results == []
    assert unhandled["reason"] == "loop"


def test_5_3_a_message_with_too_many_hops_is_unhandled_as_a_loop(world: RoutingFixture) -> None:
    results, (unhandled,) = sorted_as(world, letter(below=MX.format(clause="") * 25, to="sales@example.com"))
    assert results == []
    assert unhandled["reason"] == "loop"
    assert "26 Received" in unhandled["tried"][0]["reason"]


def test_5_3_twenty_five_hops_are_not_a_loop_and_the_limit_can_be_set(world: RoutingFixture) -> None:
    results, _ = sorted_as(world, letter(below=MX.format(clause="") * 24, to="sales@example.com"))
    assert len(results) == 1
    world.values["LOOP_LIMIT"] = "3"
    _, unhandled = sorted_as(world, letter(below=MX.format(clause="") * 3, to="support@example.com"))
    assert [item["reason"] for item in unhandled] == ["loop"]


@pytest.mark.parametrize("field", ["From: office@example.com", "From: x@b.example\r\nSender: Office@Example.com"])
def test_5_3_automatic_mail_from_a_mailbox_of_ours_is_a_loop(world: RoutingFixture, field: str) -> None:
    data = f"{MX.format(clause='')}{field}\r\nTo: sales@example.com\r\nAuto-Submitted: auto-replied\r\n\r\nx\r\n"
    results, (unhandled,) = sorted_as(world, data.encode())
    assert results == []
    assert unhandled["reason"] == "loop"
    assert "office@example.com" in unhandled["tried"][0]["reason"]


def test_5_1_a_result_says_what_kind_of_mail_it_is(world: RoutingFixture) -> None:
    data = b"From: a@b.example\r\nTo: sales@example.com\r\nAuto-Submitted: auto-replied\r\n\r\naway\r\n"
    (result,), _ = sorted_as(world, data)
    assert result["automatic"]["kind"] == "auto-reply"
    assert result["automatic"]["evidence"]
    plain = b"From: a@b.example\r\nTo: support@example.com\r\n\r\nhello\r\n"
    results, _ = sorted_as(world, plain)
    assert [result["automatic"] for result in results if result["recipient"] == "support@example.com"] == [None]
