"""The query options, as far as Graph takes them for mail; everything else is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from graph_simulator.errors import GraphError, bad_request
from graph_simulator.items import Message

SIZE_TAG = 0x0E08
RECEIVED = "receivedDateTime"

_TERM = re.compile(r"receivedDateTime (ge|gt|le|lt) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?(?:Z|[+-]\d\d:\d\d))")
_READ = re.compile(r"isRead eq (true|false)")
_NAME = re.compile(r"displayName eq '((?:[^']|'')*)'")
_EXPAND = re.compile(r"singleValueExtendedProperties\(\$filter=(.*)\)")
_PROPERTY = re.compile(r"id eq '(\w+) 0x([0-9A-Fa-f]{1,4})'")
_COMPARE: dict[str, Callable[[datetime, datetime], bool]] = {
    "ge": lambda left, right: left >= right,
    "gt": lambda left, right: left > right,
    "le": lambda left, right: left <= right,
    "lt": lambda left, right: left < right,
}


@dataclass(frozen=True, slots=True)
class Filter:
    """A `$filter` on messages.

    Attributes:
        names: the properties, in the order in which they stand.
        tests: what all must hold.
    """

    names: tuple[str, ...]
    tests: tuple[Callable[[Message], bool], ...]

    def holds(self, message: Message) -> bool:
        """Whether a message passes."""
        return all(test(message) for test in self.tests)


def check_names(options: Collection[str], allowed: Collection[str]) -> None:
    """Refuse options that are none, or that this request does not take.

    Raises:
        GraphError: one such.
    """
    for name in options:
        if name not in allowed:
            raise bad_request(f"The query parameter '{name}' is not supported.", "ErrorInvalidUrlQuery")


def selected(options: dict[str, str], known: Collection[str], kind: str) -> list[str] | None:
    """The properties in `$select`; None without one.

    Raises:
        GraphError: a property that there is none of.
    """
    if "$select" not in options:
        return None
    names = [name.strip() for name in options["$select"].split(",")]
    for name in names:
        if name not in known:
            text = f"Could not find a property named '{name}' on type 'microsoft.graph.{kind}'."
            raise bad_request(f"Parsing OData Select and Expand failed: {text}", "RequestBroker--ParseUri")
    return names


def number(options: dict[str, str], name: str, least: int, most: int) -> int | None:
    """An option that is a whole number in a range; None without it.

    Raises:
        GraphError: anything else.
    """
    text = options.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise bad_request(f"Invalid value '{text}' for {name} query option found.", "ErrorInvalidUrlQueryFilter")
    return int(text)


def wants_size(options: dict[str, str]) -> bool:
    """Whether `$expand` asks for the size property.

    Raises:
        GraphError: an `$expand` that asks for anything but extended properties.
    """
    if "$expand" not in options:
        return False
    match = _EXPAND.fullmatch(options["$expand"])
    terms = [_PROPERTY.fullmatch(term) for term in match[1].split(" or ")] if match else [None]
    found = [term for term in terms if term is not None]
    if len(found) != len(terms):
        raise bad_request("Parsing OData Select and Expand failed.", "RequestBroker--ParseUri")
    return any(term[1] == "Long" and int(term[2], 16) == SIZE_TAG for term in found)


def message_filter(options: dict[str, str]) -> Filter:
    """The `$filter` on messages; without one, all pass.

    Raises:
        GraphError: one that is not understood.
    """
    names, tests = [], []
    for term in options["$filter"].split(" and ") if "$filter" in options else []:
        if match := _TERM.fullmatch(term.strip()):
            names.append(RECEIVED)
            tests.append(_received(match[1], match[2]))
        elif match := _READ.fullmatch(term.strip()):
            names.append("isRead")
            tests.append(_read(match[1] == "true"))
        else:
            raise bad_request(f"Invalid filter clause: {term}", "ErrorInvalidUrlQueryFilter")
    return Filter(tuple(names), tuple(tests))


def newest_first(options: dict[str, str], found: Filter) -> bool:
    """Whether `$orderby` wants the newest first, which is also the way without one.

    Raises:
        GraphError: another order, or a filter that does not begin with what it orders by.
    """
    text = options.get("$orderby")
    if text is None:
        return True
    name, _, direction = text.partition(" ")
    if name != RECEIVED or direction not in {"", "asc", "desc"}:
        raise bad_request(f"The order '{text}' is not supported.", "ErrorInvalidUrlQuery")
    if found.names and found.names[0] != RECEIVED:
        message = "The restriction or sort order is too complex for this operation."
        raise GraphError(HTTPStatus.BAD_REQUEST, "InefficientFilter", message)
    return direction == "desc"


def folder_name(options: dict[str, str]) -> str | None:
    """The display name that `$filter` on folders asks for; None without one.

    Raises:
        GraphError: another filter.
    """
    if "$filter" not in options:
        return None
    match = _NAME.fullmatch(options["$filter"].strip())
    if match is None:
        raise bad_request(f"Invalid filter clause: {options['$filter']}", "ErrorInvalidUrlQueryFilter")
    return match[1].replace("''", "'")


def _received(operator: str, text: str) -> Callable[[Message], bool]:
    try:
        limit = datetime.fromisoformat(text)
    except ValueError:
        raise bad_request(f"Invalid date and time: {text}", "ErrorInvalidUrlQueryFilter") from None
    compare = _COMPARE[operator]
    return lambda message: compare(message.received, limit)


def _read(wanted: bool) -> Callable[[Message], bool]:
    return lambda message: message.is_read == wanted
