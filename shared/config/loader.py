"""The only reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from pydantic import SecretStr

from shared.config.env_keys import APP_STORAGE, EnvironmentKeys, find_settings, secrets_in
from shared.config.mailbox import mailbox_from_section
from shared.config.model import AppSettings, MailboxSettings, MailProtocol
from shared.config.pydantic_source import read_sections
from shared.config.route_set import (
    RouteChecks,
    check_owners,
    check_routes,
    route_from_section,
    settle_owners,
    warn_of_no_route,
    warn_of_shared_addresses,
)
from shared.config.schema import WrittenMailbox, WrittenRoute, setting_name
from shared.config.section import Section
from shared.config.validation import APP, ErrorCollector
from shared.errors import ConfigurationError
from shared.storage.location import StorageLocation, app_storage


def load_settings(
    environment: Mapping[str, str] | None = None,
    *,
    certificates: bool = True,
    complete: bool = True,
    base: Path | None = None,
) -> AppSettings:
    """Read and check all settings.

    Args:
        environment: names and values; None: the process's own.
        certificates: open each certificate and see whether it can be used; that takes a tenth of a second and more.
        complete: False: there may be more routes, in the routes file. `all_routes` checks these together then, as a
            FALLBACK may be one of them.
        base: the folder that a relative `folder:` path is relative to; None: the current one.

    Returns:
        Every mailbox that can be used, and the faults of each that cannot; and what is wrong with routes, for which
        mail waits that is collected.

    Raises:
        ConfigurationError: faults of the whole app, which come first, and then every other fault too.
    """
    environment = os.environ if environment is None else environment
    secrets = secrets_in(environment)
    report = ErrorCollector(secrets)
    keys = find_settings(environment, report)
    written = read_sections(keys, report)
    app_storage, mail_storage = parse_storage_locations(
        environment, keys, report, file_mode=written.store_mode, base=base
    )

    mailboxes = {
        name: Section("mailboxes", name, written.mailboxes.get(name, WrittenMailbox()), keys, report)
        for name in keys.names["mailboxes"]
    }
    routes = {
        name: Section("routes", name, written.routes.get(name, WrittenRoute()), keys, report)
        for name in keys.names["routes"]
    }
    fallbacks = {name: part.written.fallback for name, part in mailboxes.items() if part.written.fallback is not None}
    check_routes(routes)
    built = {
        name: mailbox_from_section(part, written.graph_endpoint, certificates=certificates)
        for name, part in sorted(mailboxes.items())
    }
    _check_webhook(built.values(), keys, report)
    faulty = {name: report.of(("mailboxes", name)) for name in sorted(report.owners("mailboxes"))}
    known = {*mailboxes, *faulty}
    check_owners(routes, known, keys, report)
    wrong = set(report.owners("routes"))
    good = {name: route_from_section(part) for name, part in routes.items() if name not in wrong}
    settle_owners(known, keys, report)

    def key(name: str) -> str:
        return routes[name].key("ADDRESS")

    if complete:
        wrong |= RouteChecks(good, wrong, fallbacks, known, report, key).check()
    route_faults = report.by_mailbox()
    usable = {name: mailbox for name, mailbox in built.items() if mailbox is not None and name not in faulty}
    app_faults = report.of(APP)
    if app_faults or app_storage is None or mail_storage is None:
        # Outside of every except, so that nothing is chained to it.
        others = (route_faults.pop("", ()), *faulty.values(), *route_faults.values())
        raise ConfigurationError(*dict.fromkeys((*app_faults, *(fault for faults in others for fault in faults))))

    ordered = tuple(
        sorted((route for route in good.values() if route.name not in wrong), key=lambda one: (one.order, one.name))
    )
    warn_of_shared_addresses(ordered, usable, key, report)
    if not mailboxes and not faulty:
        report.warn("MAILBOXES__<name>__HOST", "no mailbox is set, so that no mail is collected; set one up")
    elif usable and not routes and complete:
        warn_of_no_route(report)
    return AppSettings(
        app_storage=app_storage,
        mail_storage=mail_storage,
        mail_container=written.mail_container,
        poll_schedule=written.poll_schedule,
        poll_budget=written.poll_budget,
        loop_limit=written.loop_limit,
        max_recipients=written.max_recipients,
        max_attachments=written.max_attachments,
        sign_in_authority=written.sign_in_authority,
        graph_endpoint=written.graph_endpoint,
        graph_webhook_url=written.graph_webhook_url,
        graph_client_state_keys=state_keys(written.graph_client_state_key),
        graph_subscription_minutes=written.graph_subscription_minutes,
        telemetry=written.applicationinsights_connection_string,
        mailboxes=MappingProxyType(usable),
        faulty=MappingProxyType(faulty),
        routes=ordered,
        fallbacks=MappingProxyType(fallbacks),
        route_faults=MappingProxyType(route_faults),
        wrong_routes=frozenset(wrong),
        warnings=tuple(report.warnings),
        secrets=tuple(map(SecretStr, sorted(secrets))),
    )


def state_keys(written: SecretStr | None) -> tuple[SecretStr, ...]:
    """GRAPH_CLIENT_STATE_KEY's one or two keys."""
    return () if written is None else tuple(SecretStr(key) for key in written.get_secret_value().split(";"))


