"""A file of settings by itself: what is wrong with it, and where each of its values belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mailroom_cli.commands.settings.reference import LOCAL_DEFAULTS
from mailroom_cli.settings_file import load_settings_file
from shared.config import ROUTES_PATH, load_routes, load_settings
from shared.config.env_keys import APP_STORAGE, KINDS, is_reference
from shared.config.schema import SECRETS, WrittenSettings
from shared.config.validation import Place, closest_name
from shared.errors import ConfigurationError

_STAND_IN = "stands in for what a vault holds"
_STAND_INS = {APP_STORAGE: "UseDevelopmentStorage=true", "mail_storage": "UseDevelopmentStorage=true"}


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What was found in a file.

    Attributes:
        values: names and values, as they are written.
        faults: each with its setting and the remedy; empty: the app starts, and every mailbox can be used.
        notes: what is allowed, and may be a mistake.
    """

    values: Mapping[str, str]
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_file(file: Path) -> CheckedFile:
    """Check a file's settings, and nothing else: the environment is not looked at, and nothing is connected to.

    Secrets may be references to Key Vault, which Azure alone resolves: something stands in for each.

    Raises:
        ConfigurationError: the file cannot be read, or is no file of settings.
    """
    values = load_settings_file(file)
    references = [key for key, value in values.items() if is_reference(value) and is_secret(key)]
    stood_in = values | {key: _STAND_INS.get(place_of(key)[-1], _STAND_IN) for key in references}
    # What stands in for a certificate, or for its password, is not to be opened.
    certificates = not any("certificate" in place_of(key)[-1] for key in references)
    try:
        settings = load_settings(stood_in, certificates=certificates, complete=False)
    except ConfigurationError as error:
        return CheckedFile(values, error.faults)
    routes = load_routes(settings, None, complete=False)
    there = {*(route.name for route in settings.routes), *settings.wrong_routes}
    given = {key.lower() for key, value in values.items() if value.strip()}
    notes = [
        *settings.warnings,
        *routes.warnings,
        *(f"{key}: is a reference that Azure alone resolves; on this machine, give the secret" for key in references),
        *(
            f"MAILBOXES__{mailbox}__FALLBACK: the route {fallback} is not here; it has to be in {ROUTES_PATH}"
            + (f", or did you mean {near}?" if (near := closest_name(fallback, there)) else "")
            for mailbox, fallback in settings.fallbacks.items()
            if mailbox in settings.mailboxes and fallback not in there
        ),
        *(
            f"{name}: is not set; a timer names it, which Azure and Core Tools do not start without, set it to {usual}"
            for name, usual in LOCAL_DEFAULTS.items()
            if name.lower() not in given
        ),
    ]
    faults = [fault for faults in settings.faulty.values() for fault in faults]
    return CheckedFile(values, (*faults, *routes.all_faults), tuple(notes))


def place_of(key: str) -> Place:
    """Where a setting belongs, if it is one of ours."""
    return tuple(key.lower().split("__"))


def is_ours(key: str) -> bool:
    """Whether a setting is the app's, a mailbox's or a route's; not of the host, whose storage's parts are its own."""
    match place_of(key):
        case (kind, _, setting):
            return kind in KINDS and setting in KINDS[kind].model_fields
        case (setting,):
            return setting in WrittenSettings.model_fields and setting not in KINDS
    return False


def is_secret(key: str) -> bool:
    """Whether a setting's value is never to be shown."""
    return is_ours(key) and place_of(key)[-1] in SECRETS
