"""Check routes by themselves, against each other and against the mailboxes (docs/reference/rules.md, "Recipients and
routes").

The routes of the settings and those of the routes file are checked together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from shared.config.model import AppSettings, MailboxSettings
from shared.config.presets import PlusAddressing
from shared.config.routes_file import ROUTES_PATH, read_routes_file
from shared.config.section import Section
from shared.config.validation import Report, closest_name
from shared.errors import InvalidValue
from shared.routing.model import ANY_RECIPIENT, Route


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
    report = Report(secret.get_secret_value() for secret in settings.secrets)
    checker = RouteChecker({*settings.mailboxes, *settings.mailbox_errors}, settings.fallbacks, report)
    checker.errors = {mailbox: [*errors] for mailbox, errors in settings.route_errors.items()}
    try:
        sections = {} if data is None else read_routes_file(data, source, report)
    except InvalidValue as invalid:
        checker.hold(None, report.line(source, invalid.detail))
        return _route_set(settings.routes, 0, checker)
    own_routes = {route.name: route for route in settings.routes}
    checker.read(sections)
    for name in sorted(sections.keys() & (own_routes.keys() | settings.invalid_routes)):
        key = checker.address_key(name).removesuffix(".ADDRESS")
        checker.hold(None, report.line(key, "is a route of the settings too; remove one of the two"))
        checker.valid.pop(name, None)
        del checker.sections[name]
    checker.valid |= own_routes
    checker.invalid |= settings.invalid_routes
    checker.check_together(complete=complete)
    routes = checker.valid_routes()
    checker.warn_of_shared_addresses(settings.mailboxes)
    from_file = None if data is None else sum(route.name not in own_routes for route in routes)
    route_set = _route_set(routes, from_file, checker)
    no_route = complete and not own_routes and not sections and not settings.invalid_routes
    if no_route and settings.mailboxes:
        warn_of_no_route(report)
    _warn_of_unrouted_addresses(settings.mailboxes, route_set, report, complete=complete)
    return replace(route_set, warnings=tuple(line for line in report.warnings if line not in settings.warnings))


def _route_set(routes: tuple[Route, ...], from_file: int | None, checker: RouteChecker) -> RouteSet:
    errors = checker.errors_by_mailbox()
    general = errors.pop("", ())
    return RouteSet(routes=routes, from_file=from_file, errors=general, mailbox_errors=MappingProxyType(errors))


@dataclass(slots=True)
class RouteChecker:
    """Checks routes: each by itself, then all together.

    Attributes:
        mailboxes: the names of all mailboxes, invalid ones included.
        fallbacks: the route that a mailbox names as FALLBACK, by mailbox.
        report: words the errors.
        errors: the errors that hold the mail of a mailbox, by mailbox; those under "" hold all mail.
        sections: the settings of the routes that were read, by name.
        valid: the routes that are valid by themselves, by name.
        invalid: the names of the others, and of those that cannot be used together with the rest.
    """

    mailboxes: Collection[str]
    fallbacks: Mapping[str, str]
    report: Report
    errors: dict[str, list[str]] = field(default_factory=dict)
    sections: dict[str, Section] = field(default_factory=dict)
    valid: dict[str, Route] = field(default_factory=dict)
    invalid: set[str] = field(default_factory=set)

    def read(self, sections: Mapping[str, Section]) -> None:
        """Check each route by itself (rule 3.4), and whether its MAILBOX exists.

        The errors of a route hold its mailbox's mail, or all mail if the route may apply to every mailbox: mail that
        is routed while a route is missing could be misrouted. A route of an unknown mailbox may be meant for any.
        """
        self.sections = dict(sections)
        for section in sections.values():
            values = section.read()
            # SENDERS may be set and still be empty, such as `;`.
            without_senders = not values.get("senders") and not section.is_invalid("SENDERS")
            if values.get("address") == ANY_RECIPIENT and without_senders:
                section.error("SENDERS", "is not set; a route with ADDRESS=* must name the senders whose mail it takes")
            mailbox = values.get("mailbox")
            if mailbox is not None and mailbox not in self.mailboxes:
                near = closest_name(mailbox, self.mailboxes)
                hint = f"did you mean {near}?" if near else "correct it, or remove the route"
                section.error("MAILBOX", f"is not a mailbox; {hint}", mailbox)
            if section.errors:
                self.invalid |= {section.name} - {""}
                self.hold(None if section.is_repeated else mailbox, *section.errors)
            else:
                self.valid[section.name] = Route(name=section.name, **values)

    def hold(self, mailbox: str | None, *errors: str) -> None:
        """Add errors that hold a mailbox's mail, or all mail if the mailbox is not known."""
        owner = mailbox if mailbox is not None and mailbox in self.mailboxes else ""
        self.errors.setdefault(owner, []).extend(errors)

    def errors_by_mailbox(self) -> dict[str, tuple[str, ...]]:
        """Return the errors that hold mail, each once; those under "" come first."""
        return {mailbox: tuple(dict.fromkeys(errors)) for mailbox, errors in sorted(self.errors.items())}

    def address_key(self, route: str) -> str:
        """Return how the ADDRESS of a route is spelled."""
        return self.sections[route].key("ADDRESS") if route in self.sections else f"ROUTES__{route}__ADDRESS"

    def valid_routes(self) -> tuple[Route, ...]:
        """Return the routes that can be used, by order, then name."""
        routes = (route for route in self.valid.values() if route.name not in self.invalid)
        return tuple(sorted(routes, key=lambda route: (route.order, route.name)))

    def check_together(self, *, complete: bool = True) -> None:
        """Check the FALLBACK of each mailbox, and that every route has an address or is a FALLBACK.

        Args:
            complete: these are all routes: a FALLBACK that is not among them does not exist.
        """
        for mailbox, fallback in self.fallbacks.items():
            if fallback not in self.invalid:  # its own error is reported
                self._check_fallback(mailbox, fallback, complete=complete)
        # A route that a misspelled FALLBACK means gets no error itself.
        named = {*self.fallbacks.values(), *map(self._closest_route, self.fallbacks.values())}
        for route in self.valid.values():
            if route.address is None and route.enabled and route.name not in named:
                self.invalid.add(route.name)
                detail = "is not set; give it an address, or name the route as a mailbox's FALLBACK"
                self.hold(route.mailbox, self.report.line(self.address_key(route.name), detail))

    def _check_fallback(self, mailbox: str, fallback: str, *, complete: bool) -> None:
        route = self.valid.get(fallback)
        if route is None:
            near = self._closest_route(fallback)
            hint = f"did you mean {near}?" if near else "define it, as in ROUTES__<name>__MAILBOX, or remove FALLBACK"
            detail = f"names a route that does not exist; {hint}" if complete else None
        elif route.mailbox not in (None, mailbox):
            detail = f"is another mailbox's route; name a route of {mailbox} or of every mailbox"
        else:
            detail = None if route.enabled else "is a disabled route; enable it, or name another"
        if detail is not None:
            self.hold(mailbox, self.report.line(f"MAILBOXES__{mailbox}__FALLBACK", detail, fallback))

    def _closest_route(self, fallback: str) -> str | None:
        """Return the route that a misspelled FALLBACK may mean; a route without an address is most likely."""
        if fallback in self.valid or fallback in self.invalid:
            return None
        without = [name for name, route in self.valid.items() if route.address is None]
        return closest_name(fallback, without) or closest_name(fallback, self.valid)

    def warn_of_shared_addresses(self, mailboxes: Mapping[str, MailboxSettings]) -> None:
        """Warn of an address in the routes of two mailboxes (rule 3.8): only the copy that arrives first is routed.

        Args:
            mailboxes: the valid mailboxes.
        """
        names: dict[str, dict[str | None, str]] = {}
        for route in self.valid_routes():
            active = route.mailbox is None or (route.mailbox in mailboxes and mailboxes[route.mailbox].enabled)
            if route.enabled and active and route.address not in (None, ANY_RECIPIENT):
                names.setdefault(route.address, {}).setdefault(route.mailbox, route.name)
        for address, by_mailbox in names.items():
            if len(by_mailbox) > 1 and len(mailboxes) > 1:
                first, second, *_ = by_mailbox.values()
                detail = "for another mailbox; only the copy that arrives first is routed"
                self.report.warn(self.address_key(second), f"is the address of route {first} too, {detail}", address)


