"""All routes: those of the settings and those of the routes file, checked together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from shared.config.env_keys import EnvironmentKeys
from shared.config.model import AppSettings, MailboxSettings, PlusAddressing, RouteSettings
from shared.config.pydantic_source import read_route_sections
from shared.config.routes_file import ROUTES_PATH, read_routes_file
from shared.config.schema import WrittenRoute
from shared.config.section import Section
from shared.config.validation import ALL_ROUTING, APP, ROUTING, ErrorCollector, closest_name


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSet:
    """All routes at one time, and what is wrong with them.

    Attributes:
        routes: those without faults, by order, then name; those that are switched off included.
        from_file: how many of them are the routes file's; None: there is no such file.
        faults: those that keep every mailbox's mail from being routed.
        faulty: those that keep one mailbox's mail, by mailbox.
        warnings: what is allowed and looks like a mistake, besides what the settings' reader told.
    """

    routes: tuple[RouteSettings, ...] = ()
    from_file: int | None = None
    faults: tuple[str, ...] = ()
    faulty: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()

    def keeps(self, mailbox: str) -> tuple[str, ...]:
        """What keeps a mailbox's mail from being routed; empty if nothing does."""
        return (*self.faults, *self.faulty.get(mailbox, ()))

    @property
    def all_faults(self) -> tuple[str, ...]:
        """Every fault, everybody's first."""
        return (*self.faults, *(fault for faults in self.faulty.values() for fault in faults))


def load_routes(
    settings: AppSettings, data: bytes | None, called: str = ROUTES_PATH, *, complete: bool = True
) -> RouteSet:
    """Check a routes file, by itself and together with the settings.

    Args:
        settings: with their routes, read as not complete.
        data: the file; None: there is none.
        called: what faults call it.
        complete: False: there may be a file that is not at hand, so that a FALLBACK may name one of its routes.
    """
    report = ErrorCollector(secret.get_secret_value() for secret in settings.secrets)
    keys = EnvironmentKeys() if data is None else read_routes_file(data, called, report)
    if keys is None:
        return _held(settings, report, settings.routes, 0)
    written = read_route_sections(keys, report)
    parts = {
        name: Section("routes", name, written.get(name, WrittenRoute()), keys, report) for name in keys.names["routes"]
    }
    known = {*settings.mailboxes, *settings.faulty}
    check_routes(parts)
    check_owners(parts, known, keys, report)
    ours = {route.name: route for route in settings.routes}
    twice = sorted(({*ours} | settings.wrong_routes) & parts.keys())
    for name in twice:
        report.routing_fault(
            "",
            f"{called}, {keys.names['routes'][name]}",
            "is a route of the settings too; remove one of the two",
        )
    wrong = {*settings.wrong_routes, *report.owners("routes")}
    theirs = {name: route_from_section(part) for name, part in parts.items() if name not in wrong and name not in twice}
    settle_owners(known, keys, report)

    def key(name: str) -> str:
        return (keys if name in parts and name not in ours else EnvironmentKeys()).spell("routes", name, "ADDRESS")

    wrong |= RouteChecks({**ours, **theirs}, wrong, settings.fallbacks, known, report, key, complete).check()
    ordered = tuple(
        sorted(
            (route for route in (*ours.values(), *theirs.values()) if route.name not in wrong),
            key=lambda route: (route.order, route.name),
        )
    )
    warn_of_shared_addresses(ordered, settings.mailboxes, key, report)
    warn_of_aliases_without_a_route(ordered, settings.mailboxes, report)
    from_file = None if data is None else sum(1 for name in theirs if name not in wrong)
    held = _held(settings, report, ordered, from_file)
    faults = {**held.faulty, **({"": held.faults} if held.faults else {})}
    if complete and settings.mailboxes and not ours and not parts and not settings.wrong_routes:
        warn_of_no_route(report)
    elif complete:
        warn_of_unrouted(ordered, settings.mailboxes, faults, report)
    return replace(held, warnings=tuple(line for line in report.warnings if line not in settings.warnings))


