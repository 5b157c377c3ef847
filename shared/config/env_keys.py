"""From the environment's keys to places: which settings there are, and which are misspelled, doubled or unknown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import BaseModel

from shared.config.schema import SECRETS, WrittenMailbox, WrittenRoute, WrittenSettings, setting_name
from shared.config.validation import ErrorCollector, Place, closest_name
from shared.errors import printable

KINDS: Mapping[str, type[BaseModel]] = {"mailboxes": WrittenMailbox, "routes": WrittenRoute}
_WORDS = {"mailboxes": "mailbox", "routes": "route"}
APP_STORAGE = "azurewebjobsstorage"
"""It may have parts of its own after `__`: the host's identity form."""

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST_NAME = 40

_OURS = re.compile(r"(mail|poll|route|sweep|graph|sign_in|loop)", re.IGNORECASE)
_VERY_LIKE = 0.85
_NEAR_MISS = re.compile(r"([A-Za-z]{4,10})([_:.-]+)(.+)")
_SEPARATOR = re.compile(r"[_:.-]+")
_OF_A_CLUSTER = re.compile(r"service|port_\d.*", re.IGNORECASE)
"""Names in variables that Kubernetes and Docker set for a service, as in MAILBOXES_SERVICE_HOST."""
_REFERENCE = "@microsoft.keyvault("
_KEY = re.compile(r"(key|signature)=", re.IGNORECASE)
_NOT_RESOLVED = (
    "is a reference that Azure did not resolve; check that the app's identity may read the vault's secrets "
    "and that the vault's and the secret's names are right"
)
_IDENTITY_FORM = "takes one value; the identity form is for AzureWebJobsStorage alone, use https://ACCOUNT.blob.…"


class SettingValue(NamedTuple):
    """One setting that is given.

    Attributes:
        key: as the environment spells it.
        value: not empty.
    """

    key: str
    value: str


class _NearMiss(NamedTuple):
    """A setting of a mailbox or a route that is misspelled, as in ROUTES_sales_ADDRESS.

    Attributes:
        kind: `mailboxes` or `routes`.
        name: as it is spelled.
        setting: lower case.
        apart: it is written with `__`, as nothing but a setting is.
        plural: it begins as settings of this kind do.
    """

    kind: str
    name: str
    setting: str
    apart: bool
    plural: bool

    @property
    def meant(self) -> str:
        """The right spelling."""
        return f"{self.kind.upper()}__{self.name}__{self.setting.upper()}"

    @property
    def place(self) -> Place:
        return (self.kind, self.name.lower(), self.setting)


@dataclass
class EnvironmentKeys:
    """What was found.

    Attributes:
        values: the settings that can be looked at further, by place.
        given: the places of all known settings that are given, the faulty ones included.
        names: the mailboxes' and routes' names that may be names, lower case, with their spelling; by kind.
        spelling: how one that is not given would be spelled.
    """

    values: dict[Place, SettingValue] = field(default_factory=dict)
    given: set[Place] = field(default_factory=set)
    names: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    spelling: str = "{kind}__{name}__{setting}"

    def spell(self, kind: str, name: str, setting: str) -> str:
        """A mailbox's or route's setting as the operator would spell it."""
        spelled = self.names[kind].get(name, name)
        return self.spelling.format(kind=kind.upper(), name=spelled, setting=setting)


def is_reference(value: str) -> bool:
    """Whether a value is a reference to Key Vault, which Azure alone resolves."""
    return value.strip().lower().startswith(_REFERENCE)


def secrets_in(environment: Mapping[str, str]) -> set[str]:
    """The values that no fault may show."""
    found = set()
    for key, value in environment.items():
        folded = key.lower()
        if folded.rpartition("__")[2] in SECRETS or folded.startswith(APP_STORAGE) or _is_a_misspelled_secret(key):
            found |= {
                value,
                value.strip(),
                *_keys(folded, value),
                *(part.partition("=")[2] for part in value.split(";") if _KEY.search(part)),
            }
    return found


def _is_a_misspelled_secret(key: str) -> bool:
    near = _near_miss(key)
    return near is not None and near.setting in SECRETS


def _keys(folded: str, value: str) -> set[str]:
    """The keys in a setting that may hold two."""
    return {part.strip() for part in value.split(";")} if folded == "graph_client_state_key" else set()


def find_settings(environment: Mapping[str, str], report: ErrorCollector) -> EnvironmentKeys:
    """Sort the environment's keys; what does not belong to the app is left alone, and so are empty values."""
    keys = EnvironmentKeys()
    near_misses: list[tuple[SettingValue, _NearMiss]] = []
    for key, value in sorted(environment.items()):
        if not value.strip():
            continue
        kind, delimiter, rest = key.partition("__")
        kind = kind.lower()
        if kind in KINDS and delimiter:
            _nested(keys, report, key, rest, value)
        elif kind in KINDS:
            remedy = f"{kind.upper()}__<name>__{'HOST' if kind == 'mailboxes' else 'ADDRESS'}"
            trouble = f"is no setting of its own; write one setting each, as in {remedy}"
            if kind == "routes":
                report.routing_fault("", key, trouble)
            else:
                report.app_fault(key, trouble)
        elif not _of_the_app(keys, report, key, value):
            near = _near_miss(key)
            if near is not None:
                near_misses.append((SettingValue(key, value), near))
            elif _OURS.match(key):
                _perhaps_misspelled(report, key)
    _tell_near_misses(near_misses, keys, report)
    return keys


