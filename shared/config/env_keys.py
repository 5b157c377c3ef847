"""Map the environment's keys to places: find the settings, and report misspelled, repeated and unknown ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.config.model import OWNED, SECRETS, AppSettings, declarations
from shared.config.validation import ErrorCollector, Place, closest_name
from shared.errors import printable

APP_STORAGE = "azurewebjobsstorage"
"""A setting that may have parts after `__`: the host's identity form."""

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST_NAME = 40
NAME_RULE = f"use letters, digits and single underscores, a letter first, {LONGEST_NAME} characters at most"

_SINGULAR = {"mailboxes": "mailbox", "routes": "route"}
_APP_PREFIX = re.compile(r"(mail|poll|route|sweep|graph|sign_in|loop)", re.IGNORECASE)
_VERY_SIMILAR = 0.85
_NEAR_MISS = re.compile(r"([A-Za-z]{4,10})([_:.-]+)(.+)")
_SEPARATOR = re.compile(r"[_:.-]+")
_OF_A_CLUSTER = re.compile(r"service|port_\d.*", re.IGNORECASE)
"""Names in variables that Kubernetes and Docker set for a service, as in MAILBOXES_SERVICE_HOST."""
_REFERENCE = "@microsoft.keyvault("
_KEY_PART = re.compile(r"(key|signature)=", re.IGNORECASE)
_UNRESOLVED = (
    "is a reference that Azure did not resolve; check that the app's identity may read the vault's secrets "
    "and that the vault's and the secret's names are right"
)
_IDENTITY_FORM = "takes one value; the identity form is for AzureWebJobsStorage alone, use https://ACCOUNT.blob.…"


class SettingValue(NamedTuple):
    """The value of a setting.

    Attributes:
        key: the setting's name as the environment spells it.
        value: not empty.
    """

    key: str
    value: str


class _NearMiss(NamedTuple):
    """A misspelled setting of a mailbox or a route, such as ROUTES_sales_ADDRESS.

    Attributes:
        kind: `mailboxes` or `routes`.
        name: the mailbox's or route's name as it is spelled.
        setting: the known setting that it resembles, in lower case.
        is_certain: the key has `__` or a character that only a setting has.
        is_plural: the key begins with the kind, correctly spelled.
    """

    kind: str
    name: str
    setting: str
    is_certain: bool
    is_plural: bool

    @property
    def correct_key(self) -> str:
        """The correct spelling."""
        return f"{self.kind.upper()}__{self.name}__{self.setting.upper()}"

    @property
    def place(self) -> Place:
        """The place of the setting that is meant."""
        return (self.kind, self.name.lower(), self.setting)


@dataclass
class EnvironmentKeys:
    """The settings that are set.

    Attributes:
        values: the settings that can be validated, by place.
        places: the places of all known settings that are set, invalid ones included.
        names: the valid names of mailboxes and routes in lower case, with their spelling; by kind.
        spelling: how to spell a setting that is not set.
    """

    values: dict[Place, SettingValue] = field(default_factory=dict)
    places: set[Place] = field(default_factory=set)
    names: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in OWNED})
    spelling: str = "{kind}__{name}__{setting}"

    def spell(self, kind: str, name: str, setting: str) -> str:
        """Return a setting of a mailbox or a route as the operator would spell it."""
        spelled = self.names[kind].get(name, name)
        return self.spelling.format(kind=kind.upper(), name=spelled, setting=setting)


def is_reference(value: str) -> bool:
    """Return whether a value is a reference to Key Vault, which only Azure resolves."""
    return value.strip().lower().startswith(_REFERENCE)


def find_secrets(environment: Mapping[str, str]) -> set[str]:
    """Return the values that no error may show."""
    secrets = set()
    for key, value in environment.items():
        folded = key.lower()
        near = _near_miss(key)
        if (
            folded.rpartition("__")[2] in SECRETS
            or folded.startswith(APP_STORAGE)
            or (near is not None and near.setting in SECRETS)
        ):
            secrets |= {value, value.strip()}
            secrets |= {part.partition("=")[2] for part in value.split(";") if _KEY_PART.search(part)}
            if folded == "graph_client_state_key":
                secrets |= {part.strip() for part in value.split(";")}
    return secrets


def find_settings(environment: Mapping[str, str], report: ErrorCollector) -> EnvironmentKeys:
    """Find the settings in an environment. Variables of other programs and empty values are ignored."""
    keys = EnvironmentKeys()
    near_misses: list[tuple[SettingValue, _NearMiss]] = []
    for key, value in sorted(environment.items()):
        if not value.strip():
            continue
        kind, delimiter, rest = key.partition("__")
        kind, folded = kind.lower(), key.lower()
        if kind in OWNED and delimiter:
            _add_owned(keys, report, SettingValue(key, value), rest)
        elif kind in OWNED:
            example = f"{kind.upper()}__<name>__{'HOST' if kind == 'mailboxes' else 'ADDRESS'}"
            detail = f"is not a setting by itself; write each setting separately, as in {example}"
            if kind == "routes":
                report.routing_error("", key, detail)
            else:
                report.app_error(key, detail)
        elif folded in declarations(AppSettings) or folded.startswith(APP_STORAGE + "__"):
            _add_value(keys, report, (folded,), SettingValue(key, value))
        elif (near := _near_miss(key)) is not None:
            near_misses.append((SettingValue(key, value), near))
        elif _APP_PREFIX.match(key):
            _report_misspelled(report, key)
    _report_near_misses(near_misses, keys, report)
    return keys


