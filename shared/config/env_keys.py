"""Map the environment's keys to settings, and report misspelled, repeated and unknown ones."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.config.model import OWNED, SECRETS, AppSettings, declarations
from shared.config.section import Section
from shared.config.validation import Report, closest_name
from shared.errors import printable

APP_STORAGE = "azurewebjobsstorage"
"""A setting that may have parts after `__`: the host's identity form."""

LONGEST_NAME = 40
NAME = re.compile(rf"(?!.{{{LONGEST_NAME + 1}}})[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""A mailbox's or a route's name in lower case."""

NAME_RULE = f"use letters, digits and single underscores, a letter first, {LONGEST_NAME} characters at most"

_SINGULAR = {"mailboxes": "mailbox", "routes": "route"}
_APP_PREFIX = re.compile(r"(mail|poll|route|sweep|graph|sign_in|loop)", re.IGNORECASE)
_VERY_SIMILAR = 0.85
_NEAR_MISS = re.compile(r"([A-Za-z]{4,10})[_:.-]+(.+)")
_SEPARATOR = re.compile(r"[_:.-]+")
_OF_A_CLUSTER = re.compile(r"service|port_\d.*", re.IGNORECASE)
"""Names in variables that Kubernetes and Docker set for a service, as in MAILBOXES_SERVICE_HOST."""
_KEY_PART = re.compile(r"(key|signature)=", re.IGNORECASE)
_UNRESOLVED = (
    "is a reference that Azure did not resolve; check that the app's identity may read the vault's secrets "
    "and that the vault's and the secret's names are right"
)


class FoundSettings:
    """The settings that are set, and the errors of keys that are not settings.

    Attributes:
        app: those of the app.
        owned: those of each mailbox and each route, by kind (`mailboxes` or `routes`), then name in lower case. A
            section without keys has errors only.
        report: takes the warnings.
    """

    def __init__(self, report: Report) -> None:
        self.app = Section(AppSettings, "", "", report)
        self.owned: dict[str, dict[str, Section]] = {kind: {} for kind in OWNED}
        self.report = report

    def section(self, kind: str, spelling: str) -> Section:
        """Return the section of a mailbox or a route, by its name as it is spelled; create it if necessary."""
        name, prefix = printable(spelling.lower()), f"{kind.upper()}__{spelling}__"
        noun = f"a setting of a {_SINGULAR[kind]}"
        return self.owned[kind].setdefault(name, Section(OWNED[kind], name, prefix, self.report, noun))


def is_reference(value: str) -> bool:
    """Return whether a value is a reference to Key Vault, which only Azure resolves."""
    return value.strip().lower().startswith("@microsoft.keyvault(")


def find_secrets(environment: Mapping[str, str]) -> set[str]:
    """Return the values that no error may show."""
    secrets = set()
    for key, value in environment.items():
        settings = {name.lower().rpartition("__")[2] for name in (key, _correct_key(key) or key)}
        if settings & SECRETS or key.lower().startswith(APP_STORAGE):
            parts = [part.strip() for part in value.split(";")]
            secrets |= {value, value.strip()}
            secrets |= {part.partition("=")[2] for part in parts if _KEY_PART.search(part)}
            if "graph_client_state_key" in settings:
                secrets |= {*parts}
    return secrets


def find_settings(environment: Mapping[str, str], report: Report) -> FoundSettings:
    """Find the settings in an environment. Variables of other programs and empty values are ignored."""
    found = FoundSettings(report)
    misspelled: dict[str, str] = {}
    for key, value in sorted(environment.items()):
        folded = key.lower()
        kind = _split(folded)[0]
        if not value.strip():
            continue
        if folded in declarations(AppSettings) or folded.startswith(APP_STORAGE + "__"):
            _add(found.app, folded, key, value)
        elif kind in OWNED and folded.count("__") > 1:
            _add_owned(found, key, value)
        elif (correct := _correct_key(key)) is not None:
            misspelled[key] = correct
        elif kind in OWNED:
            _report_incomplete(found, key)
        elif _APP_PREFIX.match(key):
            _report_misspelled_app_setting(found, key)
    _report_misspelled(found, misspelled, environment)
    return found


def _split(key: str) -> tuple[str, str, str]:
    """Return the kind, the name and the setting of a key, as far as it has them."""
    kind, name, setting, *_ = (*key.split("__", 2), "", "")
    return kind, name, setting


def _add(section: Section, setting: str, key: str, value: str) -> None:
    if section.is_set(setting):
        section.is_repeated = True
        section.error_at(key, f"differs from {section.key(setting)} by case alone; remove one of the two")
    elif is_reference(value):
        section.keys[setting] = key
        section.error(setting, _UNRESOLVED)
    else:
        section.add(setting, key, value)


def _add_owned(found: FoundSettings, key: str, value: str) -> None:
    """Add a setting of a mailbox or a route."""
    kind, spelling, setting = _split(key)
    section, owner = found.section(kind.lower(), spelling), _SINGULAR[kind.lower()]
    if not NAME.fullmatch(spelling.lower()):
        section.error_at(key, f"does not have a valid name of a {owner}; {NAME_RULE}")
        return
    if section.prefix != f"{kind.upper()}__{spelling}__":
        # One error by the names alone: which setting belongs to which spelling is unknown.
        section.is_repeated = True
        detail = f"differs from {section.prefix.removesuffix('__')} by case alone; use one spelling for each {owner}"
        section.error_at(f"{kind.upper()}__{spelling}", detail)
    if setting.lower() in declarations(section.model):
        _add(section, setting.lower(), key, value)
    else:
        section.add_unknown(setting.lower(), key)


def _report_incomplete(found: FoundSettings, key: str) -> None:
    kind, name, _ = _split(key)
    example = f"{kind.upper()}__{name or '<name>'}__{'HOST' if kind.lower() == 'mailboxes' else 'ADDRESS'}"
    detail = "does not name a setting" if name else "is not a setting by itself"
    # Routes without a name may be for any mailbox.
    section = found.section(kind.lower(), name) if name or kind.lower() == "routes" else found.app
    section.error_at(key, f"{detail}; write each setting separately, as in {example}")


def _correct_key(key: str) -> str | None:
    """Return the setting of a mailbox or a route that a misspelled key resembles, such as ROUTES_sales_ADRESS."""
    match = _NEAR_MISS.fullmatch(key)
    kind = closest_name(match[1], OWNED, cutoff=_VERY_SIMILAR) if match else None
    if match is None or kind is None:
        return None
    # The name and the setting may be joined by another separator than `__`, and the setting be misspelled.
    settings, words = declarations(OWNED[kind]), _SEPARATOR.split(match[2])
    splits = [("_".join(words[:at]), "_".join(words[at:]).lower()) for at in range(1, len(words))]
    splits = [(name, setting) for name, setting in splits if NAME.fullmatch(name.lower())]
    exact = [split for split in splits if split[1] in settings]
    similar = ((name, closest_name(setting, settings, cutoff=_VERY_SIMILAR)) for name, setting in splits)
    for name, setting in exact or similar:
        if setting is not None:
            return f"{kind.upper()}__{name}__{setting.upper()}"
    head, delimiter, rest = key.partition("__")
    return f"{kind.upper()}__{rest}" if delimiter and head.lower() != kind else None


def _report_misspelled(found: FoundSettings, misspelled: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Report settings that would be ignored: mail must not be misrouted (rule 3.1) or removed because of a misspelling.

    A variable that may be another program's gets a warning at most.
    """
    certain = set()
    for key, correct in misspelled.items():
        kind, name, setting = _split(correct.lower())
        is_address = setting == "address" and ("@" in environment[key] or environment[key].strip() == "*")
        if is_address or name in found.owned[kind] or re.search("__|[:.-]", key):
            certain.add((kind, name))
    for key, correct in misspelled.items():
        kind, name, setting = _split(correct)
        hint = f"did you mean {correct}?"
        if (kind.lower(), name.lower()) in certain:
            section = found.section(kind.lower(), name)
            section.error_at(key, f"is not a setting; {hint}")
            if section.keys:
                section.keys.setdefault(setting.lower(), key)  # so that it is not reported as missing too
        elif key.upper().startswith(kind) and not _OF_A_CLUSTER.fullmatch(name):
            found.report.warn(key, f"is not a setting and is ignored; {hint}")


def _report_misspelled_app_setting(found: FoundSettings, key: str) -> None:
    head, delimiter, _ = key.partition("__")
    near = closest_name(head, [setting.name for setting in declarations(AppSettings).values()], cutoff=_VERY_SIMILAR)
    if near == "MAIL_STORAGE" and delimiter:
        detail = "takes one value; the identity form is for AzureWebJobsStorage alone, use https://ACCOUNT.blob.…"
        found.app.error_at(key, f"is not a setting: MAIL_STORAGE {detail}")
    elif near is not None and not delimiter:
        found.report.warn(key, f"is not a setting and is ignored; did you mean {near}?")
