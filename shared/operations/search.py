"""Find arrivals by what an operator knows of a message (docs/how-to/finding.md)."""

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

MIN_ID_DIGITS: Final = 8
"""Hex digits with which the prefix of an id may be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalQuery:
    """The properties of the arrivals to find. All of them must match; an empty query matches every arrival.

    Attributes:
        id: a message's id or an arrival's key, or a prefix of one.
        message_id: the Message-ID.
        sender: an address in From, normalised.
        recipient: a recipient by routing, or an address in To or Cc; normalised, or `*`.
        mailbox: the mailbox's name in the settings.
        since: the first day on which it was stored, UTC.
        until: the last day.
    """

    id: str = ""
    message_id: str = ""
    sender: str = ""
    recipient: str = ""
    mailbox: str = ""
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True)
class RecipientLookup:
    """Finds out which arrivals were routed for a recipient.

    Attributes:
        records: where receipts and claims are stored.
        address: the recipient's address, normalised, or `*`.
    """

    records: Records
    address: str

    def was_routed_for(self, receipt: Receipt) -> bool:
        """Return whether the recipient has a result or a duplicate of an arrival."""
        # A truncated receipt does not list all recipients, but the claims do.
        return self.address in receipt.outcomes or (TRUNCATED in receipt.outcomes and receipt.arrival in self._owners)

    @cached_property
    def _owners(self) -> set[str]:
        """The arrivals that hold claims on the recipient. Read once: many receipts may be truncated."""
        claims = self.records.scan(Table.CLAIMS, Filter(equal={"recipient": self.address}))
        return {str(record.values["owner"]) for record in claims}


def find_arrivals(records: Records, query: ArrivalQuery) -> Iterator[Receipt]:
    """Yield the receipts of the arrivals that match, each once, in no particular order."""
    keys: set[str] = set()
    recipient = RecipientLookup(records, query.recipient)
    for filter_ in _filters(query):
        for record in records.scan(Table.RECEIPTS, filter_):
            receipt = Receipt.from_record(record)
            if record.key not in keys and _matches(receipt, query, recipient):
                keys.add(record.key)
                yield receipt


def parse_id(text: str) -> str:
    """Parse an id or a prefix of one.

    Raises:
        ConfigurationError: it is not one.
    """
    text = text.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{MIN_ID_DIGITS},64}}", text):
        raise ConfigurationError(
            f"{text} is not an id: give {MIN_ID_DIGITS} to 64 hex digits of a message's or an arrival's id"
        )
    return text


def parse_message_id(text: str) -> str:
    """Return a Message-ID as receipts hold it, from text with or without angle brackets."""
    text = text.strip()
    return (text[1:-1] if text.startswith("<") and text.endswith(">") else text)[:MAX_MESSAGE_ID_LENGTH]


def parse_recipient(text: str) -> str:
    """Return an address, normalised; `*` stays as it is.

    Raises:
        ConfigurationError: it is not an address.
    """
    if text.strip() == ANY_RECIPIENT:
        return ANY_RECIPIENT
    address = normalise(text)
    if address is None:
        raise ConfigurationError(f"{text} is not an address; write it like name@example.com")
    return address


def _filters(query: ArrivalQuery) -> Iterator[Filter]:
    """Yield the most selective storage filters for a query. Each receipt is checked against the query as well."""
    equal: dict[str, str | bool] = {"mailbox": query.mailbox} if query.mailbox else {}
    if query.message_id:
        equal["message_id"] = query.message_id
    since = None if query.since is None else _midnight(query.since)
    until = None if query.until in (None, date.max) else _midnight(query.until + timedelta(days=1))
    if query.id:
        yield Filter(key_prefix=query.id, equal=equal, since=since, until=until)
        yield Filter(prefixes={"message": query.id}, equal=equal, since=since, until=until)
    elif query.sender:
        yield Filter(equal={**equal, "sender": query.sender}, since=since, until=until)
        yield Filter(equal={**equal, "several_senders": True}, since=since, until=until)
    else:
        yield Filter(equal=equal, since=since, until=until)


def _matches(receipt: Receipt, query: ArrivalQuery, recipient: RecipientLookup) -> bool:
    if query.sender and query.sender not in receipt.senders:
        return False
    return not query.recipient or query.recipient in receipt.to_and_cc or recipient.was_routed_for(receipt)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