def _tell_near_misses(
    near_misses: Sequence[tuple[SettingValue, _NearMiss]], keys: EnvironmentKeys, report: ErrorCollector
) -> None:
    """Report settings that would go unseen: mail must not go elsewhere for it (rule 3.1), nor be removed.

    Variables that may be another program's are warned of at most.
    """
    meant = {near.place[:2] for given, near in near_misses if near.apart or _is_an_address(near, given.value)}
    for given, near in near_misses:
        hint = f"did you mean {near.meant}?"
        if near.place[:2] in meant or near.place[1] in keys.names[near.kind]:
            report.fault(near.place, given.key, f"is no setting; {hint}")
        elif near.plural and not _OF_A_CLUSTER.fullmatch(near.name):
            report.warn(given.key, f"is no setting and is ignored; {hint}")


def _is_an_address(near: _NearMiss, value: str) -> bool:
    return near.setting == "address" and ("@" in value or value.strip() == "*")


def _near_miss(key: str) -> _NearMiss | None:
    match = _NEAR_MISS.fullmatch(key)
    if match is None:
        return None
    head, separator, rest = match.groups()
    kind = closest_name(head, KINDS, likeness=_VERY_LIKE)
    parts = _name_and_setting(kind, rest) if kind is not None else None
    if kind is None or parts is None:
        return None
    apart = "__" in key or bool(set(separator) - {"_"})
    return _NearMiss(kind, *parts, apart, head.lower() == kind)


def _name_and_setting(kind: str, rest: str) -> tuple[str, str] | None:
    """A name and a known setting that are joined in another way than by `__`; the setting as it would be right."""
    known = KINDS[kind].model_fields
    words = _SEPARATOR.split(rest)
    joined = [("_".join(words[:at]), "_".join(words[at:]).lower()) for at in range(1, len(words))]
    joined = [(name, setting) for name, setting in joined if NAME.fullmatch(name.lower())]
    exact = next((found for found in joined if found[1] in known), None)
    if exact is not None:
        return exact
    near = ((name, closest_name(setting, known, likeness=_VERY_LIKE)) for name, setting in joined)
    return next(((name, setting) for name, setting in near if setting is not None), None)


def _nested(keys: EnvironmentKeys, report: ErrorCollector, key: str, rest: str, value: str) -> None:
    kind = key.partition("__")[0].lower()
    spelling, delimiter, setting = rest.partition("__")
    place = (kind, printable(spelling.lower()), setting.lower())
    name, word, known = spelling.lower(), _WORDS[kind], KINDS[kind].model_fields
    joined = None if delimiter else _name_and_setting(kind, rest)
    if joined is not None:
        near = _NearMiss(kind, *joined, apart=True, plural=True)
        report.fault(near.place, key, f"names no setting; did you mean {near.meant}?")
        return
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        remedy = f"use letters, digits and single underscores, a letter first, {LONGEST_NAME} characters at most"
        report.fault(place, key, f"has no name that a {word} may have; {remedy}")
        return
    first = keys.names[kind].setdefault(name, spelling)
    if first != spelling:
        # Told once for the two, by the names alone; whose settings they are cannot be known.
        trouble = f"differs from {kind.upper()}__{first} by case alone; use one spelling for each {word}"
        _doubled(report, place, f"{kind.upper()}__{spelling}", trouble)
    if not delimiter or not setting:
        report.fault(
            place, key, f"names no setting; write {kind.upper()}__{spelling}__{min(known).upper()} or its like"
        )
    elif place[2] not in known:
        likely = closest_name(setting, known)
        hint = f"did you mean {likely.upper()}?" if likely else f"known are {', '.join(sorted(known)).upper()}"
        report.fault(place, key, f"is no setting of a {word}; {hint}")
    else:
        _take(keys, report, place, SettingValue(key, value))


def _of_the_app(keys: EnvironmentKeys, report: ErrorCollector, key: str, value: str) -> bool:
    folded = key.lower()
    if folded not in WrittenSettings.model_fields and not folded.startswith(APP_STORAGE + "__"):
        return False
    _take(keys, report, (folded,), SettingValue(key, value))
    return True


def _perhaps_misspelled(report: ErrorCollector, key: str) -> None:
    head, delimiter, rest = key.partition("__")
    flat = [setting_name(name) for name in WrittenSettings.model_fields if name not in KINDS]
    near = closest_name(head, (*flat, "MAILBOXES", "ROUTES"), likeness=_VERY_LIKE)
    if delimiter and near in ("MAILBOXES", "ROUTES"):
        # A rule or a mailbox that goes unseen changes where mail goes: no warning is loud enough.
        name, _, setting = rest.lower().partition("__")
        report.fault((near.lower(), printable(name), setting), key, f"is no setting; did you mean {near}__{rest}?")
    elif delimiter and near == "MAIL_STORAGE":
        report.app_fault(key, f"is no setting: MAIL_STORAGE {_IDENTITY_FORM}")
    elif not delimiter and near in flat:
        report.warn(key, f"is no setting and is ignored; did you mean {near}?")


def _take(keys: EnvironmentKeys, report: ErrorCollector, place: Place, given: SettingValue) -> None:
    keys.given.add(place)
    if place in keys.values:
        other = keys.values[place].key
        _doubled(report, place, given.key, f"differs from {other} by case alone; remove one of the two")
    elif is_reference(given.value):
        report.fault(place, given.key, _NOT_RESOLVED)
    else:
        value = given.value if place[-1] in SECRETS else given.value.strip()
        keys.values[place] = SettingValue(given.key, value)


def _doubled(report: ErrorCollector, place: Place, key: str, trouble: str) -> None:
    # Of two routes that one name stands for, it cannot be told whose either is.
    if place[0] == "routes":
        report.routing_fault("", key, trouble)
    else:
        report.fault(place, key, trouble)
