"""Check routes by themselves, against each other and against the mailboxes (docs/reference/rules.md, "Recipients and
routes").

The routes of the settings and those of the routes file are checked together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from shared.config.choices import PlusAddressing
from shared.config.env_keys import EnvironmentKeys
from shared.config.model import AppSettings, MailboxSettings
from shared.config.routes_file import ROUTES_PATH, read_routes_file
from shared.config.section import Section, read_section
from shared.config.validation import ALL_ROUTING, APP, ROUTING, ErrorCollector, closest_name
from shared.routing.model import Route

WILDCARD = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSet:
    """All routes at one time, and the configuration errors of routes.

    Attributes:
        routes: the valid routes by order, then name; disabled routes included.
        from_file: the number of valid routes in the routes file; None: the file does not exist.
        errors: the errors that hold the mail of all mailboxes.
        mailbox_errors: the errors that hold the mail of one mailbox, by mailbox.
        warnings: valid settings that look like a mistake, without the warnings of `load_settings`.
    """

    routes: tuple[Route, ...] = ()
    from_file: int | None = None
    errors: tuple[str, ...] = ()
    mailbox_errors: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()

    def errors_for(self, mailbox: str) -> tuple[str, ...]:
        """Return the errors that hold a mailbox's mail."""
        return (*self.errors, *self.mailbox_errors.get(mailbox, ()))

    @property
    def all_errors(self) -> tuple[str, ...]:
        """Every error, those that hold all mail first."""
        return (*self.errors, *(error for errors in self.mailbox_errors.values() for error in errors))


def load_routes(
    settings: AppSettings, data: bytes | None, source: str = ROUTES_PATH, *, complete: bool = True
) -> RouteSet:
    """Check a routes file, by itself and together with the settings.

    Args:
        settings: with their routes, loaded with `complete=False`.
        data: the file's content; None: the file does not exist.
        source: the file's name in errors.
        complete: False: a file may exist that is not at hand, so that a FALLBACK may name one of its routes.
    """
    report = ErrorCollector(secret.get_secret_value() for secret in settings.secrets)
    keys = EnvironmentKeys() if data is None else read_routes_file(data, source, report)
    if keys is None:
        return _route_set(settings, report, settings.routes, 0)
    mailboxes = {*settings.mailboxes, *settings.mailbox_errors}
    own_routes = {route.name: route for route in settings.routes}
    names = keys.names["routes"]
    repeated = sorted(({*own_routes} | settings.invalid_routes) & names.keys())
    for name in repeated:
        report.routing_error("", f"{source}, {names[name]}", "is a route of the settings too; remove one of the two")
    file_routes = read_routes(keys, mailboxes, report)
    for name in repeated:
        file_routes.valid.pop(name, None)

    def key(name: str) -> str:
        return (keys if name in names and name not in own_routes else EnvironmentKeys()).spell(
            "routes", name, "ADDRESS"
        )

    routes = {**own_routes, **file_routes.valid}
    invalid = {*settings.invalid_routes, *file_routes.invalid}
    invalid |= RouteChecks(routes, invalid, settings.fallbacks, mailboxes, report, key, complete).check()
    ordered = by_order(route for route in routes.values() if route.name not in invalid)
    warn_of_shared_addresses(ordered, settings.mailboxes, key, report)
    _warn_of_aliases_without_a_route(ordered, settings.mailboxes, report)
    from_file = None if data is None else sum(1 for name in file_routes.valid if name not in invalid)
    route_set = _route_set(settings, report, ordered, from_file)
    if complete and settings.mailboxes and not own_routes and not names and not settings.invalid_routes:
        warn_of_no_route(report)
    elif complete:
        _warn_of_unrouted_mailboxes(route_set, settings.mailboxes, report)
    return replace(route_set, warnings=tuple(line for line in report.warnings if line not in settings.warnings))