def _held(
    settings: AppSettings, report: ErrorCollector, routes: tuple[RouteSettings, ...], from_file: int | None
) -> RouteSet:
    """What the routes are, and what is wrong with them: the settings' own faults first."""
    found = report.by_mailbox()
    found[""] = (*report.of(APP), *found.get("", ()))
    faults = {
        mailbox: tuple(dict.fromkeys((*settings.route_faults.get(mailbox, ()), *found.get(mailbox, ()))))
        for mailbox in sorted({*settings.route_faults, *found})
    }
    everybodys = faults.pop("")
    return RouteSet(routes=routes, from_file=from_file, faults=everybodys, faulty=MappingProxyType(faults))


Routes = Mapping[str, Section[WrittenRoute]]

WILDCARD = "*"


def check_routes(routes: Routes) -> None:
    """Check each route for itself (rule 3.4)."""
    for part in routes.values():
        # SENDERS may be given and still name nobody, as `;` does.
        if part.written.address == WILDCARD and not part.written.senders:
            part.missing("SENDERS", "a route with ADDRESS=* must name the senders whose mail it takes")


def check_owners(
    routes: Collection[str], mailboxes: Collection[str], keys: EnvironmentKeys, report: ErrorCollector
) -> None:
    """Check that each route's MAILBOX exists.

    Args:
        routes: by name.
        mailboxes: the names of all, the faulty ones' included.
        keys: what is given.
        report: takes the faults.
    """
    for name in routes:
        place = ("routes", name, "mailbox")
        given = keys.values.get(place)
        if given and given.value.lower() not in mailboxes:
            near = closest_name(given.value, mailboxes)
            hint = f"did you mean {near}?" if near else "correct it, or remove the route"
            report.fault(place, given.key, f"is no mailbox; {hint}", given.value)


def settle_owners(mailboxes: Collection[str], keys: EnvironmentKeys, report: ErrorCollector) -> None:
    """Let each faulty route hold its mailbox's mail, or all mail if the route may be every mailbox's.

    Mail that is routed while a rule is missing could go wrong, so that it waits. A route for a mailbox that does not
    exist may be meant for any.
    """
    for name in report.owners("routes"):
        given = keys.values.get(("routes", name, "mailbox"))
        known = given is not None and given.value.lower() in mailboxes
        report.give(("routes", name), (ROUTING, given.value.lower()) if given and known else ALL_ROUTING)


