"""What stands on the queues: small, versioned JSON with keys, never mail."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.errors import MessageUnreadable

QUEUE_VERSION = 1
"""The version in every queue message; a message of another version is refused, not guessed at."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """That an arrival is to be routed anew, by the routes of today (docs/how-to/replay.md).

    Attributes:
        record: the path of the record, or of the result, that somebody named.
        again: the id of the request for a new result that replaces the one at `record`; empty: results are kept.
    """

    record: str
    reissue: str = ""


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """What stands on the queue `route-requests`: route this arrival.

    Attributes:
        arrival: the receipt's key.
        retries: how often it was put back because a service was ill; one more if it was announced before.
        traceparent: the trace that it belongs to (W3C Trace Context), or empty.
        replay: given, it is routed anew whatever became of it before.
    """

    arrival: str
    retries: int = 0
    traceparent: str = ""
    replay: ReplayRequest | None = None

    def to_json(self) -> str:
        """As a queue message."""
        replay = self.replay or ReplayRequest("")
        return _body(
            arrival=self.arrival,
            retries=self.retries,
            traceparent=self.traceparent,
            replay=replay.record,
            again=replay.reissue,
        )

    @classmethod
    def from_json(cls, body: str) -> RouteRequest:
        """From a queue message.

        Raises:
            MessageUnreadable: it is not one that `body` wrote.
        """
        fields = _fields(body)
        arrival, retries = fields.get("arrival"), fields.get("retries", 0)
        if not isinstance(arrival, str) or not isinstance(retries, int):
            raise MessageUnreadable("a message on the queue `route-requests` names no arrival")
        record, again = fields.get("replay", ""), fields.get("again", "")
        if not isinstance(record, str) or not isinstance(again, str):
            raise MessageUnreadable("a message on the queue `route-requests` asks for a replay of no record")
        replay = ReplayRequest(record, again) if record else None
        return cls(arrival, retries, str(fields.get("traceparent", "")), replay)


class PollReason(StrEnum):
    """Why a mailbox is looked at."""

    TIMER = "clock"
    NOTIFIED = "notified"
    """Microsoft Graph said that something is new."""
    RECHECK = "repeat"
    """A look right after a notification found nothing: what is new may not have been visible yet."""
    FOLLOW_UP = "again"
    """More was left, or somebody asked while it was being drained."""
    MANUAL = "by-hand"
    """`mailroom run-once`: now, whatever its pace and backoff; only rejected credentials are not tried again."""


@dataclass(frozen=True, slots=True)
class Poll:
    """What stands on the queue `polls`: look at this mailbox now.

    Attributes:
        mailbox: its name in the settings.
        reason: who asks.
        retries: how often it was put back because a service was ill.
        traceparent: the trace that it belongs to, or empty.
        asked: a look that begins after this serves as well; None: none does.
    """

    mailbox: str
    reason: PollReason
    retries: int = 0
    traceparent: str = ""
    requested_at: datetime | None = None

    def to_json(self) -> str:
        """As a queue message."""
        return _body(
            mailbox=self.mailbox,
            reason=self.reason.value,
            retries=self.retries,
            traceparent=self.traceparent,
            asked=self.requested_at.isoformat() if self.requested_at is not None else "",
        )

    @classmethod
    def from_json(cls, body: str) -> Poll:
        """From a queue message.

        Raises:
            MessageUnreadable: it is not one that `body` wrote.
        """
        fields = _fields(body)
        mailbox, retries = fields.get("mailbox"), fields.get("retries", 0)
        if not isinstance(mailbox, str) or not isinstance(retries, int) or fields.get("reason") not in list(PollReason):
            raise MessageUnreadable("a message on the queue `polls` names no mailbox, or no known reason")
        return cls(
            mailbox, PollReason(str(fields["reason"])), retries, str(fields.get("traceparent", "")), _time(fields)
        )


class LifecycleKind(StrEnum):
    """What Graph says of a subscription (Graph: lifecycle notifications)."""

    REAUTHORIZATION_REQUIRED = "reauthorizationRequired"
    SUBSCRIPTION_REMOVED = "subscriptionRemoved"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """What stands on the queue `lifecycle`: do something about this subscription.

    Attributes:
        mailbox: its name in the settings.
        folder: its path in the settings.
        kind: what Graph said.
        subscription: of which subscription, by Graph's id; empty: the folder has none, and one is to be created.
        retries: how often it was put back.
        traceparent: the trace that it belongs to, or empty.
    """

    mailbox: str
    folder: str
    kind: LifecycleKind
    subscription: str
    retries: int = 0
    traceparent: str = ""

    def to_json(self) -> str:
        """As a queue message."""
        return _body(
            mailbox=self.mailbox,
            folder=self.folder,
            kind=self.kind.value,
            subscription=self.subscription,
            retries=self.retries,
            traceparent=self.traceparent,
        )

    @classmethod
    def from_json(cls, body: str) -> LifecycleEvent:
        """From a queue message.

        Raises:
            MessageUnreadable: it is not one that `body` wrote.
        """
        fields = _fields(body)
        mailbox, folder, retries = fields.get("mailbox"), fields.get("folder"), fields.get("retries", 0)
        named = isinstance(mailbox, str) and isinstance(folder, str)
        if not named or not isinstance(retries, int) or fields.get("kind") not in list(LifecycleKind):
            raise MessageUnreadable("a message on the queue `lifecycle` names no folder of a mailbox, or no event")
        return cls(
            str(mailbox),
            str(folder),
            LifecycleKind(str(fields["kind"])),
            str(fields.get("subscription", "")),
            retries,
            str(fields.get("traceparent", "")),
        )


def _body(**fields: str | int) -> str:
    return json.dumps({"v": QUEUE_VERSION, **{name: value for name, value in fields.items() if value != ""}})


def _time(fields: dict[str, object]) -> datetime | None:
    try:
        asked = datetime.fromisoformat(str(fields.get("asked", "")))
    except ValueError:
        return None  # then nothing but another look will do
    return asked if asked.tzinfo is not None else None


def _fields(body: str) -> dict[str, object]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or fields.get("v") != QUEUE_VERSION:
        raise MessageUnreadable(f"a queue message is not JSON of version {QUEUE_VERSION}: sent by another release?")
    return fields