def by_order(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return routes by order, then name."""
    return tuple(sorted(routes, key=lambda route: (route.order, route.name)))


def _route_set(
    settings: AppSettings, report: ErrorCollector, routes: tuple[Route, ...], from_file: int | None
) -> RouteSet:
    """Return the routes with all errors, those of the settings first."""
    reported = report.routing_errors()
    reported[""] = (*report.errors(APP), *reported.get("", ()))
    errors = {
        mailbox: tuple(dict.fromkeys((*settings.route_errors.get(mailbox, ()), *reported.get(mailbox, ()))))
        for mailbox in sorted({*settings.route_errors, *reported})
    }
    general = errors.pop("")
    return RouteSet(routes=routes, from_file=from_file, errors=general, mailbox_errors=MappingProxyType(errors))


@dataclass(frozen=True, slots=True)
class ReadRoutes:
    """Routes after each was checked by itself.

    Attributes:
        valid: by name.
        invalid: the names of the other routes.
    """

    valid: dict[str, Route]
    invalid: frozenset[str]


def read_routes(keys: EnvironmentKeys, mailboxes: Collection[str], report: ErrorCollector) -> ReadRoutes:
    """Check each route by itself (rule 3.4), and whether its MAILBOX exists.

    The errors of a route hold its mailbox's mail, or all mail if the route may apply to every mailbox: mail that is
    routed while a route is missing could be misrouted. A route of an unknown mailbox may be meant for any.

    Args:
        keys: the settings that are set.
        mailboxes: the names of all mailboxes, invalid ones included.
        report: takes the errors.
    """
    sections = {name: read_section(Route, ("routes", name), keys, report) for name in keys.names["routes"]}
    for section in sections.values():
        # SENDERS may be set and still be empty, such as `;`.
        if section.values.get("address") == WILDCARD and not section.values.get("senders"):
            section.missing("SENDERS", "a route with ADDRESS=* must name the senders whose mail it takes")
        _check_mailbox(section, mailboxes)
    invalid = frozenset(report.owners("routes"))
    valid = {name: Route(name=name, **section.values) for name, section in sections.items() if name not in invalid}
    for name in report.owners("routes"):
        mailbox = keys.values.get(("routes", name, "mailbox"))
        exists = mailbox is not None and mailbox.value.lower() in mailboxes
        report.reassign(("routes", name), (ROUTING, mailbox.value.lower()) if mailbox and exists else ALL_ROUTING)
    return ReadRoutes(valid, invalid)


def _check_mailbox(section: Section, mailboxes: Collection[str]) -> None:
    mailbox = section.values.get("mailbox")
    if mailbox is not None and mailbox not in mailboxes:
        near = closest_name(mailbox, mailboxes)
        hint = f"did you mean {near}?" if near else "correct it, or remove the route"
        section.error("MAILBOX", f"is not a mailbox; {hint}", section.text("MAILBOX"))


@dataclass(frozen=True, slots=True)
class RouteChecks:
    """Checks routes that are valid by themselves against each other and against the mailboxes.

    Attributes:
        routes: by name.
        invalid: the names of invalid routes.
        fallbacks: the route that a mailbox names as FALLBACK, by mailbox.
        mailboxes: the names of all mailboxes, invalid ones included.
        report: takes the errors.
        key: returns how a route's ADDRESS is spelled.
        complete: these are all routes: a FALLBACK that is not among them does not exist.
    """

    routes: Mapping[str, Route]
    invalid: Collection[str]
    fallbacks: Mapping[str, str]
    mailboxes: Collection[str]
    report: ErrorCollector
    key: Callable[[str], str]
    complete: bool = True

    def check(self) -> frozenset[str]:
        """Check the routes. Return the names of those that cannot be used."""
        for mailbox, fallback in self.fallbacks.items():
            self._check_fallback(mailbox, fallback)
        # A route that a misspelled FALLBACK means gets no error itself.
        named = {*self.fallbacks.values(), *map(self._closest_route, self.fallbacks.values())}
        without = [route for route in self.routes.values() if route.address is None and route.enabled]
        unused = [route for route in without if route.name not in named]
        for route in unused:
            owner = route.mailbox if route.mailbox in self.mailboxes else None
            fix = "give it an address, or name the route as a mailbox's FALLBACK"
            self.report.routing_error(owner or "", self.key(route.name), f"is not set; {fix}")
        return frozenset(route.name for route in unused)

    def _closest_route(self, fallback: str) -> str | None:
        """Return the route that a misspelled FALLBACK may mean; a route without an address is most likely."""
        if fallback in self.routes or fallback in self.invalid:
            return None
        without = [name for name, route in self.routes.items() if route.address is None]
        return closest_name(fallback, without) or closest_name(fallback, self.routes)

    def _check_fallback(self, mailbox: str, fallback: str) -> None:
        if fallback in self.invalid:
            return  # its own error is reported
        key = f"MAILBOXES__{mailbox}__FALLBACK"
        route = self.routes.get(fallback)
        if route is None and self.complete:
            near = self._closest_route(fallback)
            hint = f"did you mean {near}?" if near else "define it, as in ROUTES__<name>__MAILBOX, or remove FALLBACK"
            self.report.routing_error(mailbox, key, f"names a route that does not exist; {hint}", fallback)
        elif route is not None and route.mailbox not in (None, mailbox):
            detail = f"is another mailbox's route; name a route of {mailbox} or of every mailbox"
            self.report.routing_error(mailbox, key, detail, fallback)
        elif route is not None and not route.enabled:
            detail = "is a disabled route; enable it, or name another"
            self.report.routing_error(mailbox, key, detail, fallback)


def warn_of_shared_addresses(
    routes: Sequence[Route],
    mailboxes: Mapping[str, MailboxSettings],
    key: Callable[[str], str],
    report: ErrorCollector,
) -> None:
    """Warn of an address in the routes of two mailboxes (rule 3.8): only the copy that arrives first is routed.

    Args:
        routes: all, by order.
        mailboxes: the valid mailboxes.
        key: returns how a route's ADDRESS is spelled.
        report: takes the warnings.
    """
    names: dict[str, dict[str | None, str]] = {}
    for route in routes:
        active = route.mailbox is None or (route.mailbox in mailboxes and mailboxes[route.mailbox].enabled)
        if route.enabled and active and route.address is not None and route.address != WILDCARD:
            names.setdefault(route.address, {}).setdefault(route.mailbox, route.name)
    for address, by_mailbox in names.items():
        if len(by_mailbox) > 1 and len(mailboxes) > 1:
            first, *others = by_mailbox.values()
            report.warn(
                key(others[0]),
                f"is the address of route {first} too, for another mailbox; only the copy that arrives first is routed",
                address,
            )


def _warn_of_aliases_without_a_route(
    routes: Sequence[Route], mailboxes: Mapping[str, MailboxSettings], report: ErrorCollector
) -> None:
    """Warn of aliases that no plain route of their mailbox takes: their mail is routed by the primary address."""
    for name, mailbox in mailboxes.items():
        if not mailbox.aliases:
            continue
        addresses = {route.address for route in routes if route.enabled and route.mailbox in (None, name)}
        for alias in mailbox.aliases:
            local, _, domain = alias.rpartition("@")
            if addresses.isdisjoint({alias, f"*@{domain}", f"{local.partition('+')[0]}@{domain}"}):
                report.warn(
                    EnvironmentKeys().spell("mailboxes", name, "ALIASES"),
                    "has no route of this mailbox, so that its mail goes where mail to ADDRESS goes; set up a route "
                    "with this ADDRESS, or correct the alias",
                    alias,
                )


def _warn_of_unrouted_mailboxes(
    route_set: RouteSet, mailboxes: Mapping[str, MailboxSettings], report: ErrorCollector
) -> None:
    """Warn of mailboxes whose own address no route takes, unless an invalid route may be the missing one."""
    if not route_set.routes or route_set.errors:
        return
    addresses: dict[str | None, set[str]] = {}
    for route in route_set.routes:
        if route.enabled and route.address is not None:
            addresses.setdefault(route.mailbox, set()).add(route.address)
    for mailbox in mailboxes.values():
        address = mailbox.mailbox_address
        local, _, domain = address.rpartition("@")
        matching = {address, f"*@{domain}", WILDCARD}
        base, plus, _ = local.partition("+")
        if plus and mailbox.plus_addressing is not PlusAddressing.OFF:
            matching.add(f"{base}@{domain}")
        routed = any(matching & addresses.get(owner, set()) for owner in (None, mailbox.name))
        if mailbox.enabled and mailbox.fallback is None and mailbox.name not in route_set.mailbox_errors and not routed:
            fix = f"add one, or set MAILBOXES__{mailbox.name}__FALLBACK"
            detail = f"has no route, so that mail to it will be unhandled; {fix}"
            report.warn(f"MAILBOXES__{mailbox.name}__ADDRESS", detail, address)


def warn_of_no_route(report: ErrorCollector) -> None:
    """Warn that no route is set at all."""
    report.warn("ROUTES__<name>__ADDRESS", "no route is set, so that all mail will be unhandled; set one up")
