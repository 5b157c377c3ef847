"""The routes file: routes that are kept with the mail, so that they change without a restart.

It is JSON: `{"routes": {"sales": {"ADDRESS": "sales@example.com", "SENDERS": ["*@example.org"]}}}`. A route's fields
are the settings of a route, `ROUTES__x__FIELD`, in any case; a list is an array, or text separated by `;`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from shared.config.env_keys import LONGEST_NAME, NAME, EnvironmentKeys, SettingValue
from shared.config.schema import WrittenRoute
from shared.config.validation import APP, ErrorCollector, closest_name
from shared.errors import InvalidValue, printable

ROUTES_PATH = "config/routes.json"
"""The file's path in the container of all mail."""

LARGEST_FILE = 10_000_000
"""Bytes of the file: room for 50,000 routes. It is read whole, and again whenever it changes."""


@dataclass(frozen=True, slots=True)
class _Object:
    """A JSON object as it is written: a name that stands there twice is there twice."""

    pairs: list[tuple[str, Any]]


def read_routes_file(data: bytes, called: str, report: ErrorCollector) -> EnvironmentKeys | None:
    """Sort what a routes file holds, and report what is misspelled, doubled or of the wrong kind.

    Args:
        data: the file.
        called: what faults call it.
        report: takes the faults.

    Returns:
        The routes' settings as the environment would have had them; None if the file cannot be read at all.
    """
    # A path may have braces of its own.
    keys = EnvironmentKeys(spelling=called.replace("{", "{{").replace("}", "}}") + ", {name}.{setting}")
    if len(data) > LARGEST_FILE:
        report.app_fault(called, f"has more than {LARGEST_FILE} bytes; remove routes that nobody needs")
        return None
    try:
        read = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Object)
    except UnicodeDecodeError:
        report.app_fault(called, "is not in UTF-8; save it so")
    except json.JSONDecodeError as error:
        report.app_fault(called, f"is no JSON: {error.msg}, line {error.lineno}, column {error.colno}; correct it")
    except (ValueError, RecursionError):
        report.app_fault(called, 'is no JSON that can be read; write it as in {"routes": {"sales": {…}}}')
    else:
        for name, route in _routes(read, called, report):
            _route(name, route, called, keys, report)
        return keys if not report.of(APP) or keys.names["routes"] else None
    return None


def _routes(read: object, called: str, report: ErrorCollector) -> list[tuple[str, Any]]:
    if not isinstance(read, _Object) or [name for name, _ in read.pairs] != ["routes"]:
        report.app_fault(called, 'is not of the one field routes; write it as in {"routes": {"sales": {…}}}')
        return []
    ((_, routes),) = read.pairs
    if not isinstance(routes, _Object):
        report.app_fault(called, 'has routes that are no object; write them by name, as in {"sales": {…}}')
        return []
    return routes.pairs


def _route(spelling: str, route: object, called: str, keys: EnvironmentKeys, report: ErrorCollector) -> None:
    # What is wrong with the route as a whole is everybody's: whose mail it is for is not known.
    name, key = spelling.lower(), f"{called}, {printable(spelling)}"
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        remedy = f"use letters, digits and single underscores, a letter first, {LONGEST_NAME} characters at most"
        report.app_fault(key, f"has no name that a route may have; {remedy}")
    elif not isinstance(route, _Object):
        report.app_fault(key, 'is no object; write its fields, as in {"ADDRESS": "sales@example.com"}')
    elif name in keys.names["routes"]:
        report.app_fault(key, "is there twice, whatever the case; use one name for each route")
    else:
        keys.names["routes"][name] = spelling
        for field, value in route.pairs:
            _field(name, field, value, keys, report)


def _field(name: str, field: str, value: object, keys: EnvironmentKeys, report: ErrorCollector) -> None:
    place = ("routes", name, field.lower())
    key = keys.spell(*place[:2], printable(field))
    if place[2] not in WrittenRoute.model_fields:
        near = closest_name(field, WrittenRoute.model_fields)
        known = ", ".join(sorted(WrittenRoute.model_fields)).upper()
        report.fault(
            place, key, f"is no field of a route; {f'did you mean {near.upper()}?' if near else f'known are {known}'}"
        )
    elif place in keys.given:
        keys.values.pop(place, None)
        report.fault(place, key, "is there twice, whatever the case; remove one of the two")
    else:
        keys.given.add(place)
        try:
            text = _text(place[2], value)
        except InvalidValue as wrong:
            report.fault(place, key, wrong.detail)
        else:
            if text:
                keys.values[place] = SettingValue(key, text)


def _text(field: str, value: object) -> str:
    """A field's value as a setting would have it.

    Raises:
        Wrong: it is of another kind.
    """
    usual = type(WrittenRoute.model_fields[field].default)
    if isinstance(value, str):
        return value.strip()
    if usual in (bool, int) and type(value) is usual:
        return str(value).lower()
    if usual is tuple and isinstance(value, list):
        if not all(isinstance(entry, str) and ";" not in entry for entry in value):
            raise InvalidValue("has an entry that is no text, or holds a ; as no entry may; write texts alone")
        return ";".join(value)
    kinds = {bool: "true or false", int: "a whole number", tuple: "an array of texts, or a text separated by ;"}
    raise InvalidValue(f"is of the wrong kind; write {kinds.get(usual, 'a text')}, or leave it out")
