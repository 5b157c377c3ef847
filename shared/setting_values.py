"""Parse the texts of settings that mailboxes and routes share: booleans, integers, lists and folder paths.

Each parser takes a text without surrounding white space and raises `InvalidValue`. A field of a pydantic model uses a
parser by `from_text`, so that the model accepts a setting's text and the value itself alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator

from shared.errors import InvalidValue

_INTEGER = re.compile(r"[-+]?[0-9]{1,15}")
_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}


def from_text(parse: Callable[[str], Any]) -> BeforeValidator:
    """Return a validator that parses texts, and passes every other value on, members of a `StrEnum` included."""
    return BeforeValidator(lambda value: parse(value) if type(value) is str else value)


def parse_integer(least: int, most: int, kind: str = "in range") -> Callable[[str], int]:
    """Return a parser for integers between two bounds, both included.

    Args:
        least: the smallest integer.
        most: the largest integer.
        kind: completes "is not ..." in the error, such as "a port".
    """

    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise InvalidValue(f"the value is not a whole number; use {least} to {most}")
        if not least <= int(text) <= most:
            raise InvalidValue(f"is not {kind}; use {least} to {most}", text)
        return int(text)

    return parse


def parse_boolean(text: str) -> bool:
    """Parse a boolean, such as `true` or `no`."""
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise InvalidValue("the value is neither true nor false; use true or false")
    return word in _TRUE


def parse_list(text: str) -> tuple[str, ...]:
    """Split a text at `;`, without white space around entries, empty entries and repeated entries."""
    return tuple(dict.fromkeys(entry.strip() for entry in text.split(";") if entry.strip()))


def list_of(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Return a parser for a list of entries that `parse` accepts."""
    return lambda text: tuple(dict.fromkeys(map(parse, parse_list(text))))


def parse_folder(text: str) -> str:
    """Parse a folder's path. INBOX alone is the same in any case (RFC 3501 section 5.1)."""
    if not text.isprintable():
        raise InvalidValue(
            "a folder's name has a character that cannot be printed; write the name as a mail program shows it"
        )
    return "INBOX" if text.upper() == "INBOX" else text


Boolean = Annotated[bool, from_text(parse_boolean)]
Texts = Annotated[tuple[str, ...], from_text(parse_list)]
LowerCase = Annotated[str | None, from_text(str.lower)]
