"""Listings of a POP3 mailbox: UIDL and LIST, and TOP for the times at which messages were received.

UIDL and LIST are never pipelined. Nothing in their responses would show that a server mixed them up. A wrong key would
store a message twice, or hide a new message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from shared.errors import MailboxBusy
from shared.mailboxes.base import ListedMessage
from shared.mailboxes.pop3.errors import GarbledResponse, command_error, raise_if_throttled
from shared.mailboxes.pop3.session import Session

MAX_TOPS: Final = 64
"""TOP commands that are outstanding at once; one if the server does not offer PIPELINING."""

MAX_HEADER_SIZE: Final = 64 * 1024
"""Bytes of a message's headers that are searched for its date."""

_LINE = re.compile(rb"\s*(\d{1,10})\s+(.*\S)\s*")


def sizes_and_keys(session: Session) -> tuple[dict[int, int], dict[int, str] | None]:
    """Return the reported sizes and the UIDLs by message number; None for the UIDLs if the server has no UIDL.

    Raises:
        MailboxBusy, MailboxError: the server refuses to list.
    """
    wire = session.wire
    with session.map_errors():
        wire.send(b"UIDL")
        has_keys, text = wire.read_response()
        keys = parse_keys(wire.read_lines()) if has_keys else None
        if not has_keys and isinstance(busy := command_error(text, session.where, "UIDL"), MailboxBusy):
            raise busy
        wire.send(b"LIST")
        accepted, text = wire.read_response()
        sizes = parse_sizes(wire.read_lines()) if accepted else {}
    if not accepted:
        error = command_error(text, session.where, "LIST", login_delay=session.login_delay)
        if isinstance(error, MailboxBusy) or not _is_empty(session):
            raise error
        return {}, {}
    if not sizes and keys is None and session.may_support("UIDL"):
        # Some servers refuse UIDL as well if the mailbox is empty.
        return {}, {}
    return sizes, keys


def times_received(session: Session, numbers: Sequence[int], *, pipelining: bool) -> dict[int, datetime | None]:
    """Return when messages were received, by their topmost headers; nothing if the server does not support TOP."""
    times: dict[int, datetime | None] = {}
    window = MAX_TOPS if pipelining else 1
    for start in range(0, len(numbers) if session.may_support("TOP") else 0, window):
        part = numbers[start : start + window]
        headers_by_number = _read_headers(session, part)
        if len(part) > 1 and any(headers_by_number.values()):
            # A response that may contain another command's response, or be one, is requested again alone.
            for number, headers in list(headers_by_number.items()):
                if headers is None or headers.contains_response:
                    headers_by_number |= _read_headers(session, [number])
        times |= {number: headers.received() for number, headers in headers_by_number.items() if headers is not None}
    return times


def listed_messages(
    sizes: Mapping[int, int], keys: Mapping[int, str], received: Mapping[int, datetime | None]
) -> list[ListedMessage]:
    """Return the messages in the server's order, which is the order of their arrival."""
    return [ListedMessage(keys.get(number), number, sizes[number], received.get(number)) for number in sorted(sizes)]


def parse_sizes(lines: Sequence[bytes]) -> dict[int, int]:
    """Parse LIST: reported sizes in bytes by message number."""
    sizes: dict[int, int] = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        size = match[2].split()[0] if match else b""
        if match is None or not size.isdigit() or int(match[1]) == 0:
            raise GarbledResponse("the server's LIST is unparseable")
        sizes[int(match[1])] = int(size[:18])
    return sizes


def parse_keys(lines: Sequence[bytes]) -> dict[int, str]:
    """Parse UIDL: unique ids by message number. An id that two messages share identifies neither, and is omitted."""
    matches = (_LINE.fullmatch(line) for line in lines)
    keys = {int(match[1]): match[2].decode("latin-1") for match in matches if match}
    counts = Counter(keys.values())
    return {number: key for number, key in keys.items() if counts[key] == 1}


class Headers:
    """Collects a message's headers as they are received, up to `MAX_HEADER_SIZE`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, part: bytes) -> None:
        """Append the next bytes."""
        if self._size < MAX_HEADER_SIZE:
            self._parts.append(part[: MAX_HEADER_SIZE - self._size])
            self._size += len(part)

    @property
    def contains_response(self) -> bool:
        """Whether the headers contain a text that may be the response to another command."""
        data = b"".join(self._parts)
        return b"+OK" in data or b"-ERR" in data

    def received(self) -> datetime | None:
        """Return when the message was received: see `received_at`."""
        return received_at(b"".join(self._parts))


def received_at(headers: bytes) -> datetime | None:
    """Return the time of the topmost `Received` header, which our own server wrote; else of `Date`; else None."""
    text = headers.decode("latin-1").replace("\r\n", "\n").split("\n\n", 1)[0]
    fields = re.sub(r"\n[ \t]+", " ", text).split("\n")
    for name in ("received:", "date:"):
        value = next((field[len(name) :] for field in fields if field[: len(name)].lower() == name), None)
        time = None if value is None else _parse_time(value.rpartition(";")[2] if name == "received:" else value)
        if time is not None:
            return time
    return None


def _parse_time(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _is_empty(session: Session) -> bool:
    """Return whether STAT reports no messages: some servers answer LIST with `-ERR` then."""
    with session.map_errors():
        session.wire.send(b"STAT")
        accepted, text = session.wire.read_response()
    count = re.match(r"\d+", text)
    return accepted and count is not None and int(count[0]) == 0


def _read_headers(session: Session, numbers: Sequence[int]) -> dict[int, Headers | None]:
    """Request headers with one write of TOPs and return them by message number; None if TOP was refused.

    Raises:
        MailboxBusy: the server throttles the account.
    """
    headers_by_number: dict[int, Headers | None] = dict.fromkeys(numbers)
    with session.map_errors():
        session.wire.send(*(b"TOP %d 0" % number for number in numbers))
        for number in numbers:
            accepted, text = session.wire.read_response()
            if accepted:
                headers = headers_by_number[number] = Headers()
                session.wire.read_multiline(headers.write)
            else:
                raise_if_throttled(text, session.where)
    return headers_by_number
