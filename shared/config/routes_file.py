"""The routes file: routes that are stored with the mail, so that they change without a restart.

It is JSON: `{"routes": {"sales": {"ADDRESS": "sales@example.com", "SENDERS": ["*@example.org"]}}}`. A route's fields
are the settings of a route, `ROUTES__x__FIELD`, in any case; a list is an array, or text separated by `;`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from shared.config.env_keys import NAME, NAME_RULE
from shared.config.model import declarations
from shared.config.section import Section
from shared.config.validation import Report
from shared.errors import InvalidValue, printable
from shared.routing.model import Route

ROUTES_PATH = "config/routes.json"
"""The file's path in the container of all mail."""

LARGEST_FILE = 10_000_000
"""The file's maximum size in bytes: room for 50,000 routes. It is read whole, and again whenever it changes."""

_KINDS = {bool: "true or false", int: "a whole number", tuple: "an array of texts, or a text separated by ;"}


@dataclass(frozen=True, slots=True)
class _Object:
    """A JSON object as it is written: repeated names are kept."""

    pairs: list[tuple[str, Any]]


def read_routes_file(data: bytes, source: str, report: Report) -> dict[str, Section]:
    """Return the settings of each route in a routes file, and report misspelled, repeated and mistyped ones.

    Args:
        data: the file's content.
        source: the file's name in errors.
        report: words the errors.

    Raises:
        InvalidValue: the file cannot be read at all.
    """
    sections: dict[str, Section] = {}
    for number, (spelling, route) in enumerate(_parse(data).pairs, 1):
        # Neither a name nor a field that is invalid is shown: it may be a secret that was pasted in the wrong place.
        name, position = spelling.lower(), f"{source}, route {number}"
        is_new = name not in sections
        is_valid = NAME.fullmatch(name) is not None
        prefix = f"{source}, {spelling}." if is_valid and isinstance(route, _Object) else f"{position}."
        section = sections.setdefault(name, Section(Route, name, prefix, report, "a field of a route"))
        if not is_valid:
            section.error_at(position, f"does not have a valid name of a route; {NAME_RULE}")
        elif not isinstance(route, _Object):
            section.error_at(position, 'is not an object; write its fields, as in {"ADDRESS": "sales@example.com"}')
        elif not is_new:
            section.is_repeated = True
            section.error_at(f"{position}, {spelling}", "is repeated, whatever the case; use one name for each route")
        else:
            for field_number, (field, value) in enumerate(route.pairs, 1):
                _add_field(section, field, value, f"{position}, {spelling}, field {field_number}")
    return sections


def _parse(data: bytes) -> _Object:
    """Return the routes in a file."""
    if len(data) > LARGEST_FILE:
        raise InvalidValue(f"has more than {LARGEST_FILE} bytes; remove routes that are not needed")
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Object)
    except UnicodeDecodeError:
        raise InvalidValue("is not in UTF-8; save it so") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidValue(f"is not JSON: {error.msg}, {place}; correct it") from None
    except (ValueError, RecursionError):
        raise InvalidValue('is not JSON that can be read; write it as in {"routes": {"sales": {…}}}') from None
    if not isinstance(document, _Object) or [name for name, _ in document.pairs] != ["routes"]:
        raise InvalidValue('does not have routes as its only field; write it as in {"routes": {"sales": {…}}}')
    routes = document.pairs[0][1]
    if not isinstance(routes, _Object):
        raise InvalidValue('has routes that are not an object; write them by name, as in {"sales": {…}}')
    return routes


def _add_field(section: Section, field: str, value: object, position: str) -> None:
    setting, key = field.lower(), section.prefix + printable(field)
    if section.is_set(setting):
        section.texts.pop(setting, None)
        section.error_at(key, "is repeated, whatever the case; remove one of the two")
        return
    if setting not in declarations(Route):
        section.add_unknown(setting, position)
        return
    section.keys[setting] = key
    with section.reporting(setting):
        text = _to_text(setting, value)
        section.add(setting, key, text) if text else section.keys.pop(setting)


def _to_text(setting: str, value: object) -> str:
    """Return a field's value as the text of a setting.

    Raises:
        InvalidValue: the value is of the wrong kind.
    """
    kind = type(declarations(Route)[setting].info.default)
    if isinstance(value, str):
        return value.strip()
    if kind in (bool, int) and type(value) is kind:
        return str(value).lower()
    if kind is tuple and isinstance(value, list):
        if not all(isinstance(entry, str) and ";" not in entry for entry in value):
            raise InvalidValue("has an entry that is not a text, or that contains a ;; write texts without ;")
        return ";".join(value)
    raise InvalidValue(f"is of the wrong kind; write {_KINDS.get(kind, 'a text')}, or leave it out")
