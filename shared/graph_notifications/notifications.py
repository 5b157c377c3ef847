"""Parsing of Microsoft Graph's change and lifecycle notifications.

https://learn.microsoft.com/graph/change-notifications-delivery-webhooks and
https://learn.microsoft.com/graph/change-notifications-lifecycle-events.

A change notification only triggers a poll of the mailbox. Only its `clientState` is trusted. A lifecycle notification's
event and subscription id are compared with the subscription record before anything is done.
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

MAX_BODY_SIZE: Final = 256 * 1024
"""Maximum size of a request in bytes; Graph's are smaller."""

MAX_SUBSCRIPTIONS: Final = 2
"""Subscriptions of one folder that a request's events may be about: the current one and its replacement."""

MAX_TOKEN_SIZE: Final = 1024
"""Maximum size of a validation token in bytes."""


class InvalidNotification(Exception):
    """The request is not a notification.

    Attributes:
        status: HTTP status of the response.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class FolderRef:
    """A folder of a mailbox, by their names in the settings."""

    mailbox: str
    folder: str


@dataclass(frozen=True, slots=True)
class ParsedNotifications:
    """The work that a request's notifications ask for.

    Attributes:
        polls: one poll for each mailbox with a change notification.
        lifecycle: lifecycle events to handle.
        dropped: number of entries whose `clientState` is not proven, or names a folder that is not configured.
        unknown: kinds of lifecycle events that Mailroom does not know, from proven entries.
    """

    polls: tuple[Poll, ...] = ()
    lifecycle: tuple[LifecycleEvent, ...] = ()
    dropped: int = 0
    unknown: tuple[str, ...] = ()


def validation_response(token: str) -> str:
    """Return the response to a validation request: its token (Graph: notificationUrl validation).

    Raises:
        InvalidNotification: Graph would not send this token. It is not echoed, since a page must not show it.
    """
    if not token or len(token.encode("utf-8", "surrogatepass")) > MAX_TOKEN_SIZE or not token.isprintable():
        raise InvalidNotification(400, "the validation token is empty, too long, or contains control characters")
    return token


def parse_notifications(
    body: bytes, keys: Sequence[str], folders: Mapping[str, FolderRef], *, now: datetime, traceparent: str = ""
) -> ParsedNotifications:
    """Parse the body of a request.

    Args:
        body: the request's body.
        keys: keys of which any may prove a `clientState`.
        folders: the configured folders by `folder_token`.
        now: when the request arrived.
        traceparent: the trace that the resulting work belongs to.

    Raises:
        InvalidNotification: the body is too large, or not the JSON that Graph sends.
    """
    polls: dict[str, Poll] = {}
    lifecycle: dict[tuple[FolderRef, LifecycleKind], dict[LifecycleEvent, None]] = {}
    dropped = 0
    unknown: list[str] = []
    for entry in _entries(body):
        ref = folders.get(verify(entry.get("clientState"), keys) or "")
        if ref is None:
            dropped += 1
            continue
        kind = entry.get("lifecycleEvent")
        if kind is None:
            polls[ref.mailbox] = Poll(ref.mailbox, PollReason.NOTIFIED, traceparent=traceparent, requested_at=now)
        elif kind in list(LifecycleKind):
            subscription = printable(entry.get("subscriptionId") or "")
            event = LifecycleEvent(ref.mailbox, ref.folder, LifecycleKind(kind), subscription, traceparent=traceparent)
            events = lifecycle.setdefault((ref, event.kind), {})
            # A missed notification causes a poll, which serves for every subscription.
            if len(events) < (1 if event.kind is LifecycleKind.MISSED else MAX_SUBSCRIPTIONS):
                events[event] = None
        else:
            unknown.append(printable(kind, 60))
    coalesced = tuple(event for events in lifecycle.values() for event in events)
    return ParsedNotifications(tuple(polls.values()), coalesced, dropped, tuple(dict.fromkeys(unknown)))


def _entries(body: bytes) -> Sequence[dict[str, Any]]:
    if len(body) > MAX_BODY_SIZE:
        raise InvalidNotification(413, f"the body has {len(body)} bytes, more than {MAX_BODY_SIZE}")
    try:
        entries = json.loads(body)["value"]
    except (ValueError, KeyError, TypeError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidNotification(400, "the body is not the JSON of a notification")
    return entries
