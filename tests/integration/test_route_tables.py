"""The table of rule 3.5, row by row and from raw bytes on: which mail arrives, and which recipients have a result.

Rows of mail to an alias (docs/how-to/aliases.md) run on the mailbox `production`, over each protocol.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from shared.bootstrap import build_app
from shared.config import load_settings
from shared.storage.factory import open_storage
from tests.end_to_end.command import mailboxes
from tests.integration.routing_fixture import RoutingFixture
from tests.servers.dovecot import Dovecot
from tests.servers.graph import Graph
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.pump import poll, work_until_idle

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
    """Return a message as a receiving server delivers it; a mailbox that no header names is a Bcc.

    Args:
        to: its To; without one, no recipient is named.
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
        [(item, mail("sales@example.com", sender=PARTNER)) for item in BOTH],
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
        [(item, TO_BOTH) for item in BOTH],
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

PRODUCTION = {
    "MAILBOXES__production__ADDRESS": "production@example.com",
    "ROUTES__production__ADDRESS": "production@example.com",
    "ROUTES__production__MAILBOX": "production",
    "ROUTES__sales__ADDRESS": "sales@example.com",
}
ALIASES = {"MAILBOXES__production__ALIASES": "Sales@Example.com; press@example.com"}
REWRITTEN = "Production <production@example.com>"
POSTFIX = "X-Original-To: sales@example.com\r\nDelivered-To: production@example.com"
BY_ADDRESS = ("production", "production@example.com", "to")


def by_alias(where: str) -> set[tuple[str, str, str]]:
    """The only result of mail to the alias, by the header that named it."""
    return {("sales", "sales@example.com", where)}


def production(data: bytes, results: set[tuple[str, str, str]], **settings: str) -> Row:
    """A row with mail for the mailbox `production`; `settings` are further ones of that mailbox."""
    extra = {f"MAILBOXES__production__{name}": value for name, value in settings.items()}
    return Row(PRODUCTION | extra, [("production", data)], results)


FOR_SALES = f"Received: {OURS.replace(' id', ' for <sales@example.com> id')}"
TO_ALIAS = {
    "the alias in Delivered-To": production(
        mail(REWRITTEN, above="Delivered-To: sales@example.com"), by_alias("delivered-to")
    ),
    "the alias in the for of the trusted Received": production(
        mail(REWRITTEN, above=FOR_SALES), by_alias("received-for")
    ),
    "the alias in X-Original-To, the primary address in Delivered-To": production(
        mail(REWRITTEN, above=POSTFIX), by_alias("x-original-to")
    ),
    "the alias in a header of a mail-flow rule": production(
        mail(REWRITTEN, above="X-Alias: sales@example.com"), by_alias("x-alias"), DELIVERY_FIELDS="X-Alias"
    ),
    "the alias in a header of a mail-flow rule, at the end": production(
        mail(REWRITTEN, below="X-Alias: sales@example.com"), by_alias("x-alias"), DELIVERY_FIELDS="X-Alias!"
    ),
    "the alias in a header of a mail-flow rule, at the end, where a sender can write too": production(
        mail(REWRITTEN, below="X-Alias: sales@example.com"), {BY_ADDRESS}, DELIVERY_FIELDS="X-Alias"
    ),
    "the alias and the primary address in one header": production(
        mail(REWRITTEN, above="Envelope-To: sales@example.com, production@example.com"),
        by_alias("envelope-to") | {BY_ADDRESS},
    ),
    "an alias without a route": production(mail(REWRITTEN, above="Delivered-To: press@example.com"), {BY_ADDRESS}),
    "a forged Delivered-To below the trusted Received": production(
        mail(REWRITTEN, below="Delivered-To: sales@example.com"), {BY_ADDRESS}
    ),
    "delivery headers switched off": production(
        mail(REWRITTEN, above=POSTFIX), {BY_ADDRESS}, DELIVERY_HINTS="false", DELIVERY_FIELDS="X-Original-To!"
    ),
    "Bcc to the alias, the primary address in Delivered-To": production(mail(above=POSTFIX), by_alias("x-original-to")),
    "a plus tag of the primary address, which has the fallback alone": Row(
        {
            "MAILBOXES__production__ADDRESS": "production@example.com",
            "MAILBOXES__production__FALLBACK": "rest",
            "ROUTES__rest__MAILBOX": "production",
        },
        [("production", mail("production+T1@example.com"))],
        {("rest", "production+t1@example.com", "fallback")},
    ),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    fixture = RoutingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_3_5_the_table(world: RoutingFixture, row: Row) -> None:
    world.values = {**MAILBOXES, **row.settings}
    for mailbox, data in row.arrivals:
        world.servers[mailbox].deliver(data)
        world.run(mailbox)
    results = [world.read(path) for path in world.paths("routed/")]
    assert {(result["route"], result["recipient"], result["matched"]) for result in results} == row.results
    assert len(results) == len(row.results)
    assert [path.split("/")[1] for path in world.paths("unhandled/")] == row.unhandled
    assert [path.split("/")[1] for path in world.paths("duplicates/")] == row.duplicates


@pytest.mark.parametrize("aliases", [ALIASES, {}], ids=["with ALIASES", "without"])
@pytest.mark.parametrize("row", TO_ALIAS.values(), ids=TO_ALIAS)
def test_3_9_the_table_of_aliases(world: RoutingFixture, row: Row, aliases: dict[str, str]) -> None:
    world.values = {**row.settings, **aliases}
    world.servers["production"] = MemoryServer()
    ((mailbox, data),) = row.arrivals
    world.servers[mailbox].deliver(data)
    world.run(mailbox)
    results = [world.read(path) for path in world.paths("routed/")]
    assert {(result["route"], result["recipient"], result["matched"]) for result in results} == row.results
    assert len(results) == len(row.results)
    assert world.paths("unhandled/") == world.paths("duplicates/") == []


@pytest.mark.parametrize("aliases", [ALIASES, {}], ids=["with ALIASES", "without"])
@pytest.mark.parametrize("protocol", ["imap", "pop3", "graph"])
def test_3_9_the_aliass_route_matches_mail_of_every_protocol(
    dovecot: Dovecot,
    graphs: Callable[..., Graph],
    tmp_path: Path,
    protocol: Literal["imap", "pop3", "graph"],
    aliases: dict[str, str],
) -> None:
    data = mail(REWRITTEN, above=POSTFIX)
    if protocol == "graph":
        graph = graphs()
        graph.box("production@example.com", data)
        values = graph.values(production="production@example.com")
    else:
        user = dovecot.user()
        user.deliver([data])
        values = mailboxes(dovecot, production=user) | {"MAILBOXES__production__ADDRESS": "production@example.com"}
        values["MAILBOXES__production__PROTOCOL"] = protocol
        values["MAILBOXES__production__PORT"] = str(dovecot.imaps if protocol == "imap" else dovecot.pop3s)
    settings = load_settings({**values, **PRODUCTION, **aliases, "AzureWebJobsStorage": f"folder:{tmp_path / 'mail'}"})
    stores = open_storage(settings.app_storage, settings.mail_storage, "mail")
    try:
        app = build_app(settings, stores)
        poll(app, "production")
        work_until_idle(app)
        results = [json.loads(stores.blobs.read(path) or b"") for path in stores.blobs.list("routed/")]
    finally:
        stores.close()
    assert {(result["route"], result["recipient"], result["matched"]) for result in results} == by_alias(
        "x-original-to"
    )
    assert len(results) == 1
    assert results[0]["arrival"]["protocol"] == protocol
