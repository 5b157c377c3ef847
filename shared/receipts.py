"""Receipts: the durable records of arrivals, created once, updated, and kept for good
(docs/explanation/receipts.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from shared.storage.base import Record, Values, storable_time

MAX_MESSAGE_ID_LENGTH: Final = 998
"""Characters of a Message-ID that a receipt holds (RFC 5322 section 2.1.1: a line)."""

MAX_ADDRESSES: Final = 100
"""Addresses of a message's senders, and of its To and Cc, that a receipt holds."""

MAX_SUBJECT_LENGTH: Final = 200
"""Characters of a subject that a receipt holds."""

TRUNCATED: Final = "…"
"""The key in `outcomes` which says that the message has more recipients than a receipt has room for."""

_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


class State(StrEnum):
    """The processing state of an arrival."""

    STORED = "stored"
    ROUTED = "routed"
    FAILED = "failed"
    OVERSIZED = "oversized"
    """Never downloaded: larger than MAX_MESSAGE_BYTES. Stays in the mailbox."""
    UNREADABLE = "unreadable"
    """Never downloaded: the server does not deliver it (rule 8.3). Stays in the mailbox."""
    ERASED = "erased"
    """Erased (rule 8.5). Its bare receipt stays, so that the message is not downloaded a second time."""


ROUTABLE_STATES: Final = (State.STORED, State.ROUTED, State.FAILED)
"""The states of an arrival whose raw bytes are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The record of one arrival.

    Attributes:
        arrival: the arrival's key.
        mailbox: the mailbox's name in the settings.
        protocol: `imap`, `pop3` or `graph`.
        folder: the folder that the message was in.
        server_key: the server's key for the message.
        message: the id of the bytes; empty if they were never downloaded.
        size: size in bytes; as reported by the server if the message was never downloaded.
        reported_size: size in bytes that the server reported before the download.
        received: when the server received the message, if it reports that.
        stored_at: when the receipt was created, UTC; its day is the day in all paths.
        outbox: the key of its outbox entry, which exists exactly while the state is `stored`; empty: it never had one.
        state: the processing state.
        removed: whether the message was removed from the mailbox. Under `keep` it never is.
        outcomes: by recipient, `routed PATH` or `duplicate ARRIVAL`; `*` for an outcome of the whole message.
        last_error: why the latest attempt to route it failed.
        last_refused_at: when the server last did not deliver it, for `unreadable`.
        retried_daily: whether an unreadable message is requested again once a day.
        senders: addresses in From, normalised; like all that follows, recorded when the message is routed.
        to_and_cc: addresses in To and Cc, normalised.
        message_id: its Message-ID (RFC 5322), without angle brackets; empty if it has no valid one.
        subject: its subject, as `searchable_subject` returns it.
        sent: the time of `Date`, UTC; None if it is missing or implausible.
        outcome: `routed`, `unhandled`, `duplicate`, `blocked` or `failed`.
        conversation: the id of the first message seen of its thread.
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
    outbox: str = ""
    state: State = State.STORED
    removed: bool = False
    outcomes: dict[str, str] = field(default_factory=dict)
    last_error: str = ""
    last_refused_at: datetime | None = None
    retried_daily: bool = False
    senders: tuple[str, ...] = ()
    to_and_cc: tuple[str, ...] = ()
    message_id: str = ""
    subject: str = ""
    sent: datetime | None = None
    outcome: str = ""
    conversation: str = ""
    routed_at: datetime | None = None

    @property
    def was_downloaded(self) -> bool:
        """Whether its bytes were stored, so that it need not be downloaded again."""
        return self.state not in (State.OVERSIZED, State.UNREADABLE)

    @property
    def is_fully_erased(self) -> bool:
        """Whether it is erased and nothing is left to be deleted."""
        return self.state is State.ERASED and not self.message

    def outcome_change(self, outcome: str) -> dict[str, str]:
        """Return the attributes of the metric that counts a change of its outcome: `waiting` until it is routed."""
        return {"mailbox": self.mailbox, "outcome": outcome, "previous": self.outcome or "waiting"}

    def results(self) -> dict[str, str]:
        """Return the path of each recipient's result, by recipient."""
        return results_by_recipient(self.outcomes)

    def to_values(self) -> Values:
        """Return the record's properties, without the key."""
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
            "outbox": self.outbox,
        }
        if self.received is not None:
            values["received"] = self.received
        if self.last_refused_at is not None:
            values["last_refused_at"] = self.last_refused_at
        if self.retried_daily:
            values["retried_daily"] = True
        return values

    def to_outbox_values(self, traceparent: str = "") -> Values:
        """Return the properties of the arrival's outbox entry: those of the receipt, its key, and the message's trace.

        Args:
            traceparent: the trace of the message; empty: none.
        """
        return {**self.to_values(), "arrival": self.arrival, "traceparent": traceparent}

    @classmethod
    def from_record(cls, record: Record) -> Receipt:
        """Parse a record that was created from `to_values`, with everything merged into it since."""
        values = record.values
        received, stored_at, routed_at = values.get("received"), values["stored_at"], values.get("routed_at")
        last_refused_at, sent = values.get("last_refused_at"), values.get("sent")
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
            outbox=str(values.get("outbox", "")),
            state=State(str(values["state"])),
            removed=bool(values["removed"]),
            outcomes=json.loads(str(values.get("outcomes", "{}"))),
            last_error=str(values.get("last_error", "")),
            last_refused_at=last_refused_at if isinstance(last_refused_at, datetime) else None,
            retried_daily=bool(values.get("retried_daily", False)),
            senders=tuple(json.loads(str(values.get("senders", "[]")))),
            to_and_cc=tuple(json.loads(str(values.get("to_and_cc", "[]")))),
            message_id=str(values.get("message_id", "")),
            subject=str(values.get("subject", "")),
            sent=sent if isinstance(sent, datetime) else None,
            outcome=str(values.get("outcome", "")),
            conversation=str(values.get("conversation", "")),
            routed_at=routed_at if isinstance(routed_at, datetime) else None,
        )


