"""Check a file of settings by itself, and classify its settings: Mailroom's, and secret ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mailroom_cli.commands.settings.reference import LOCAL_DEFAULTS
from mailroom_cli.settings_file import load_settings_file
from shared.config import ROUTES_PATH, load_routes, load_settings
from shared.config.env_keys import APP_STORAGE, is_reference
from shared.config.model import OWNED, SECRETS, AppSettings, declarations
from shared.config.validation import closest_name
from shared.errors import ConfigurationError

Place = tuple[str, ...]
"""The place of a setting, in lower case: `("mail_container",)` or `("mailboxes", "support", "port")`."""

_PLACEHOLDER = "a placeholder for a secret of the vault"
_PLACEHOLDERS = {APP_STORAGE: "UseDevelopmentStorage=true", "mail_storage": "UseDevelopmentStorage=true"}


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """The result of a file's check.

    Attributes:
        values: names and values as they are written.
        errors: the configuration errors; empty: the app starts, and every mailbox can be used.
        notes: valid settings that may be a mistake.
    """

    values: Mapping[str, str]
    errors: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_file(file: Path) -> CheckedFile:
    """Check the settings in a file, without the environment and without any connection.

    Secrets may be references to Key Vault, which only Azure resolves: a placeholder replaces each.

    Raises:
        ConfigurationError: the file cannot be read, or is not a file of settings.
    """
    values = load_settings_file(file)
    references = [key for key, value in values.items() if is_reference(value) and is_secret(key)]
    resolved = values | {key: _PLACEHOLDERS.get(place_of(key)[-1], _PLACEHOLDER) for key in references}
    # The placeholder of a certificate, or of its password, must not be opened.
    certificates = not any("certificate" in place_of(key)[-1] for key in references)
    try:
        settings = load_settings(resolved, certificates=certificates, complete=False)
    except ConfigurationError as error:
        return CheckedFile(values, error.errors)
    routes = load_routes(settings, None, complete=False)
    names = {*(route.name for route in settings.routes), *settings.invalid_routes}
    set_keys = {key.lower() for key, value in values.items() if value.strip()}
    notes = [
        *settings.warnings,
        *routes.warnings,
        *(f"{key}: is a reference that only Azure resolves; on this machine, give the secret" for key in references),
        *(
            f"MAILBOXES__{mailbox}__FALLBACK: the route {fallback} is not in this file; it must be in {ROUTES_PATH}"
            + (f", or did you mean {near}?" if (near := closest_name(fallback, names)) else "")
            for mailbox, fallback in settings.fallbacks.items()
            if mailbox in settings.mailboxes and fallback not in names
        ),
        *(
            f"{name}: is not set; a timer names it, and Azure and Core Tools do not start without; set it to {usual}"
            for name, usual in LOCAL_DEFAULTS.items()
            if name.lower() not in set_keys
        ),
    ]
    errors = [error for errors in settings.mailbox_errors.values() for error in errors]
    return CheckedFile(values, (*errors, *routes.all_errors), tuple(notes))


def place_of(key: str) -> Place:
    """Return the place of a setting of Mailroom."""
    return tuple(key.lower().split("__"))


def is_ours(key: str) -> bool:
    """Return whether a setting is the app's, a mailbox's or a route's; the parts of the host's storage are not."""
    match place_of(key):
        case (kind, _, setting):
            return kind in OWNED and setting in declarations(OWNED[kind])
        case (setting,):
            return setting in declarations(AppSettings)
    return False


def is_secret(key: str) -> bool:
    """Return whether a setting's value is never shown."""
    return is_ours(key) and place_of(key)[-1] in SECRETS
