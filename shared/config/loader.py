"""Load the settings. No other module reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pydantic import SecretStr

from shared.config.env_keys import APP_STORAGE, find_secrets, find_settings
from shared.config.mailbox import build_mailbox
from shared.config.model import AppSettings
from shared.config.presets import GLOBAL_GRAPH, MailProtocol
from shared.config.route_set import RouteChecker, warn_of_no_route
from shared.config.section import Section
from shared.config.validation import Report
from shared.errors import ConfigurationError
from shared.storage.location import HOST_SETTING, StorageLocation, app_storage


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
    report = Report(secrets)
    found = find_settings(environment, report)
    app, values = found.app, found.app.read(skip=("app_storage",))
    _read_app_storage(app, environment)

    endpoint = values.get("graph_endpoint", GLOBAL_GRAPH)
    sections = dict(sorted(found.owned["mailboxes"].items()))
    built = {
        name: build_mailbox(section, endpoint, certificates=certificates)
        for name, section in sections.items()
        if section.keys
    }
    mailbox_errors = {name: tuple(section.errors) for name, section in sections.items() if section.errors}
    mailboxes = {name: mailbox for name, mailbox in built.items() if mailbox is not None and name not in mailbox_errors}
    fallbacks = {name: section.values["fallback"] for name, section in sections.items() if "fallback" in section.values}
    _check_webhook(app, graph=any(mailbox and mailbox.protocol is MailProtocol.GRAPH for mailbox in built.values()))

    routes = RouteChecker(sections.keys(), fallbacks, report)
    routes.read(found.owned["routes"])
    if complete:
        routes.check_together()
    route_errors = routes.errors_by_mailbox()
    if app.errors:
        # Outside of every except block, so that no exception with a value is chained.
        others = (route_errors.pop("", ()), *mailbox_errors.values(), *route_errors.values())
        raise ConfigurationError(*dict.fromkeys((*app.errors, *(error for errors in others for error in errors))))

    routes.warn_of_shared_addresses(mailboxes)
    if not routes.mailboxes:
        report.warn("MAILBOXES__<name>__HOST", "no mailbox is set, so that no mail is retrieved; set one up")
    elif mailboxes and not routes.sections and complete:
        warn_of_no_route(report)
    for name in ("app_storage", "mail_storage"):
        location = values.get(name, values["app_storage"])
        values[name] = _place(location, values.get("store_mode", location.file_mode), base)
    return AppSettings(
        **values,
        mailboxes=MappingProxyType(mailboxes),
        mailbox_errors=MappingProxyType(mailbox_errors),
        routes=routes.valid_routes(),
        fallbacks=MappingProxyType(fallbacks),
        route_errors=MappingProxyType(route_errors),
        invalid_routes=frozenset(routes.invalid),
        warnings=tuple(report.warnings),
        secrets=tuple(map(SecretStr, sorted(secrets))),
    )


def _read_app_storage(app: Section, environment: Mapping[str, str]) -> None:
    """Read the app's own storage, whose settings are the Functions host's."""
    parts = [setting for setting in app.keys if setting.startswith(APP_STORAGE)]
    if all(part in app.texts for part in parts):  # else its error was reported
        try:
            app.values["app_storage"] = app_storage(environment)
        except ValueError as error:
            app.error(HOST_SETTING, str(error))


def _place(location: StorageLocation, file_mode: int, base: Path | None) -> StorageLocation:
    """Return a storage's location with the mode of its files, and relative to `base`, if it is a folder."""
    if location.folder is None:
        return location
    location = replace(location, file_mode=file_mode)
    return location if base is None else location.resolve_against(base)


def _check_webhook(app: Section, *, graph: bool) -> None:
    """Check that notifications have a URL and a key. Only Graph mailboxes use them."""
    if app.is_set("GRAPH_WEBHOOK_URL"):
        if not app.is_set("GRAPH_CLIENT_STATE_KEY"):
            detail = "is not set, and GRAPH_WEBHOOK_URL is; make one with openssl rand -hex 32"
            app.error("GRAPH_CLIENT_STATE_KEY", detail)
    elif graph:
        detail = "is not set: Graph sends no notifications of new mail, and only the timer polls; set it"
        app.report.warn("GRAPH_WEBHOOK_URL", detail)
