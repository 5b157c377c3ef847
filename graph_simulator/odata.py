"""OData query options that Graph supports for mail; all others are refused."""

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
        names: the filtered properties, in order.
        tests: predicates that a message must all satisfy.
    """

    names: tuple[str, ...]
    tests: tuple[Callable[[Message], bool], ...]

    def matches(self, message: Message) -> bool:
        """Return whether a message satisfies the filter."""
        return all(test(message) for test in self.tests)


def check_names(options: Collection[str], allowed: Collection[str]) -> None:
    """Refuse options that this request does not support.

    Raises:
        GraphError: an option is not supported.
    """
    for name in options:
        if name not in allowed:
            raise bad_request(f"The query parameter '{name}' is not supported.", "ErrorInvalidUrlQuery")


def selected(options: dict[str, str], known: Collection[str], kind: str) -> list[str] | None:
    """Return the properties in `$select`; None without the option.

    Raises:
        GraphError: a property does not exist.
    """
    if "$select" not in options:
        return None
    names = [name.strip() for name in options["$select"].split(",")]
    for name in names:
        if name not in known:
            text = f"Could not find a property named '{name}' on type 'microsoft.graph.{kind}'."
            raise bad_request(f"Parsing OData Select and Expand failed: {text}", "RequestBroker--ParseUri")
    return names


def number(options: dict[str, str], name: str, minimum: int, maximum: int) -> int | None:
    """Return the value of an option that is an integer in a range; None without the option.

    Raises:
        GraphError: the value is not such an integer.
    """
    text = options.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not minimum <= int(text) <= maximum:
        raise bad_request(f"Invalid value '{text}' for {name} query option found.", "ErrorInvalidUrlQueryFilter")
    return int(text)


def wants_size(options: dict[str, str]) -> bool:
    """Return whether `$expand` asks for the size property.

    Raises:
        GraphError: `$expand` asks for something other than extended properties.
    """
    if "$expand" not in options:
        return False
    match = _EXPAND.fullmatch(options["$expand"])
    terms = [_PROPERTY.fullmatch(term) for term in match[1].split(" or ")] if match else [None]
    properties = [term for term in terms if term is not None]
    if len(properties) != len(terms):
        raise bad_request("Parsing OData Select and Expand failed.", "RequestBroker--ParseUri")
    return any(term[1] == "Long" and int(term[2], 16) == SIZE_TAG for term in properties)


def message_filter(options: dict[str, str]) -> Filter:
    """Return the `$filter` on messages; without the option, a filter that all messages satisfy.

    Raises:
        GraphError: the filter is not supported.
    """
    names, tests = [], []
    for term in options["$filter"].split(" and ") if "$filter" in options else []:
        if match := _TERM.fullmatch(term.strip()):
            names.append(RECEIVED)
            tests.append(_received_test(match[1], match[2]))
        elif match := _READ.fullmatch(term.strip()):
            names.append("isRead")
            tests.append(_is_read_test(match[1] == "true"))
        else:
            raise bad_request(f"Invalid filter clause: {term}", "ErrorInvalidUrlQueryFilter")
    return Filter(tuple(names), tuple(tests))


def newest_first(options: dict[str, str], message_filter: Filter) -> bool:
    """Return whether `$orderby` asks for the newest message first, which is the default.

    Raises:
        GraphError: the order is not supported, or the filter does not begin with the ordered property.
    """
    text = options.get("$orderby")
    if text is None:
        return True
    name, _, direction = text.partition(" ")
    if name != RECEIVED or direction not in {"", "asc", "desc"}:
        raise bad_request(f"The order '{text}' is not supported.", "ErrorInvalidUrlQuery")
    if message_filter.names and message_filter.names[0] != RECEIVED:
        message = "The restriction or sort order is too complex for this operation."
        raise GraphError(HTTPStatus.BAD_REQUEST, "InefficientFilter", message)
    return direction == "desc"


def folder_name(options: dict[str, str]) -> str | None:
    """Return the display name in the `$filter` on folders; None without the option.

    Raises:
        GraphError: the filter is not supported.
    """
    if "$filter" not in options:
        return None
    match = _NAME.fullmatch(options["$filter"].strip())
    if match is None:
        raise bad_request(f"Invalid filter clause: {options['$filter']}", "ErrorInvalidUrlQueryFilter")
    return match[1].replace("''", "'")


def _received_test(operator: str, text: str) -> Callable[[Message], bool]:
    try:
        limit = datetime.fromisoformat(text)
    except ValueError:
        raise bad_request(f"Invalid date and time: {text}", "ErrorInvalidUrlQueryFilter") from None
    compare = _COMPARE[operator]
    return lambda message: compare(message.received, limit)


def _is_read_test(is_read: bool) -> Callable[[Message], bool]:
    return lambda message: message.is_read == is_read
