"""The routes file: routes that are stored with the mail, so that they change without a restart.

It is JSON: `{"routes": {"sales": {"ADDRESS": "sales@example.com", "SENDERS": ["*@example.org"]}}}`. A route's fields
are the settings of a route, `ROUTES__x__FIELD`, in any case; a list is an array, or text separated by `;`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from shared.config.env_keys import LONGEST_NAME, NAME, NAME_RULE, EnvironmentKeys, SettingValue
from shared.config.model import declarations
from shared.config.validation import APP, ErrorCollector, closest_name
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


def read_routes_file(data: bytes, source: str, report: ErrorCollector) -> EnvironmentKeys | None:
    """Find the routes' settings in a routes file, and report misspelled, repeated and mistyped ones.

    Args:
        data: the file's content.
        source: the file's name in errors.
        report: takes the errors.

    Returns:
        The settings as the environment would have them; None if the file cannot be read at all.
    """
    # A path may contain braces.
    keys = EnvironmentKeys(spelling=source.replace("{", "{{").replace("}", "}}") + ", {name}.{setting}")
    if len(data) > LARGEST_FILE:
        report.app_error(source, f"has more than {LARGEST_FILE} bytes; remove routes that are not needed")
        return None
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Object)
    except UnicodeDecodeError:
        report.app_error(source, "is not in UTF-8; save it so")
    except json.JSONDecodeError as error:
        report.app_error(source, f"is not JSON: {error.msg}, line {error.lineno}, column {error.colno}; correct it")
    except (ValueError, RecursionError):
        report.app_error(source, 'is not JSON that can be read; write it as in {"routes": {"sales": {…}}}')
    else:
        for number, (name, route) in enumerate(_routes(document, source, report), 1):
            _add_route(name, route, f"{source}, route {number}", keys, report)
        return keys if not report.errors(APP) or keys.names["routes"] else None
    return None


def _routes(document: object, source: str, report: ErrorCollector) -> list[tuple[str, Any]]:
    if not isinstance(document, _Object) or [name for name, _ in document.pairs] != ["routes"]:
        report.app_error(source, 'does not have routes as its only field; write it as in {"routes": {"sales": {…}}}')
        return []
    ((_, routes),) = document.pairs
    if not isinstance(routes, _Object):
        report.app_error(source, 'has routes that are not an object; write them by name, as in {"sales": {…}}')
        return []
    return routes.pairs


def _add_route(spelling: str, route: object, position: str, keys: EnvironmentKeys, report: ErrorCollector) -> None:
    # An error of the route as a whole holds all mail: the route's mailbox is not known.
    name = spelling.lower()
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        # The name is not shown: it may be a secret that was pasted in the wrong place.
        report.app_error(position, f"does not have a valid name of a route; {NAME_RULE}")
    elif not isinstance(route, _Object):
        report.app_error(position, 'is not an object; write its fields, as in {"ADDRESS": "sales@example.com"}')
    elif name in keys.names["routes"]:
        report.app_error(f"{position}, {spelling}", "is repeated, whatever the case; use one name for each route")
    else:
        keys.names["routes"][name] = spelling
        for number, pair in enumerate(route.pairs, 1):
            _add_field(name, pair, f"{position}, {spelling}, field {number}", keys, report)


def _add_field(
    name: str, pair: tuple[str, object], position: str, keys: EnvironmentKeys, report: ErrorCollector
) -> None:
    (field, value), fields = pair, declarations(Route)
    setting = field.lower()
    place = ("routes", name, setting)
    key = keys.spell("routes", name, printable(field))
    if setting not in fields:
        # Neither here: the position identifies the field.
        near = closest_name(field, fields)
        hint = f"did you mean {near.upper()}?" if near else f"known fields are {', '.join(sorted(fields)).upper()}"
        report.error(place, position, f"is not a field of a route; {hint}")
    elif place in keys.places:
        keys.values.pop(place, None)
        report.error(place, key, "is repeated, whatever the case; remove one of the two")
    else:
        keys.places.add(place)
        try:
            text = _to_text(setting, value)
        except InvalidValue as invalid:
            report.error(place, key, invalid.detail)
        else:
            if text:
                keys.values[place] = SettingValue(key, text)


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
