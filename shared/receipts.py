"""Receipts: the record of an arrival, and the messages on the queues that name one.

A receipt is created once, updated, and kept for good; docs/receipts.md says when.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shared.errors import MessageUnreadable
from shared.storage.protocol import Record, Values

QUEUE_VERSION = 1
"""The version in every queue message; a message of another version is refused, not guessed at."""


class State(StrEnum):
    """How far an arrival has come."""

    STORED = "stored"
    ROUTED = "routed"
    FAILED = "failed"
    OVERSIZED = "oversized"
    """Never downloaded: larger than MAX_MESSAGE_BYTES. Stays in the mailbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The record of one arrival.

    Attributes:
        arrival: its key.
        mailbox: name in the settings.
        protocol: `imap` or `pop3`.
        folder: where it was collected.
        server_key: the server's key for it.
        message: the id of the bytes; empty as long as they were never downloaded.
        size: octets; of the bytes, or as told while they were never downloaded.
        told_size: octets as the server told them before the download.
        received: when the server received it, if it told.
        stored_at: when the receipt was created, UTC; its day is the day in all paths.
        state: how far it has come.
        removed: whether it was removed from the mailbox. Under `keep` the receipt itself says that it was taken.
        outcomes: by recipient, `routed ROUTE`, `duplicate ARRIVAL`, or one key `*` for what befell the whole.
        last_error: why the latest try to route it failed.
    """

    arrival: str
    mailbox: str
    protocol: str
    folder: str
    server_key: str
    message: str
    size: int
    told_size: int
    received: datetime | None
    stored_at: datetime
    state: State = State.STORED
    removed: bool = False
    outcomes: dict[str, str] = field(default_factory=dict)
    last_error: str = ""

    def values(self) -> Values:
        """As a record's properties; the key is not among them."""
        values: dict[str, str | int | bool | datetime] = {
            "mailbox": self.mailbox,
            "protocol": self.protocol,
            "folder": self.folder,
            "server_key": self.server_key,
            "message": self.message,
            "size": self.size,
            "told_size": self.told_size,
            "stored_at": self.stored_at,
            "state": self.state.value,
            "removed": self.removed,
        }
        if self.received is not None:
            values["received"] = self.received
        return values

    @classmethod
    def of(cls, record: Record) -> Receipt:
        """From a record that `values` and `outcome_values` wrote."""
        values = record.values
        received, stored_at = values.get("received"), values["stored_at"]
        assert isinstance(stored_at, datetime)
        return cls(
            arrival=record.key,
            mailbox=str(values["mailbox"]),
            protocol=str(values["protocol"]),
            folder=str(values["folder"]),
            server_key=str(values["server_key"]),
            message=str(values["message"]),
            size=int(str(values["size"])),
            told_size=int(str(values["told_size"])),
            received=received if isinstance(received, datetime) else None,
            stored_at=stored_at,
            state=State(str(values["state"])),
            removed=bool(values["removed"]),
            outcomes=json.loads(str(values.get("outcomes", "{}"))),
            last_error=str(values.get("last_error", "")),
        )


@dataclass(frozen=True, slots=True)
class Announcement:
    """What stands on the queue `arrivals`: route this arrival.

    Attributes:
        arrival: the receipt's key.
        retries: how often it was put back because a service was ill.
        traceparent: the trace that it belongs to (W3C Trace Context), or empty.
    """

    arrival: str
    retries: int = 0
    traceparent: str = ""

    def body(self) -> str:
        """As a queue message."""
        return _body(arrival=self.arrival, retries=self.retries, traceparent=self.traceparent)

    @classmethod
    def of(cls, body: str) -> Announcement:
        """From a queue message.

        Raises:
            MessageUnreadable: it is not one that `body` wrote.
        """
        fields = _fields(body)
        arrival, retries = fields.get("arrival"), fields.get("retries", 0)
        if not isinstance(arrival, str) or not isinstance(retries, int):
            raise MessageUnreadable("a message on the queue `arrivals` names no arrival")
        return cls(arrival, retries, str(fields.get("traceparent", "")))


class Reason(StrEnum):
    """Why a mailbox is looked at."""

    CLOCK = "clock"
    AGAIN = "again"
    """More was left, or somebody asked while it was being drained."""
    BY_HAND = "by-hand"
    """`mailroom once`: now, whatever its pace and backoff; only rejected credentials are not tried again."""


@dataclass(frozen=True, slots=True)
class Poll:
    """What stands on the queue `polls`: look at this mailbox now.

    Attributes:
        mailbox: its name in the settings.
        reason: who asks.
        retries: how often it was put back because a service was ill.
        traceparent: the trace that it belongs to, or empty.
    """

    mailbox: str
    reason: Reason
    retries: int = 0
    traceparent: str = ""

    def body(self) -> str:
        """As a queue message."""
        return _body(mailbox=self.mailbox, reason=self.reason.value, retries=self.retries, traceparent=self.traceparent)

    @classmethod
    def of(cls, body: str) -> Poll:
        """From a queue message.

        Raises:
            MessageUnreadable: it is not one that `body` wrote.
        """
        fields = _fields(body)
        mailbox, retries = fields.get("mailbox"), fields.get("retries", 0)
        if not isinstance(mailbox, str) or not isinstance(retries, int) or fields.get("reason") not in list(Reason):
            raise MessageUnreadable("a message on the queue `polls` names no mailbox, or no known reason")
        return cls(mailbox, Reason(str(fields["reason"])), retries, str(fields.get("traceparent", "")))


def _body(**fields: str | int) -> str:
    return json.dumps({"v": QUEUE_VERSION, **{name: value for name, value in fields.items() if value != ""}})


def _fields(body: str) -> dict[str, object]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or fields.get("v") != QUEUE_VERSION:
        raise MessageUnreadable(f"a queue message is not JSON of version {QUEUE_VERSION}: sent by another release?")
    return fields
