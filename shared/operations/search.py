"""Arrivals found by what a person knows of a message (docs/finding.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Final

from shared.addresses import normalise
from shared.errors import ConfigurationError
from shared.receipts import MAX_MESSAGE_ID_LENGTH, TRUNCATED, Receipt
from shared.routing.model import ANY_RECIPIENT
from shared.storage.base import Filter, Records, Table

LEAST_DIGITS: Final = 8
"""Hex digits of an id that are enough to name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalQuery:
    """What is known of the arrivals that are looked for; all of it has to fit, and nothing given fits all.

    Attributes:
        id: a message's id or an arrival's key, or how it begins.
        message_id: the Message-ID.
        sender: an address in From, normalised.
        recipient: whom it was for, or an address in To or Cc; normalised, or `*`.
        mailbox: its name in the settings.
        since: the first day on which it was stored, UTC.
        until: the last one.
    """

    id: str = ""
    message_id: str = ""
    sender: str = ""
    recipient: str = ""
    mailbox: str = ""
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True)
class SearchResult:
    """Knows by which arrivals somebody was dealt with.

    Attributes:
        records: where receipts and claims are.
        address: whose, normalised, or `*`.
    """

    records: Records
    address: str

    def by(self, receipt: Receipt) -> bool:
        """Whether routing dealt with them: gave a result, or found a duplicate."""
        # What the receipt has no room for, the claims tell.
        return self.address in receipt.outcomes or (TRUNCATED in receipt.outcomes and receipt.arrival in self._owners)

    @cached_property
    def _owners(self) -> set[str]:
        """Arrivals that hold claims of theirs. Asked for once: receipts without room may be many."""
        mine = Filter(equal={"recipient": self.address})
        return {str(record.values["owner"]) for record in self.records.scan(Table.CLAIMS, mine)}


def find_arrivals(records: Records, wanted: ArrivalQuery) -> Iterator[Receipt]:
    """The receipts of the arrivals that fit, each once, in no promised order."""
    seen: set[str] = set()
    given = SearchResult(records, wanted.recipient)
    for where in _scans(wanted):
        for record in records.scan(Table.RECEIPTS, where):
            receipt = Receipt.from_record(record)
            if record.key not in seen and _fits(receipt, wanted, given):
                seen.add(record.key)
                yield receipt


def parse_id(text: str) -> str:
    """An id or its beginning, as somebody wrote it.

    Raises:
        ConfigurationError: it cannot be one.
    """
    text = text.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{LEAST_DIGITS},64}}", text):
        raise ConfigurationError(
            f"{text} is no id: it has {LEAST_DIGITS} to 64 hex digits, of a message's or an arrival's"
        )
    return text


def parse_message_id(text: str) -> str:
    """A Message-ID as receipts have it, with or without angle brackets."""
    text = text.strip()
    return (text[1:-1] if text.startswith("<") and text.endswith(">") else text)[:MAX_MESSAGE_ID_LENGTH]


def parse_person(text: str) -> str:
    """An address as routing compares it; `*` stands for itself.

    Raises:
        ConfigurationError: it is none.
    """
    if text.strip() == ANY_RECIPIENT:
        return ANY_RECIPIENT
    address = normalise(text)
    if address is None:
        raise ConfigurationError(f"{text} is no address; write name@example.com")
    return address


def _scans(wanted: ArrivalQuery) -> Iterator[Filter]:
    """What the storage is asked for: no more than has to be looked at, as far as one of its filters can tell."""
    equal: dict[str, str | bool] = {"mailbox": wanted.mailbox} if wanted.mailbox else {}
    if wanted.message_id:
        equal["message_id"] = wanted.message_id
    since = None if wanted.since is None else _midnight(wanted.since)
    until = None if wanted.until in (None, date.max) else _midnight(wanted.until + timedelta(days=1))
    if wanted.id:
        yield Filter(key=wanted.id, equal=equal, since=since, until=until)
        yield Filter(begins={"message": wanted.id}, equal=equal, since=since, until=until)
    elif wanted.sender:
        yield Filter(equal={**equal, "sender": wanted.sender}, since=since, until=until)
        yield Filter(equal={**equal, "several_senders": True}, since=since, until=until)
    else:
        yield Filter(equal=equal, since=since, until=until)


def _fits(receipt: Receipt, wanted: ArrivalQuery, given: SearchResult) -> bool:
    if wanted.sender and wanted.sender not in receipt.senders:
        return False
    who = wanted.recipient
    return not who or who in receipt.to_and_cc or given.by(receipt)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
