"""What is announced and not done yet: a table beside the queue, so that a lost queue message is announced again.

An arrival that was stored stands there under its own key; each replay of it under one of its own, since it has
another meaning, and ends at another time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from shared.errors import WriteConflict
from shared.keys import digest
from shared.queue_messages import ReplayRequest, RouteRequest
from shared.storage.base import QueueName, Record, Storage, Table, Values

_log = logging.getLogger("mailroom.sort")


def outbox_key(announcement: RouteRequest) -> str:
    """The key of the entry of what was announced."""
    replay = announcement.replay
    if replay is None:
        return announcement.arrival
    return digest("replay", announcement.arrival, replay.record, replay.reissue)


def republish_replays(stores: Storage, announcements: Iterable[tuple[RouteRequest, str]], now: datetime) -> None:
    """Put replays on the table, then on the queue. There already is fine.

    Args:
        stores: where to.
        announcements: with a replay each, and the mailbox of the arrival.
        now: since when they are pending.
    """
    entries: dict[str, Values] = {}
    bodies = []
    for announcement, mailbox in announcements:
        replay = announcement.replay
        assert replay is not None
        entries[outbox_key(announcement)] = {
            "mailbox": mailbox,
            "stored_at": now,
            "arrival": announcement.arrival,
            "replay": replay.record,
            "again": replay.reissue,
        }
        bodies.append(announcement.to_json())
    if bodies:
        stores.records.create_many(Table.OUTBOX, entries)
        stores.queues[QueueName.ROUTE_REQUESTS].put_many(bodies)


def republish_overdue(stores: Storage, older_than: timedelta, now: datetime) -> int:
    """Announce again what has been pending for so long. Gives how many there were."""
    waiting = []
    for record in stores.records.scan(Table.OUTBOX):
        since = record.values.get("announced_at", record.values["stored_at"])
        if not isinstance(since, datetime) or since > now - older_than:
            continue
        with suppress(WriteConflict):  # another sweeps as well, or it is routed by now
            stores.records.merge(Table.OUTBOX, record.key, {"announced_at": now}, etag=record.etag)
            waiting.append(_announcement(record).to_json())
    if waiting:
        _log.warning("%d arrivals have been waiting for over %s; they are announced again", len(waiting), older_than)
        stores.queues[QueueName.ROUTE_REQUESTS].put_many(waiting)
    return len(waiting)


def _announcement(record: Record) -> RouteRequest:
    values = record.values
    trace = str(values.get("traceparent", ""))
    if not values.get("replay"):
        return RouteRequest(record.key, retries=1, traceparent=trace)  # it may have been tried
    replay = ReplayRequest(str(values["replay"]), str(values.get("again", "")))
    return RouteRequest(str(values["arrival"]), traceparent=trace, replay=replay)