@dataclass(frozen=True, slots=True)
class RouteChecks:
    """Checks among routes that are right by themselves, and between them and mailboxes.

    Attributes:
        routes: by name.
        wrong: names of routes that something is wrong with.
        fallbacks: the route that a mailbox names as FALLBACK, by mailbox.
        mailboxes: the names of all, the faulty ones' included.
        report: takes the faults.
        key: gives how a route's ADDRESS is spelled.
        complete: these are all routes: a FALLBACK that is not among them does not exist.
    """

    routes: Mapping[str, RouteSettings]
    wrong: Collection[str]
    fallbacks: Mapping[str, str]
    mailboxes: Collection[str]
    report: ErrorCollector
    key: Callable[[str], str]
    complete: bool = True

    def check(self) -> frozenset[str]:
        """Check them. Return the names of the routes that cannot be used."""
        for mailbox, fallback in self.fallbacks.items():
            self._check_fallback(mailbox, fallback)
        # One that a misspelled FALLBACK means gets no fault of its own.
        named = {*self.fallbacks.values(), *map(self._near, self.fallbacks.values())}
        without = [route for route in self.routes.values() if route.address is None and route.enabled]
        unused = [route for route in without if route.name not in named]
        for route in unused:
            owner = route.mailbox if route.mailbox in self.mailboxes else None
            remedy = "give it an address, or name the route as a mailbox's FALLBACK"
            self.report.routing_fault(owner or "", self.key(route.name), f"is not set; {remedy}")
        return frozenset(route.name for route in unused)

    def _near(self, fallback: str) -> str | None:
        """The route that a FALLBACK may mean which names none; one without an address is most likely."""
        if fallback in self.routes or fallback in self.wrong:
            return None
        without = [name for name, route in self.routes.items() if route.address is None]
        return closest_name(fallback, without) or closest_name(fallback, self.routes)

    def _check_fallback(self, mailbox: str, fallback: str) -> None:
        if fallback in self.wrong:
            return  # its own fault is reported
        key = f"MAILBOXES__{mailbox}__FALLBACK"
        route = self.routes.get(fallback)
        if route is None and self.complete:
            near = self._near(fallback)
            hint = f"did you mean {near}?" if near else "define it, as in ROUTES__<name>__MAILBOX, or remove FALLBACK"
            self.report.routing_fault(mailbox, key, f"names a route that does not exist; {hint}", fallback)
        elif route is not None and route.mailbox not in (None, mailbox):
            trouble = f"is another mailbox's route; name one of {mailbox} or of every mailbox"
            self.report.routing_fault(mailbox, key, trouble, fallback)
        elif route is not None and not route.enabled:
            trouble = "is a route that is switched off; enable it, or name another"
            self.report.routing_fault(mailbox, key, trouble, fallback)


def route_from_section(part: Section[WrittenRoute]) -> RouteSettings:
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
    routes: Sequence[RouteSettings],
    mailboxes: Mapping[str, MailboxSettings],
    key: Callable[[str], str],
    report: ErrorCollector,
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
    routes: Sequence[RouteSettings], mailboxes: Mapping[str, MailboxSettings], report: ErrorCollector
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
                    EnvironmentKeys().spell("mailboxes", name, "ALIASES"),
                    "has no route of this mailbox, so that its mail goes where mail to ADDRESS goes; set up a route "
                    "with this ADDRESS, or correct the alias",
                    alias,
                )


def warn_of_unrouted(
    routes: Sequence[RouteSettings],
    mailboxes: Mapping[str, MailboxSettings],
    faults: Mapping[str, tuple[str, ...]],
    report: ErrorCollector,
) -> None:
    """Warn of mailboxes whose own address no route takes: what is written to them would be unhandled.

    Args:
        routes: all.
        mailboxes: the usable ones.
        faults: what holds mail, by mailbox: where a route is wrong, it may be the one that is missed.
        report: takes the warnings.
    """
    if not routes or "" in faults:
        return
    addresses: dict[str | None, set[str]] = {}
    for route in routes:
        if route.enabled and route.address is not None:
            addresses.setdefault(route.mailbox, set()).add(route.address)
    everybodys = addresses.get(None, set())
    for mailbox in mailboxes.values():
        address = mailbox.mailbox_address
        local, _, domain = address.rpartition("@")
        takers = {address, f"*@{domain}", WILDCARD}
        base, plus, _ = local.partition("+")
        if plus and mailbox.plus_addressing is not PlusAddressing.OFF:
            takers.add(f"{base}@{domain}")
        taken = not takers.isdisjoint(everybodys) or not takers.isdisjoint(addresses.get(mailbox.name, set()))
        if mailbox.enabled and mailbox.fallback is None and mailbox.name not in faults and not taken:
            remedy = f"add one, or set MAILBOXES__{mailbox.name}__FALLBACK"
            trouble = f"has no route, so that mail to it will be unhandled; {remedy}"
            report.warn(f"MAILBOXES__{mailbox.name}__ADDRESS", trouble, address)


def warn_of_no_route(report: ErrorCollector) -> None:
    """Warn that there is no route at all."""
    report.warn("ROUTES__<name>__ADDRESS", "no route is set, so that all mail will be unhandled; set one up")
