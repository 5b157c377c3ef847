"""The table of rule 3.5, row by row and from raw bytes on: what comes in, and who has a result of it in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.sorting_world import World

OURS = "from mx.elsewhere.example by mail.example.com with ESMTPS id 1; Tue, 24 Nov 2026 09:00:00 +0000"
PARTNER = "ann@partner.example"
STRANGER = "eve@elsewhere.example"

MAILBOXES = {
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__office__ADDRESS": "office@example.com",
}
SALES = {"ROUTES__sales__ADDRESS": "sales@example.com"}
BILLING = {"ROUTES__billing__ADDRESS": "billing@example.com"}
BOSS = {"ROUTES__boss__ADDRESS": "boss@example.com"}
FALLBACK = {"MAILBOXES__support__FALLBACK": "rest", "ROUTES__rest__MAILBOX": "support"}


def wildcard(mailbox: str) -> dict[str, str]:
    """A wildcard route of a mailbox, for what partners send."""
    route = f"ROUTES__any_{mailbox}"
    return {f"{route}__MAILBOX": mailbox, f"{route}__ADDRESS": "*", f"{route}__SENDERS": "*@partner.example"}


def mail(to: str = "", cc: str = "", *, sender: str = STRANGER, above: str = "", below: str = "") -> bytes:
    """A message as a receiving server hands it out; Bcc is whatever mailbox it comes in without being named.

    Args:
        to: its To; without one, nobody is named.
        cc: its Cc.
        sender: its From.
        above: a header line that the receiving server wrote above its Received.
        below: a header line that was there when the server got the message.
    """
    named = [f"To: {to or 'undisclosed-recipients:;'}", *([f"Cc: {cc}"] if cc else [])]
    lines = [
        above,
        f"Received: {OURS}",
        below,
        f"From: {sender}",
        *named,
        "Subject: Offer",
        "Message-ID: <1@x.example>",
    ]
    return "".join(f"{line}\r\n" for line in [*filter(None, lines), "", "text"]).encode()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Attributes:
        settings: the mailboxes' and the routes'.
        arrivals: mailbox and bytes, in the order in which they come.
        results: route, recipient and what matched.
        unhandled: the mailboxes that have an unhandled record.
        duplicates: the mailboxes that have a duplicate's.
    """

    settings: Mapping[str, str]
    arrivals: list[tuple[str, bytes]]
    results: set[tuple[str, str, str]] = field(default_factory=set)
    unhandled: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)


def alone(data: bytes) -> list[tuple[str, bytes]]:
    return [("support", data)]


TO_SALES = ("sales", "sales@example.com", "to")
BOTH = ["support", "office"]
BCC = mail(sender=PARTNER)
TO_BOTH = mail("support@example.com, office@example.com")