def _report_near_misses(
    near_misses: Sequence[tuple[SettingValue, _NearMiss]], keys: EnvironmentKeys, report: ErrorCollector
) -> None:
    """Report settings that would be ignored: mail must not be misrouted (rule 3.1) or removed because of a misspelling.

    A variable that may be another program's gets a warning at most.
    """
    owners = {
        near.place[:2] for variable, near in near_misses if near.is_certain or _is_route_address(near, variable.value)
    }
    for variable, near in near_misses:
        hint = f"did you mean {near.correct_key}?"
        if near.place[:2] in owners or near.place[1] in keys.names[near.kind]:
            report.error(near.place, variable.key, f"is not a setting; {hint}")
        elif near.is_plural and not _OF_A_CLUSTER.fullmatch(near.name):
            report.warn(variable.key, f"is not a setting and is ignored; {hint}")


def _is_route_address(near: _NearMiss, value: str) -> bool:
    return near.setting == "address" and ("@" in value or value.strip() == "*")


def _near_miss(key: str) -> _NearMiss | None:
    match = _NEAR_MISS.fullmatch(key)
    if match is None:
        return None
    head, separator, rest = match.groups()
    kind = closest_name(head, OWNED, cutoff=_VERY_SIMILAR)
    parts = _split_name(kind, rest) if kind is not None else None
    if kind is None or parts is None:
        return None
    is_certain = "__" in key or bool(set(separator) - {"_"})
    return _NearMiss(kind, *parts, is_certain, head.lower() == kind)


def _split_name(kind: str, text: str) -> tuple[str, str] | None:
    """Split a name and a known setting that are joined by another separator than `__`; correct the setting."""
    settings = declarations(OWNED[kind])
    words = _SEPARATOR.split(text)
    splits = [("_".join(words[:at]), "_".join(words[at:]).lower()) for at in range(1, len(words))]
    splits = [(name, setting) for name, setting in splits if NAME.fullmatch(name.lower())]
    exact = next((split for split in splits if split[1] in settings), None)
    if exact is not None:
        return exact
    similar = ((name, closest_name(setting, settings, cutoff=_VERY_SIMILAR)) for name, setting in splits)
    return next(((name, setting) for name, setting in similar if setting is not None), None)


def _add_owned(keys: EnvironmentKeys, report: ErrorCollector, variable: SettingValue, rest: str) -> None:
    """Add a setting of a mailbox or a route; `rest` is its key without the kind."""
    key = variable.key
    kind = key.partition("__")[0].lower()
    spelling, delimiter, setting = rest.partition("__")
    name, owner, settings = spelling.lower(), _SINGULAR[kind], declarations(OWNED[kind])
    place = (kind, printable(name), setting.lower())
    split = None if delimiter else _split_name(kind, rest)
    if split is not None:
        near = _NearMiss(kind, *split, is_certain=True, is_plural=True)
        report.error(near.place, key, f"does not name a setting; did you mean {near.correct_key}?")
        return
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        report.error(place, key, f"does not have a valid name of a {owner}; {NAME_RULE}")
        return
    first = keys.names[kind].setdefault(name, spelling)
    if first != spelling:
        # One error by the names alone: which setting belongs to which spelling is unknown.
        detail = f"differs from {kind.upper()}__{first} by case alone; use one spelling for each {owner}"
        _report_repeated(report, place, f"{kind.upper()}__{spelling}", detail)
    if not delimiter or not setting:
        example = f"{kind.upper()}__{spelling}__{min(settings).upper()}"
        report.error(place, key, f"does not name a setting; write {example} or another setting")
    elif place[2] not in settings:
        likely = closest_name(setting, settings)
        hint = f"did you mean {likely.upper()}?" if likely else f"known are {', '.join(sorted(settings)).upper()}"
        report.error(place, key, f"is not a setting of a {owner}; {hint}")
    else:
        _add_value(keys, report, place, variable)


def _report_misspelled(report: ErrorCollector, key: str) -> None:
    head, delimiter, rest = key.partition("__")
    names = [declaration.name for declaration in declarations(AppSettings).values()]
    near = closest_name(head, (*names, "MAILBOXES", "ROUTES"), cutoff=_VERY_SIMILAR)
    if delimiter and near in ("MAILBOXES", "ROUTES"):
        # An error, not a warning: a mailbox or a route that is ignored changes where mail goes.
        name, _, setting = rest.lower().partition("__")
        report.error((near.lower(), printable(name), setting), key, f"is not a setting; did you mean {near}__{rest}?")
    elif delimiter and near == "MAIL_STORAGE":
        report.app_error(key, f"is not a setting: MAIL_STORAGE {_IDENTITY_FORM}")
    elif not delimiter and near in names:
        report.warn(key, f"is not a setting and is ignored; did you mean {near}?")


def _add_value(keys: EnvironmentKeys, report: ErrorCollector, place: Place, variable: SettingValue) -> None:
    keys.places.add(place)
    if place in keys.values:
        other = keys.values[place].key
        _report_repeated(report, place, variable.key, f"differs from {other} by case alone; remove one of the two")
    elif is_reference(variable.value):
        report.error(place, variable.key, _UNRESOLVED)
    else:
        value = variable.value if place[-1] in SECRETS else variable.value.strip()
        keys.values[place] = SettingValue(variable.key, value)


def _report_repeated(report: ErrorCollector, place: Place, key: str, detail: str) -> None:
    # Of two routes with one name, either may be for any mailbox.
    if place[0] == "routes":
        report.routing_error("", key, detail)
    else:
        report.error(place, key, detail)
