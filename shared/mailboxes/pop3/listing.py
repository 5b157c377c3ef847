"""What a POP3 server lists: numbers, sizes, UIDLs, and when a message was received."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from shared.mailboxes.base import ListedMessage
from shared.mailboxes.pop3.errors import GarbledResponse

LONGEST_HEADERS: Final = 64 * 1024
"""Octets of a message's headers that are looked at for its date."""

_LINE = re.compile(rb"\s*(\d{1,10})\s+(.*\S)\s*")


def parse_sizes(lines: Sequence[bytes]) -> dict[int, int]:
    """Message numbers and told sizes, from LIST."""
    sizes: dict[int, int] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        size = found[2].split()[0] if found else b""
        if found is None or not size.isdigit() or int(found[1]) == 0:
            raise GarbledResponse("the server's LIST cannot be read")
        sizes[int(found[1])] = int(size[:18])
    return sizes


def parse_keys(lines: Sequence[bytes]) -> dict[int, str]:
    """Message numbers and UIDLs, from UIDL; without those that two messages bear, which tell nothing apart."""
    found = (_LINE.fullmatch(line) for line in lines)
    keys = {int(each[1]): each[2].decode("latin-1") for each in found if each}
    seen = Counter(keys.values())
    return {number: key for number, key in keys.items() if seen[key] == 1}


def listed_messages(
    sizes: Mapping[int, int], keys: Mapping[int, str], received: Mapping[int, datetime | None]
) -> list[ListedMessage]:
    """The messages in the server's order, which is that of their coming."""
    return [ListedMessage(keys.get(number), number, sizes[number], received.get(number)) for number in sorted(sizes)]


class Headers:
    """Takes a message's headers as they come off the wire, as many as are looked at."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, part: bytes) -> None:
        """Take the next bytes."""
        if self._size < LONGEST_HEADERS:
            self._parts.append(part[: LONGEST_HEADERS - self._size])
            self._size += len(part)

    @property
    def holds_answers(self) -> bool:
        """Whether the headers contain what may be the answer to another command."""
        data = b"".join(self._parts)
        return b"+OK" in data or b"-ERR" in data

    def received(self) -> datetime | None:
        """When the message came in: see `received_at`."""
        return received_at(b"".join(self._parts))


def received_at(headers: bytes) -> datetime | None:
    """The time in the topmost `Received` line, which our own server wrote; else `Date`; None if neither can be read."""
    text = headers.decode("latin-1").replace("\r\n", "\n").split("\n\n", 1)[0]
    fields = re.sub(r"\n[ \t]+", " ", text).split("\n")
    for name in ("received:", "date:"):
        value = next((field[len(name) :] for field in fields if field[: len(name)].lower() == name), None)
        time = None if value is None else _time(value.rpartition(";")[2] if name == "received:" else value)
        if time is not None:
            return time
    return None


def _time(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
