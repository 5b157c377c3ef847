"""What Microsoft Graph sends to the notification function: change and lifecycle notifications.

https://learn.microsoft.com/graph/change-notifications-delivery-webhooks and …/change-notifications-lifecycle-events.

A notification says "look at this mailbox now" and nothing more. Nothing in it is believed but its `clientState`, and a
lifecycle notification's event and subscription, which are compared with what is recorded before anything comes of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.errors import printable
from shared.graph_notifications.client_state import verify
from shared.queue_messages import LifecycleEvent, LifecycleKind, Poll, PollReason

LARGEST_BODY: Final = 256 * 1024
"""Octets of a notification; a larger one is none of Graph's."""

MOST_SUBSCRIPTIONS: Final = 2
"""Subscriptions of a folder that an event of one request may be about: one, and the one that replaces it."""

LONGEST_TOKEN: Final = 1024
"""Octets of a validation token."""


class InvalidNotification(Exception):
    """What came is no notification.

    Attributes:
        status: what to answer, of HTTP.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class FolderRef:
    """A folder of a mailbox, by their names in the settings."""

    mailbox: str
    folder: str


@dataclass(frozen=True, slots=True)
class ParsedNotifications:
    """What comes of a request.

    Attributes:
        polls: one look for each mailbox that is meant.
        lifecycle: what is to be done about subscriptions.
        dropped: entries whose state proves nothing, or is about no mailbox of ours.
        unknown: lifecycle events that are proven, and that nobody has heard of.
    """

    polls: tuple[Poll, ...] = ()
    lifecycle: tuple[LifecycleEvent, ...] = ()
    dropped: int = 0
    unknown: tuple[str, ...] = ()


def validation_response(token: str) -> str:
    """What a validation request is to be answered with: the token, as it came (Graph: notificationUrl validation).

    Raises:
        InvalidNotification: it is none that Graph would send; whoever sent it wants to see it on a page of ours.
    """
    if not token or len(token.encode("utf-8", "surrogatepass")) > LONGEST_TOKEN or not token.isprintable():
        raise InvalidNotification(400, "a validation token that is empty, too long, or holds control characters")
    return token


def parse_notifications(
    body: bytes, keys: Sequence[str], places: Mapping[str, FolderRef], *, now: datetime, traceparent: str = ""
) -> ParsedNotifications:
    """Read a request's body.

    Args:
        body: as it came.
        keys: any of them proves a state.
        places: by what `client_state.place` gave.
        now: when it came.
        traceparent: the trace that what comes of it belongs to.

    Raises:
        InvalidNotification: it is too large, or not the JSON that Graph sends.
    """
    polls: dict[str, Poll] = {}
    lifecycle: dict[tuple[FolderRef, LifecycleKind], dict[LifecycleEvent, None]] = {}
    dropped = 0
    unknown: list[str] = []
    for entry in _entries(body):
        where = places.get(verify(entry.get("clientState"), keys) or "")
        if where is None:
            dropped += 1
            continue
        kind = entry.get("lifecycleEvent")
        if kind is None:
            polls[where.mailbox] = Poll(where.mailbox, PollReason.NOTIFIED, traceparent=traceparent, requested_at=now)
        elif kind in list(LifecycleKind):
            subscription = printable(entry.get("subscriptionId") or "")
            event = LifecycleEvent(
                where.mailbox, where.folder, LifecycleKind(kind), subscription, traceparent=traceparent
            )
            events = lifecycle.setdefault((where, event.kind), {})
            # A missed notification is answered by a poll, whichever subscription missed it.
            if len(events) < (1 if event.kind is LifecycleKind.MISSED else MOST_SUBSCRIPTIONS):
                events[event] = None
        else:
            unknown.append(printable(kind, 60))
    coalesced = tuple(event for events in lifecycle.values() for event in events)
    return ParsedNotifications(tuple(polls.values()), coalesced, dropped, tuple(dict.fromkeys(unknown)))


def _entries(body: bytes) -> Sequence[dict[str, Any]]:
    if len(body) > LARGEST_BODY:
        raise InvalidNotification(413, f"a body of {len(body)} octets")
    try:
        entries = json.loads(body)["value"]
    except (ValueError, KeyError, TypeError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidNotification(400, "a body that is not the JSON of a notification")
    return entries
