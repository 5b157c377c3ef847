"""What must hold among routes, and between routes and mailboxes (docs/rules.md, "Recipients and routes")."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from shared.settings.faults import APP, Report, nearest
from shared.settings.model import MailboxSettings, RouteSettings
from shared.settings.names import Keys
from shared.settings.part import Part
from shared.settings.written import WrittenMailbox, WrittenRoute

Mailboxes = Mapping[str, Part[WrittenMailbox]]
Routes = Mapping[str, Part[WrittenRoute]]

WILDCARD = "*"


def check_routes(routes: Routes, fallbacks: Collection[str]) -> None:
    """Check each route for itself (rule 3.4), and against what mailboxes name as FALLBACK."""
    for name, part in routes.items():
        written = part.written
        # SENDERS may be given and still name nobody, as `;` does.
        if written.address == WILDCARD and not written.senders:
            part.missing("SENDERS", "a route with ADDRESS=* must name the senders whose mail it takes")
        if written.address is None and written.enabled and name not in fallbacks:
            part.missing("ADDRESS", "give it an address, or name the route as a mailbox's FALLBACK")


def check_fallbacks(
    mailboxes: Mailboxes, routes: Mapping[str, WrittenRoute | RouteSettings], *, complete: bool = True
) -> None:
    """Check that each FALLBACK is an enabled route of the mailbox, or of all.

    Args:
        mailboxes: whose.
        routes: by name.
        complete: these are all routes, so that one which is not among them is none.
    """
    for name, part in mailboxes.items():
        fallback = part.written.fallback
        if fallback is None:
            continue
        route = routes.get(fallback)
        if route is None and not complete:
            continue
        if route is None:
            near = nearest(fallback, routes)
            hint = f"did you mean {near}?" if near else "define it, as in ROUTES__<name>__MAILBOX, or remove FALLBACK"
            part.fault("FALLBACK", f"is no route; {hint}", fallback)
        elif route.mailbox not in (None, name):
            part.fault("FALLBACK", f"is another mailbox's route; name one of {name} or of every mailbox", fallback)
        elif not route.enabled:
            part.fault("FALLBACK", "is a route that is switched off; enable it, or name another", fallback)


def settle_owners(routes: Collection[str], mailboxes: Collection[str], keys: Keys, report: Report) -> None:
    """Hand each route's faults to its mailbox, or to the whole app if the route may be every mailbox's.

    Mail that is routed while a rule is missing could go wrong, so a route that is wrong stops whose mail it is for. A
    route for a mailbox that does not exist may be meant for any.
    """
    for name in routes:
        given = keys.values.get(("routes", name, "mailbox"))
        mailbox = given.value.lower() if given else None
        if given and mailbox not in mailboxes:
            near = nearest(given.value, mailboxes)
            hint = f"did you mean {near}?" if near else "correct it, or remove the route"
            report.app_fault(given.key, f"is no mailbox; {hint}", given.value)
    for name in report.owners("routes"):
        given = keys.values.get(("routes", name, "mailbox"))
        known = given is not None and given.value.lower() in mailboxes
        report.give(("routes", name), ("mailboxes", given.value.lower()) if given and known else APP)


def route_of(part: Part[WrittenRoute]) -> RouteSettings:
    """A route without faults, as the rest of the app knows it."""
    written = part.written
    return RouteSettings(
        name=part.name,
        mailbox=written.mailbox,
        address=written.address,
        order=written.order,
        senders=written.senders,
        recipients=written.recipients,
        subject_words=written.subject_words,
        attachment_types=written.attachment_types,
        important=written.important,
        folders=() if WILDCARD in written.folders else written.folders,
        enabled=written.enabled,
    )


def warn_of_shared_addresses(
    routes: Sequence[RouteSettings], mailboxes: Mapping[str, MailboxSettings], key: Callable[[str], str], report: Report
) -> None:
    """Warn where two mailboxes' routes name one address (rule 3.8): the copy that comes first wins.

    Args:
        routes: all, by order.
        mailboxes: the usable ones.
        key: gives how a route's ADDRESS is spelled.
        report: takes the warnings.
    """
    names: dict[str, dict[str | None, str]] = {}
    for route in routes:
        working = route.mailbox is None or (route.mailbox in mailboxes and mailboxes[route.mailbox].enabled)
        if route.enabled and working and route.address not in (None, WILDCARD):
            assert route.address is not None
            names.setdefault(route.address, {}).setdefault(route.mailbox, route.name)
    for address, by_mailbox in names.items():
        if len(by_mailbox) > 1 and len(mailboxes) > 1:
            first, *others = by_mailbox.values()
            report.warn(
                key(others[0]),
                f"is the address of route {first} too, for another mailbox; the copy that comes first wins",
                address,
            )


def warn_of_aliases_without_a_route(
    routes: Sequence[RouteSettings], mailboxes: Mapping[str, MailboxSettings], report: Report
) -> None:
    """Warn of aliases that no plain route of their mailbox takes: mail to them is routed by the primary address.

    Args:
        routes: all.
        mailboxes: the usable ones.
        report: takes the warnings.
    """
    for name, mailbox in mailboxes.items():
        if not mailbox.aliases:
            continue
        of_mailbox = {route.address for route in routes if route.enabled and route.mailbox in (None, name)}
        for alias in mailbox.aliases:
            local, _, domain = alias.rpartition("@")
            if of_mailbox.isdisjoint({alias, f"*@{domain}", f"{local.partition('+')[0]}@{domain}"}):
                report.warn(
                    Keys().spell("mailboxes", name, "ALIASES"),
                    "has no route of this mailbox, so that its mail goes where mail to ADDRESS goes; set up a route "
                    "with this ADDRESS, or correct the alias",
                    alias,
                )


def warn_of_no_route(report: Report) -> None:
    """Warn that there is no route at all."""
    report.warn("ROUTES__<name>__ADDRESS", "no route is set, so that all mail will be unhandled; set one up")
