"""Load the settings. No other module reads the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from pydantic import SecretStr

from shared.config.choices import MailProtocol
from shared.config.env_keys import APP_STORAGE, EnvironmentKeys, find_secrets, find_settings
from shared.config.mailbox import build_mailbox
from shared.config.model import AppSettings, MailboxSettings
from shared.config.presets import GLOBAL_GRAPH
from shared.config.route_set import RouteChecks, by_order, read_routes, warn_of_no_route, warn_of_shared_addresses
from shared.config.section import read_section
from shared.config.validation import APP, ErrorCollector
from shared.errors import ConfigurationError
from shared.storage.location import HOST_SETTING, StorageLocation, app_storage

_MAIL_STORAGE = "mail_storage"


def load_settings(
    environment: Mapping[str, str] | None = None,
    *,
    certificates: bool = True,
    complete: bool = True,
    base: Path | None = None,
) -> AppSettings:
    """Read and check all settings.

    Args:
        environment: names and values; None: those of the process.
        certificates: open each certificate to check it, which takes a tenth of a second and more.
        complete: False: the routes file may have more routes. `load_routes` then checks all of them together, since a
            FALLBACK may name one of the file.
        base: the folder that a relative `folder:` path is relative to; None: the current folder.

    Returns:
        Every valid mailbox, the errors of each invalid one, and the errors of routes, which hold stored mail back.

    Raises:
        ConfigurationError: the errors of the whole app, followed by every other error.
    """
    environment = os.environ if environment is None else environment
    secrets = find_secrets(environment)
    report = ErrorCollector(secrets)
    keys = find_settings(environment, report)
    values = read_section(AppSettings, (), keys, report, skip=("app_storage", "mail_storage")).values
    own_storage, mail_storage = (
        location and _place(location, values.get("store_mode", location.file_mode), base)
        for location in _read_storages(environment, keys, report)
    )

    sections = {
        name: read_section(MailboxSettings, ("mailboxes", name), keys, report)
        for name in sorted(keys.names["mailboxes"])
    }
    endpoint = values.get("graph_endpoint", GLOBAL_GRAPH)
    built = {name: build_mailbox(section, endpoint, certificates=certificates) for name, section in sections.items()}
    fallbacks = {name: section.values["fallback"] for name, section in sections.items() if "fallback" in section.values}
    _check_webhook(built.values(), keys, report)
    mailbox_errors = {name: report.errors(("mailboxes", name)) for name in sorted(report.owners("mailboxes"))}
    names = {*sections, *mailbox_errors}
    routes = read_routes(keys, names, report)

    def key(name: str) -> str:
        return keys.spell("routes", name, "ADDRESS")

    invalid = routes.invalid
    if complete:
        invalid |= RouteChecks(routes.valid, invalid, fallbacks, names, report, key).check()
    route_errors = report.routing_errors()
    app_errors = report.errors(APP)
    if app_errors or own_storage is None or mail_storage is None:
        # Outside of every except block, so that no exception with a value is chained.
        others = (route_errors.pop("", ()), *mailbox_errors.values(), *route_errors.values())
        raise ConfigurationError(*dict.fromkeys((*app_errors, *(error for errors in others for error in errors))))

    mailboxes = {name: mailbox for name, mailbox in built.items() if mailbox is not None and name not in mailbox_errors}
    ordered = by_order(route for route in routes.valid.values() if route.name not in invalid)
    warn_of_shared_addresses(ordered, mailboxes, key, report)
    if not names:
        report.warn("MAILBOXES__<name>__HOST", "no mailbox is set, so that no mail is retrieved; set one up")
    elif mailboxes and not keys.names["routes"] and complete:
        warn_of_no_route(report)
    return AppSettings(
        app_storage=own_storage,
        mail_storage=mail_storage,
        mailboxes=MappingProxyType(mailboxes),
        mailbox_errors=MappingProxyType(mailbox_errors),
        routes=ordered,
        fallbacks=MappingProxyType(fallbacks),
        route_errors=MappingProxyType(route_errors),
        invalid_routes=invalid,
        warnings=tuple(report.warnings),
        secrets=tuple(map(SecretStr, sorted(secrets))),
        **values,
    )


def _read_storages(
    environment: Mapping[str, str], keys: EnvironmentKeys, report: ErrorCollector
) -> tuple[StorageLocation | None, StorageLocation | None]:
    """Return the app's storage and that of the mail, which by default is the same; None if the setting is invalid."""
    own = mail = None
    parts = [place for place in keys.places if place[0].startswith(APP_STORAGE)]
    if not any(report.has(place) for place in parts):
        own = _parse_storage(HOST_SETTING, environment, [keys.values[place].value for place in parts], report)
    if (_MAIL_STORAGE,) not in keys.places:
        return own, own
    if not report.has((_MAIL_STORAGE,)):
        key, text = keys.values[_MAIL_STORAGE,]
        mail = _parse_storage(key, None, [text], report)
    return own, mail


def _parse_storage(
    key: str, environment: Mapping[str, str] | None, texts: list[str], report: ErrorCollector
) -> StorageLocation | None:
    """Parse the app's storage from the environment, or else the mail's from its text."""
    try:
        for text in texts:
            urlsplit(text.strip())
    except ValueError:
        # The library's message quotes the text, which may hold a key.
        report.app_error(key, "is not a storage's address; check it for a missing or a strange character")
        return None
    try:
        if environment is not None:
            return app_storage(environment)
        return StorageLocation.parse(texts[0], setting=_MAIL_STORAGE.upper())
    except ValueError as error:
        report.app_error(key, str(error))
    return None


def _place(location: StorageLocation, file_mode: int, base: Path | None) -> StorageLocation:
    """Return a storage's location with the mode of its files, and relative to `base`, if it is a folder."""
    if location.folder is None:
        return location
    location = replace(location, file_mode=file_mode)
    return location if base is None else location.resolve_against(base)


def _check_webhook(mailboxes: Iterable[MailboxSettings | None], keys: EnvironmentKeys, report: ErrorCollector) -> None:
    """Check that notifications have a URL and a key. Only Graph mailboxes use them."""
    graph = any(mailbox is not None and mailbox.protocol is MailProtocol.GRAPH for mailbox in mailboxes)
    has_url, has_key = ((name,) in keys.places for name in ("graph_webhook_url", "graph_client_state_key"))
    if has_url and not has_key:
        key = "GRAPH_CLIENT_STATE_KEY"
        report.app_error(key, "is not set, and GRAPH_WEBHOOK_URL is; make one with openssl rand -hex 32")
    elif graph and not has_url:
        report.warn(
            "GRAPH_WEBHOOK_URL",
            "is not set: Graph sends no notifications of new mail, and only the timer polls; set it",
        )
