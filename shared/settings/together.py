"""All routes: those of the settings and those of the routes file, checked together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from shared.settings.faults import APP, Report
from shared.settings.model import AppSettings, RouteSettings
from shared.settings.names import Keys
from shared.settings.part import Part
from shared.settings.routes_file import ROUTES_PATH, find_in_file
from shared.settings.routing import (
    check_fallbacks,
    check_routes,
    route_of,
    settle_owners,
    warn_of_aliases_without_a_route,
    warn_of_no_route,
    warn_of_shared_addresses,
)
from shared.settings.source import read_written_routes
from shared.settings.written import WrittenMailbox, WrittenRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class AllRoutes:
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


def all_routes(settings: AppSettings, data: bytes | None, called: str = ROUTES_PATH) -> AllRoutes:
    """Check a routes file, by itself and together with the settings.

    Args:
        settings: with their routes, read as not complete.
        data: the file; None: there is none.
        called: what faults call it.
    """
    report = Report(_secrets(settings))
    keys = Keys() if data is None else find_in_file(data, called, report)
    if keys is None:
        return AllRoutes(routes=settings.routes, from_file=0, faults=report.of(APP))
    written = read_written_routes(keys, report)
    parts = {
        name: Part("routes", name, written.get(name, WrittenRoute()), keys, report) for name in keys.names["routes"]
    }
    check_routes(parts, settings.fallbacks)
    ours = {route.name: route for route in settings.routes}
    for name in sorted(ours.keys() & parts.keys()):
        report.app_fault(
            f"{called}, {keys.names['routes'][name]}",
            "is a route of the settings too; remove one of the two",
        )
    mailboxes = {
        name: Part("mailboxes", name, WrittenMailbox(fallback=mailbox.fallback), Keys(), report)
        for name, mailbox in settings.mailboxes.items()
        if mailbox.fallback is not None
    }
    check_fallbacks(mailboxes, {**ours, **{name: part.written for name, part in parts.items()}})
    good = [route_of(part) for name, part in parts.items() if name not in ours and not report.of(("routes", name))]
    settle_owners(parts, {*settings.mailboxes, *settings.faulty}, keys, report)
    ordered = tuple(sorted((*settings.routes, *good), key=lambda route: (route.order, route.name)))

    def key(name: str) -> str:
        return (Keys() if name in ours else keys).spell("routes", name, "ADDRESS")

    warn_of_shared_addresses(ordered, settings.mailboxes, key, report)
    warn_of_aliases_without_a_route(ordered, settings.mailboxes, report)
    if settings.mailboxes and not ours and not parts:
        warn_of_no_route(report)
    return AllRoutes(
        routes=ordered,
        from_file=None if data is None else len(good),
        faults=report.of(APP),
        faulty=MappingProxyType({name: report.of(("mailboxes", name)) for name in sorted(report.owners("mailboxes"))}),
        warnings=tuple(line for line in report.warnings if line not in settings.warnings),
    )


def _secrets(settings: AppSettings) -> set[str]:
    """What no fault may show, should it have been pasted into the wrong place."""
    secrets = [*settings.graph_client_state_keys, settings.telemetry]
    for one in settings.mailboxes.values():
        secrets += [one.password, one.client_secret, one.certificate, one.certificate_password]
    storages = (settings.app_storage, settings.mail_storage)
    return {
        *(secret.get_secret_value() for secret in secrets if secret is not None),
        *(one.connection_string for one in storages if one.connection_string is not None),
    }
