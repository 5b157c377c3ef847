"""The messages on the queues: small, versioned JSON that holds keys and never mail.

A queue message asks for work that may be done twice: its consumer is idempotent (docs/explanation/receipts.md).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.errors import MessageUnreadable
from shared.keys import BATCH, PARTITION, batch_prefix

QUEUE_VERSION = 1
"""The version in every queue message. A message of another version is rejected."""

_OUTBOX_KEY = re.compile(f"[0-9a-f]{{{PARTITION + BATCH},64}}")


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """A message on the queue `route-requests`: route the arrivals, or the replay, of these outbox entries.

    Attributes:
        outbox: the key of an outbox entry, or the first digits of the keys of several: a batch.
        retries: how often it was requeued after a transient error; one more if it was published before.
    """

    outbox: str
    retries: int = 0

    def to_json(self) -> str:
        """Return the queue message."""
        return _to_json(outbox=self.outbox, retries=self.retries)

    @classmethod
    def from_json(cls, body: str) -> RouteRequest:
        """Parse a queue message.

        Raises:
            MessageUnreadable: the text is not one that `to_json` wrote.
        """
        fields = _parse(body)
        outbox, retries = fields.get("outbox"), fields.get("retries", 0)
        if not isinstance(outbox, str) or not _OUTBOX_KEY.fullmatch(outbox) or not isinstance(retries, int):
            raise MessageUnreadable("a message on the queue `route-requests` names no outbox entry")
        return cls(outbox, retries)


def route_requests(keys: Iterable[str], *, retries: int = 0) -> list[RouteRequest]:
    """Return one route request for each batch of outbox entries.

    Args:
        keys: the keys of the entries. A batch of which there is one key has a request for this entry alone.
        retries: the `retries` of the requests.
    """
    batches: defaultdict[str, list[str]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        batches[batch_prefix(key)].append(key)
    return [RouteRequest(batch[0] if len(batch) == 1 else prefix, retries) for prefix, batch in batches.items()]


class PollReason(StrEnum):
    """Why a mailbox is polled."""

    TIMER = "timer"
    NOTIFIED = "notified"
    """Microsoft Graph sent a change notification."""
    RECHECK = "recheck"
    """A poll right after a notification found nothing: the new message may not have been visible yet."""
    FOLLOW_UP = "follow-up"
    """The last poll did not drain the mailbox, or another poll was requested while it ran."""
    MANUAL = "manual"
    """`mailroom run-once` ignores interval and backoff, except the backoff after rejected credentials."""


@dataclass(frozen=True, slots=True)
class Poll:
    """A message on the queue `polls`: poll this mailbox now.

    Attributes:
        mailbox: its name in the settings.
        reason: why it is polled.
        retries: how often it was requeued after a transient error.
        traceparent: the trace that it belongs to, or empty.
        requested_at: a poll that began after this time makes this one unnecessary; None: it is always necessary.
    """

    mailbox: str
    reason: PollReason
    retries: int = 0
    traceparent: str = ""
    requested_at: datetime | None = None

    def to_json(self) -> str:
        """Return the queue message."""
        return _to_json(
            mailbox=self.mailbox,
            reason=self.reason.value,
            retries=self.retries,
            traceparent=self.traceparent,
            requested_at=self.requested_at.isoformat() if self.requested_at is not None else "",
        )

    @classmethod
    def from_json(cls, body: str) -> Poll:
        """Parse a queue message.

        Raises:
            MessageUnreadable: the text is not one that `to_json` wrote.
        """
        fields = _parse(body)
        mailbox, retries = fields.get("mailbox"), fields.get("retries", 0)
        if not isinstance(mailbox, str) or not isinstance(retries, int) or fields.get("reason") not in list(PollReason):
            raise MessageUnreadable("a message on the queue `polls` names no mailbox or an unknown reason")
        return cls(
            mailbox,
            PollReason(str(fields["reason"])),
            retries,
            str(fields.get("traceparent", "")),
            _requested_at(fields),
        )


class LifecycleKind(StrEnum):
    """What Graph reports about a subscription (Graph: lifecycle notifications)."""

    REAUTHORIZATION_REQUIRED = "reauthorizationRequired"
    SUBSCRIPTION_REMOVED = "subscriptionRemoved"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """A message on the queue `lifecycle`: handle this event of a subscription.

    Attributes:
        mailbox: its name in the settings.
        folder: its path in the settings.
        kind: the event.
        subscription: Graph's id of the subscription; empty: the folder has none, and one is to be created.
        retries: how often it was requeued.
        traceparent: the trace that it belongs to, or empty.
    """

    mailbox: str
    folder: str
    kind: LifecycleKind
    subscription: str
    retries: int = 0
    traceparent: str = ""

    def to_json(self) -> str:
        """Return the queue message."""
        return _to_json(
            mailbox=self.mailbox,
            folder=self.folder,
            kind=self.kind.value,
            subscription=self.subscription,
            retries=self.retries,
            traceparent=self.traceparent,
        )

    @classmethod
    def from_json(cls, body: str) -> LifecycleEvent:
        """Parse a queue message.

        Raises:
            MessageUnreadable: the text is not one that `to_json` wrote.
        """
        fields = _parse(body)
        mailbox, folder, retries = fields.get("mailbox"), fields.get("folder"), fields.get("retries", 0)
        names_folder = isinstance(mailbox, str) and isinstance(folder, str)
        if not names_folder or not isinstance(retries, int) or fields.get("kind") not in list(LifecycleKind):
            raise MessageUnreadable(
                "a message on the queue `lifecycle` names no folder of a mailbox or an unknown event"
            )
        return cls(
            str(mailbox),
            str(folder),
            LifecycleKind(str(fields["kind"])),
            str(fields.get("subscription", "")),
            retries,
            str(fields.get("traceparent", "")),
        )


def _to_json(**fields: str | int) -> str:
    return json.dumps({"v": QUEUE_VERSION, **{name: value for name, value in fields.items() if value != ""}})


def _requested_at(fields: dict[str, object]) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(fields.get("requested_at", "")))
    except ValueError:
        return None  # An absent or invalid time must not suppress a poll.
    return time if time.tzinfo is not None else None


def _parse(body: str) -> dict[str, object]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or fields.get("v") != QUEUE_VERSION:
        raise MessageUnreadable(f"a queue message is not JSON of version {QUEUE_VERSION}; another release may write it")
    return fields
