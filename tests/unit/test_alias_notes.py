"""The notes of `check` about a mailbox's addresses."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mailroom_cli.commands.check import alias_notes
from shared.config import MailProtocol
from shared.mailboxes.base import MailboxAddresses
from tests.servers.settings import mailbox_settings

PRIMARY, SALES, ORDERS, UNROUTED = (f"{name}@example.com" for name in ("production", "sales", "orders", "info"))
ROUTES = {PRIMARY: "production", SALES: "sales", ORDERS: "orders"}


def notes(
    *aliases: str,
    routes: Mapping[str, str] = ROUTES,
    configured: Collection[str] = (),
    primary: str = PRIMARY,
) -> list[str]:
    settings = mailbox_settings(name="production", protocol=MailProtocol.GRAPH, address=PRIMARY)
    return list(alias_notes(settings, MailboxAddresses(primary, aliases), routes.get, configured))


def test_every_address_is_listed() -> None:
    assert notes(SALES, UNROUTED)[0] == f"its primary address is {PRIMARY}; its aliases are {SALES}, {UNROUTED}"
    assert notes() == [f"its primary address is {PRIMARY}; no aliases"]


def test_aliases_with_a_route_are_proposed() -> None:
    listed, proposed, warning = notes(UNROUTED, SALES, ORDERS)
    assert UNROUTED in listed
    assert proposed == f"aliases that have a route: set MAILBOXES__production__ALIASES={SALES};{ORDERS}"
    assert warning.startswith(f"{PRIMARY} has the route production, and {SALES}, {ORDERS} have other routes: ")
    assert "docs/how-to/aliases.md" in warning


def test_without_a_route_the_primary_address_hides_no_alias() -> None:
    assert len(notes(SALES, routes={SALES: "sales"})) == 2


def test_a_route_for_both_hides_no_alias() -> None:
    assert len(notes(SALES, routes={SALES: "all", PRIMARY: "all"})) == 2


def test_without_a_route_of_an_alias_nothing_is_proposed() -> None:
    assert len(notes(UNROUTED)) == 1


def test_a_configured_alias_is_not_proposed_again() -> None:
    assert len(notes(SALES, configured=[SALES])) == 1
    _, proposed, warning = notes(SALES, ORDERS, configured=[SALES])
    assert proposed.endswith(f"ALIASES={SALES};{ORDERS}"), "the whole value, to be copied"
    assert ORDERS in warning
    assert SALES not in warning


def test_a_mailbox_with_an_alias_as_its_address_gets_a_note() -> None:
    assert any("other@example.com in its place" in note for note in notes(PRIMARY, primary="other@example.com"))