def _warn_of_unrouted_addresses(
    mailboxes: Mapping[str, MailboxSettings], route_set: RouteSet, report: Report, *, complete: bool
) -> None:
    """Warn of aliases that no plain route of their mailbox takes, and of mailboxes whose own address no route takes."""
    addresses: dict[str | None, set[str | None]] = {}
    for route in route_set.routes:
        if route.enabled:
            addresses.setdefault(route.mailbox, set()).add(route.address)

    def is_routed(mailbox: MailboxSettings, address: str, *others: str) -> bool:
        local, _, domain = address.rpartition("@")
        matching = {address, f"*@{domain}", *others}
        if mailbox.plus_addressing is not PlusAddressing.OFF:
            matching.add(f"{local.partition('+')[0]}@{domain}")
        return any(not matching.isdisjoint(addresses.get(owner, set())) for owner in (None, mailbox.name))

    for name, mailbox in mailboxes.items():
        for alias in mailbox.aliases:
            if not is_routed(mailbox, alias):
                detail = "has no route of this mailbox, so that its mail goes where mail to ADDRESS goes"
                fix = "set up a route with this ADDRESS, or correct the alias"
                report.warn(f"MAILBOXES__{name}__ALIASES", f"{detail}; {fix}", alias)
        # Without any route there is another warning, and an invalid route might be the missing one.
        is_known = complete and route_set.routes and not route_set.errors_for(name)
        own, expects_route = mailbox.mailbox_address, mailbox.enabled and mailbox.fallback is None
        if is_known and expects_route and not is_routed(mailbox, own, ANY_RECIPIENT):
            fix = f"add one, or set MAILBOXES__{name}__FALLBACK"
            detail = f"has no route, so that mail to it will be unhandled; {fix}"
            report.warn(f"MAILBOXES__{name}__ADDRESS", detail, own)


def warn_of_no_route(report: Report) -> None:
    """Warn that no route is set at all."""
    report.warn("ROUTES__<name>__ADDRESS", "no route is set, so that all mail will be unhandled; set one up")
