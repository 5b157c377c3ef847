"""All routes: those of the settings and those of the routes file, checked together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from shared.config.env_keys import EnvironmentKeys
from shared.config.model import AppSettings, RouteSettings
from shared.config.pydantic_source import read_route_sections
from shared.config.routes_file import ROUTES_PATH, read_routes_file
from shared.config.routing import (
    RouteChecks,
    check_owners,
    check_routes,
    route_from_section,
    settle_owners,
    warn_of_aliases_without_a_route,
    warn_of_no_route,
    warn_of_shared_addresses,
    warn_of_unrouted,
)
from shared.config.schema import WrittenRoute
from shared.config.section import Section
from shared.config.validation import APP, ErrorCollector


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
