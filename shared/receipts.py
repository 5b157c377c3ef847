"""Receipts: the record of an arrival. Created once, updated, and kept for good; docs/explanation/receipts.md says
when.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from shared.storage.base import Record, Values

MAX_MESSAGE_ID_LENGTH: Final = 998
"""Characters of a Message-ID that a receipt holds (RFC 5322 section 2.1.1: a line)."""

MAX_ADDRESSES: Final = 100
"""Addresses of a message's senders, and of its To and Cc, that a receipt holds."""

TRUNCATED: Final = "…"
"""The recipient in outcomes that says that there were more than a receipt has room for."""


class State(StrEnum):
    """How far an arrival has come."""

    STORED = "stored"
    ROUTED = "routed"
    FAILED = "failed"
    OVERSIZED = "oversized"
    """Never downloaded: larger than MAX_MESSAGE_BYTES. Stays in the mailbox."""
    UNREADABLE = "unreadable"
    """Never downloaded: the server will not give it out (rule 8.3). Stays in the mailbox."""
    ERASED = "forgotten"
    """Removed for good (rule 8.5). Its receipt stays, bare, so that it is not collected a second time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The record of one arrival.

    Attributes:
        arrival: its key.
        mailbox: name in the settings.
        protocol: `imap`, `pop3` or `graph`.
        folder: where it was collected.
        server_key: the server's key for it.
        message: the id of the bytes; empty as long as they were never downloaded.
        size: octets; of the bytes, or as told while they were never downloaded.
        told_size: octets as the server told them before the download.
        received: when the server received it, if it told.
        stored_at: when the receipt was created, UTC; its day is the day in all paths.
        state: how far it has come.
        removed: whether it was removed from the mailbox. Under `keep` the receipt itself says that it was taken.
        outcomes: by recipient, `routed PATH`, `duplicate ARRIVAL`, or one key `*` for what befell the whole.
        last_error: why the latest try to route it failed.
        tried_at: when the server last would not give it out, for `unreadable`.
        retried_daily: an unreadable message that is asked for again once a day.
        senders: addresses in From, normalised; like all that follows, noted when it is routed.
        named: addresses in To and Cc, normalised.
        message_id: its Message-ID (RFC 5322), without angle brackets; empty if it has none that counts.
        fate: `routed`, `unhandled`, `duplicate`, `blocked` or `failed`.
        conversation: the id of the first message of its thread that was seen.
        routed_at: when it was last routed.
    """

    arrival: str
    mailbox: str
    protocol: str
    folder: str
    server_key: str
    message: str
    size: int
    reported_size: int
    received: datetime | None
    stored_at: datetime
    state: State = State.STORED
    removed: bool = False
    outcomes: dict[str, str] = field(default_factory=dict)
    last_error: str = ""
    last_refused_at: datetime | None = None
    retried_daily: bool = False
    senders: tuple[str, ...] = ()
    to_and_cc: tuple[str, ...] = ()
    message_id: str = ""
    outcome: str = ""
    conversation: str = ""
    routed_at: datetime | None = None

    @property
    def was_downloaded(self) -> bool:
        """Whether its bytes were stored: it need not be fetched any more."""
        return self.state not in (State.OVERSIZED, State.UNREADABLE)

    @property
    def is_fully_erased(self) -> bool:
        """Whether it is forgotten, and nothing is left to be removed."""
        return self.state is State.ERASED and not self.message

    def results(self) -> dict[str, str]:
        """By recipient, the path of the result that is theirs."""
        return results_by_recipient(self.outcomes)

    def to_values(self) -> Values:
        """As a record's properties; the key is not among them."""
        values: dict[str, str | int | bool | datetime] = {
            "mailbox": self.mailbox,
            "protocol": self.protocol,
            "folder": self.folder,
            "server_key": self.server_key,
            "message": self.message,
            "size": self.size,
            "reported_size": self.reported_size,
            "stored_at": self.stored_at,
            "state": self.state.value,
            "removed": self.removed,
        }
        if self.received is not None:
            values["received"] = self.received
        if self.last_refused_at is not None:
            values["last_refused_at"] = self.last_refused_at
        if self.retried_daily:
            values["retried_daily"] = True
        return values

    @classmethod
    def from_record(cls, record: Record) -> Receipt:
        """From a record that began as `values`, with what was merged into it since."""
        values = record.values
        received, stored_at, tried_at = values.get("received"), values["stored_at"], values.get("last_refused_at")
        routed_at = values.get("routed_at")
        assert isinstance(stored_at, datetime)
        return cls(
            arrival=record.key,
            mailbox=str(values["mailbox"]),
            protocol=str(values["protocol"]),
            folder=str(values["folder"]),
            server_key=str(values["server_key"]),
            message=str(values["message"]),
            size=int(str(values["size"])),
            reported_size=int(str(values["reported_size"])),
            received=received if isinstance(received, datetime) else None,
            stored_at=stored_at,
            state=State(str(values["state"])),
            removed=bool(values["removed"]),
            outcomes=json.loads(str(values.get("outcomes", "{}"))),
            last_error=str(values.get("last_error", "")),
            last_refused_at=tried_at if isinstance(tried_at, datetime) else None,
            retried_daily=bool(values.get("retried_daily", False)),
            senders=tuple(json.loads(str(values.get("senders", "[]")))),
            to_and_cc=tuple(json.loads(str(values.get("to_and_cc", "[]")))),
            message_id=str(values.get("message_id", "")),
            outcome=str(values.get("outcome", "")),
            conversation=str(values.get("conversation", "")),
            routed_at=routed_at if isinstance(routed_at, datetime) else None,
        )


def results_by_recipient(outcomes: Mapping[str, str]) -> dict[str, str]:
    """By recipient, the path of the result that outcomes tell of."""
    given = ((who, what.partition(" ")) for who, what in outcomes.items())
    return {who: path for who, (fate, _, path) in given if fate == "routed"}


def search_columns(senders: Sequence[str], named: Sequence[str], message_id: str | None) -> Values:
    """What a receipt notes of a message once it is read, so that it is found by it.

    The first sender stands alone as well, as storage can be asked for it; that there are more is rare, and noted.

    Args:
        senders: addresses in From, normalised.
        named: addresses in To and Cc, normalised.
        message_id: its Message-ID.
    """
    return {
        "sender": senders[0] if senders else "",
        "several_senders": len(senders) > 1,
        "senders": json.dumps(senders[:MAX_ADDRESSES], ensure_ascii=False),
        "to_and_cc": json.dumps(named[:MAX_ADDRESSES], ensure_ascii=False),
        "message_id": (message_id or "")[:MAX_MESSAGE_ID_LENGTH],
    }