def _check_webhook(mailboxes: Iterable[MailboxSettings | None], keys: EnvironmentKeys, report: ErrorCollector) -> None:
    """Notifications need an address and a key, and are of use to Graph's mailboxes alone."""
    graph = any(one is not None and one.protocol is MailProtocol.GRAPH for one in mailboxes)
    with_address, with_key = ((name,) in keys.given for name in ("graph_webhook_url", "graph_client_state_key"))
    if with_address and not with_key:
        key = "GRAPH_CLIENT_STATE_KEY"
        report.app_fault(key, "is not set, and GRAPH_WEBHOOK_URL is; make one with openssl rand -hex 32")
    elif graph and not with_address:
        report.warn(
            "GRAPH_WEBHOOK_URL", "is not set: Graph notifies nobody of new mail, the clock alone collects it; set it"
        )


_MAIL_STORAGE = "mail_storage"


def parse_storage_locations(
    environment: Mapping[str, str], keys: EnvironmentKeys, report: ErrorCollector, *, file_mode: int, base: Path | None
) -> tuple[StorageLocation | None, StorageLocation | None]:
    """Return the app's own storage and the one for mail, which by default is the same; None if its setting is wrong.

    Args:
        environment: names and values.
        keys: the settings among them.
        report: where faults are noted.
        file_mode: of new files in a folder.
        base: the folder that a relative `folder:` path is relative to; None: the current one.
    """
    own = mail = None
    parts = [place for place in keys.given if place[0].startswith(APP_STORAGE)]
    if not any(report.has(place) for place in parts):
        texts = [keys.values[place].value for place in parts]
        own = _parsed(setting_name(APP_STORAGE), texts, lambda: app_storage(environment), report)
    if (_MAIL_STORAGE,) not in keys.given:
        mail = own
    elif not report.has((_MAIL_STORAGE,)):
        key, text = keys.values[_MAIL_STORAGE,]
        mail = _parsed(key, [text], lambda: StorageLocation.parse(text, setting=setting_name(_MAIL_STORAGE)), report)
    return _placed(own, file_mode, base), _placed(mail, file_mode, base)


def _placed(address: StorageLocation | None, file_mode: int, base: Path | None) -> StorageLocation | None:
    if address is None or address.folder is None:
        return address
    address = replace(address, file_mode=file_mode)
    return address if base is None else address.below(base)


def _parsed(
    key: str, texts: list[str], parse: Callable[[], StorageLocation], report: ErrorCollector
) -> StorageLocation | None:
    trouble = None
    try:
        for text in texts:
            urlsplit(text.strip())
    except ValueError:
        # The library's own text quotes what it could not read, which may hold a key.
        trouble = "is no storage's address; check it for a missing or a strange character"
    if trouble is None:
        try:
            return parse()
        except ValueError as error:
            trouble = str(error)
    report.app_fault(key, trouble)
    return None