def results_by_recipient(outcomes: Mapping[str, str]) -> dict[str, str]:
    """Return the path of each recipient's result, by recipient, from a receipt's outcomes."""
    parts = ((recipient, text.partition(" ")) for recipient, text in outcomes.items())
    return {recipient: path for recipient, (outcome, _, path) in parts if outcome == "routed"}


def search_columns(
    senders: Sequence[str],
    to_and_cc: Sequence[str],
    message_id: str | None,
    *,
    subject: str = "",
    sent: datetime | None = None,
) -> Values:
    """Return the properties by which a routed arrival is found and listed.

    The first sender has a property of its own, since storage can filter by it. More than one sender is rare, and a
    flag says so.

    Args:
        senders: addresses in From, normalised.
        to_and_cc: addresses in To and Cc, normalised.
        message_id: the Message-ID.
        subject: the decoded subject.
        sent: the time of `Date`.
    """
    sent = storable_time(sent)
    return {
        "sender": senders[0] if senders else "",
        "several_senders": len(senders) > 1,
        "senders": json.dumps(senders[:MAX_ADDRESSES], ensure_ascii=False),
        "to_and_cc": json.dumps(to_and_cc[:MAX_ADDRESSES], ensure_ascii=False),
        "message_id": (message_id or "")[:MAX_MESSAGE_ID_LENGTH],
        "subject": searchable_subject(subject)[:MAX_SUBJECT_LENGTH],
        **({} if sent is None else {"sent": sent}),
    }


def searchable_subject(subject: str) -> str:
    """Return a subject on one line: each run of white space and control characters becomes a space."""
    return _SPACE_OR_CONTROL.sub(" ", subject).strip()