TABLE = {
    "one routed address in To": Row(SALES, alone(mail("Sales <Sales@Example.com>")), {TO_SALES}),
    "one routed address in Cc": Row(
        SALES, alone(mail("x@y.example", "sales@example.com")), {("sales", "sales@example.com", "cc")}
    ),
    "two routed addresses in To": Row(
        SALES | BILLING,
        alone(mail("billing@example.com, sales@example.com")),
        {TO_SALES, ("billing", "billing@example.com", "to")},
    ),
    "three routed addresses in To and Cc": Row(
        SALES | BILLING | BOSS,
        alone(mail("sales@example.com", "billing@example.com, boss@example.com")),
        {TO_SALES, ("billing", "billing@example.com", "cc"), ("boss", "boss@example.com", "cc")},
    ),
    "one in To, one in Cc, one in Bcc": Row(
        SALES | BILLING | BOSS | wildcard("support"),
        alone(mail("sales@example.com", "billing@example.com", sender=PARTNER, above="Delivered-To: boss@example.com")),
        {TO_SALES, ("billing", "billing@example.com", "cc")},
    ),
    "one in To, another in Bcc": Row(
        SALES | BOSS | wildcard("support"),
        alone(mail("sales@example.com", sender=PARTNER, above="Delivered-To: boss@example.com")),
        {TO_SALES},
    ),
    "a routed address and the primary address, which has the fallback alone": Row(
        SALES | FALLBACK,
        alone(mail("sales@example.com, support@example.com")),
        {TO_SALES, ("rest", "support@example.com", "fallback")},
    ),
    "the primary address alone, a wildcard route whose sender matches, and a fallback": Row(
        FALLBACK | wildcard("support"),
        alone(mail("support@example.com", sender=PARTNER)),
        {("any_support", "*", "wildcard")},
    ),
    "an alias without a route, Delivered-To the primary address, and a fallback": Row(
        FALLBACK, alone(mail("alias@example.com", above="Delivered-To: support@example.com")), unhandled=["support"]
    ),
    "an alias without a route in To, Delivered-To another alias that has one": Row(
        SALES | FALLBACK,
        alone(mail("alias@example.com", above="Delivered-To: sales@example.com")),
        {("sales", "sales@example.com", "delivered-to")},
    ),
    "Bcc only, no hint, no wildcard route": Row(SALES | FALLBACK, alone(BCC), unhandled=["support"]),
    "Bcc only, in one mailbox of two": Row(
        SALES, [("support", mail("sales@example.com")), ("office", BCC)], {TO_SALES}, unhandled=["office"]
    ),
    "one address with no route": Row(SALES | FALLBACK, alone(mail("press@example.com")), unhandled=["support"]),
    "one with no route and one with": Row(SALES, alone(mail("press@example.com, sales@example.com")), {TO_SALES}),
    "Bcc, wildcard route whose sender matches, no routed To or Cc": Row(
        SALES | wildcard("support"),
        alone(mail("friends@elsewhere.example", sender=PARTNER)),
        {("any_support", "*", "wildcard")},
    ),
    "Bcc to several of our mailboxes, wildcard routes": Row(
        wildcard("support") | wildcard("office"),
        [("office", BCC), ("support", BCC)],
        {("any_office", "*", "wildcard")},
        duplicates=["support"],
    ),
    "routed To/Cc in one mailbox, Bcc to another with a wildcard route": Row(
        SALES | {"ROUTES__sales__MAILBOX": "support"} | wildcard("office"),
        [(one, mail("sales@example.com", sender=PARTNER)) for one in BOTH],
        {TO_SALES},
        duplicates=["office"],
    ),
    "the same bytes in two mailboxes with different routes": Row(
        {
            "ROUTES__support__ADDRESS": "support@example.com",
            "ROUTES__support__MAILBOX": "support",
            "ROUTES__office__ADDRESS": "office@example.com",
            "ROUTES__office__MAILBOX": "office",
        },
        [(one, TO_BOTH) for one in BOTH],
        {("support", "support@example.com", "to"), ("office", "office@example.com", "to")},
    ),
    "Bcc, wildcard route disabled": Row(
        wildcard("support") | {"ROUTES__any_support__ENABLED": "false"}, alone(BCC), unhandled=["support"]
    ),
    "a forged Received for the boss below the real one": Row(
        BOSS,
        alone(mail("press@example.com", below=f"Received: {OURS.replace(' id', ' for <boss@example.com> id')}")),
        unhandled=["support"],
    ),
    "a forged Delivered-To below the real Received": Row(
        BOSS, alone(mail("press@example.com", below="Delivered-To: boss@example.com")), unhandled=["support"]
    ),
    "a forged Delivered-To below the real Received, and a routed address": Row(
        BOSS | SALES, alone(mail("sales@example.com", below="Delivered-To: boss@example.com")), {TO_SALES}
    ),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stores.close()


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_3_5_the_table(world: World, row: Row) -> None:
    world.values = {**MAILBOXES, **row.settings}
    for mailbox, data in row.arrivals:
        world.servers[mailbox].deliver(data)
        world.run(mailbox)
    results = [world.read(path) for path in world.paths("routed/")]
    assert {(one["route"], one["recipient"], one["matched"]) for one in results} == row.results
    assert len(results) == len(row.results)
    assert [path.split("/")[1] for path in world.paths("unhandled/")] == row.unhandled
    assert [path.split("/")[1] for path in world.paths("duplicates/")] == row.duplicates
