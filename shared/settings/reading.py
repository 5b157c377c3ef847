"""The only reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from shared.errors import SettingsWrong
from shared.settings.faults import APP, Report
from shared.settings.mailbox import mailbox_of
from shared.settings.model import AppSettings
from shared.settings.names import find_keys, secrets_in
from shared.settings.part import Part
from shared.settings.routing import check_fallbacks, check_routes, route_of, settle_owners, warn_of_shared_addresses
from shared.settings.source import read_written
from shared.settings.storages import storages
from shared.settings.written import WrittenMailbox, WrittenRoute


def read_settings(environment: Mapping[str, str] | None = None) -> AppSettings:
    """Read and check all settings.

    Args:
        environment: names and values; None: the process's own.

    Returns:
        Every mailbox that can be used, and the faults of each that cannot.

    Raises:
        SettingsWrong: faults of the whole app, which come first, and then every other fault too.
    """
    environment = os.environ if environment is None else environment
    report = Report(secrets_in(environment))
    keys = find_keys(environment, report)
    written = read_written(keys, report)
    app_storage, mail_storage = storages(environment, keys, report)

    mailboxes = {
        name: Part("mailboxes", name, written.mailboxes.get(name, WrittenMailbox()), keys, report)
        for name in keys.names["mailboxes"]
    }
    routes = {
        name: Part("routes", name, written.routes.get(name, WrittenRoute()), keys, report)
        for name in keys.names["routes"]
    }
    check_routes(routes, mailboxes)
    check_fallbacks(mailboxes, routes)
    built = {name: mailbox_of(part) for name, part in sorted(mailboxes.items())}
    good_routes = [route_of(part) for name, part in routes.items() if not report.of(("routes", name))]
    settle_owners(routes, {*mailboxes, *report.owners("mailboxes")}, keys, report)

    faulty = {name: report.of(("mailboxes", name)) for name in sorted(report.owners("mailboxes"))}
    usable = {name: mailbox for name, mailbox in built.items() if mailbox is not None and name not in faulty}
    app_faults = report.of(APP)
    if app_faults or app_storage is None or mail_storage is None:
        # Outside of every except, so that nothing is chained to it.
        raise SettingsWrong(*app_faults, *(fault for faults in faulty.values() for fault in faults))

    ordered = tuple(sorted(good_routes, key=lambda route: (route.order, route.name)))
    warn_of_shared_addresses(ordered, usable, keys, report)
    if not mailboxes and not faulty:
        report.warn("MAILBOXES__<name>__HOST", "no mailbox is set, so that no mail is collected; set one up")
    elif usable and not routes:
        report.warn("ROUTES__<name>__ADDRESS", "no route is set, so that all mail will be unhandled; set one up")
    return AppSettings(
        app_storage=app_storage,
        mail_storage=mail_storage,
        mail_container=written.mail_container,
        poll_schedule=written.poll_schedule,
        sweep_schedule=written.sweep_schedule,
        poll_budget=written.poll_budget,
        sign_in_authority=written.sign_in_authority,
        mailboxes=MappingProxyType(usable),
        faulty=MappingProxyType(faulty),
        routes=ordered,
        warnings=tuple(report.warnings),
    )
