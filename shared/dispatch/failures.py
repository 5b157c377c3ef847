"""What follows when an attempt to route a message fails: a retry later, or a dead letter
(docs/explanation/receipts.md, "When something fails").
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from shared.backoff import service_backoff
from shared.dispatch.record_resolution import resolve_outdated_records, resolved_record_path
from shared.documents.writer import create_record, overwrite_record, to_failed_record
from shared.errors import MailroomError, TransientError, printable
from shared.observability import metrics, tracing
from shared.observability.log_context import short_id
from shared.observability.rate_limited_log import RateLimitedLog
from shared.queue_messages import RouteRequest
from shared.receipts import ROUTABLE_STATES, Receipt, State
from shared.storage.base import QueueName, Storage, Table, Values

MAX_RETRIES = 8
"""Times that a route request is requeued after transient errors, an hour in all; then the sweep publishes it again."""

_log = logging.getLogger("mailroom.dispatch")


def requeue(
    storage: Storage, request: RouteRequest, error: TransientError, errors: RateLimitedLog, now: datetime
) -> None:
    """Publish a route request again, with backoff, after a transient error.

    Args:
    storage: the storage.
    request: the route request.
    error: the error.
    errors: counts the transient errors, and decides which are logged at level WARNING.
    now: the current time.

    Raises:
        TransientError: the queue is unavailable as well; the host's own retry applies.
    """
    tracing.failed(error)
    metrics.count_failure(error, "message")
    arrival = short_id(request.arrival)
    if request.retries >= MAX_RETRIES:
        _log.warning("arrival %s: still a transient error; `sweep` retries later: %s", arrival, error)
        return
    backoff = service_backoff(error, request.retries)
    # A service that is unavailable, or an invalid route, concerns every message that waits.
    count = errors.add(1, now)
    others = f" (and {count - 1} more since the last such line)" if count > 1 else ""
    level = logging.WARNING if count else logging.DEBUG
    _log.log(level, "arrival %s: transient error, next retry in %d s: %s%s", arrival, backoff, error, others)
    _publish_later(storage, request, backoff)


def record_error(storage: Storage, request: RouteRequest, error: Exception) -> None:
    """Record in the receipt why an attempt failed, for the dead letter that the last attempt leaves."""
    metrics.count_failure(error, "message")
    record = storage.records.get(Table.RECEIPTS, request.arrival)
    # An erased arrival's receipt must not name anything, and an error may name the message.
    if record is not None and Receipt.from_record(record).state is not State.ERASED:
        # The text of an error that is not ours may quote the message.
        is_ours = isinstance(error, MailroomError)
        text = printable(error, 1000) if is_ours else f"an unexpected error: {type(error).__name__}"
        storage.records.merge(Table.RECEIPTS, request.arrival, {"last_error": text})


def dead_letter(storage: Storage, request: RouteRequest, now: datetime) -> str | None:
    """Record an arrival that five attempts could not route (rule 8.4). Return the record's path.

    Its raw bytes stay, and its state becomes `failed`. An arrival that was routed before and fails in a replay
    keeps its state; its record says that the replay failed. Return None if there is nothing to record: it has no
    receipt, or was routed after all.
    """
    record = storage.records.get(Table.RECEIPTS, request.arrival)
    if record is None:
        metrics.poisoned.add(1, {"mailbox": "unknown"})
        _log.error("message-failed: arrival %s has no receipt; nothing can be recorded", short_id(request.arrival))
        storage.records.delete_many(Table.OUTBOX, [request.outbox_key])
        return None
    receipt = Receipt.from_record(record)
    is_replay = request.replay is not None
    if receipt.state not in ((State.STORED, State.FAILED) if not is_replay else ROUTABLE_STATES):
        return None
    is_pending = receipt.state is State.STORED or is_replay
    if is_pending and not receipt.last_error and request.retries < MAX_RETRIES:
        # No attempt failed because of the message: the app did not start, or was stopped.
        _publish_later(storage, request, service_backoff(TransientError(""), 1))
        return None
    if receipt.state is State.STORED:
        # If it was routed since we read the receipt, this raises, and the next attempt finds it routed.
        values: Values = {"state": State.FAILED.value, "outcome": "failed"}
        storage.records.merge(Table.RECEIPTS, receipt.arrival, values, etag=record.etag)
        metrics.outcomes.add(1, receipt.outcome_change("failed"))
    path = resolved_record_path("failed", receipt)
    error = receipt.last_error or "every attempt was stopped or timed out before it ended"
    (overwrite_record if is_replay else create_record)(storage.blobs, path, to_failed_record(receipt, error))
    latest = None if is_replay else storage.records.get(Table.RECEIPTS, receipt.arrival)
    if latest is not None:
        # Another route request for the same arrival may have succeeded.
        resolve_outdated_records(storage, latest, now)
    storage.blobs.flush()
    storage.records.delete_many(Table.OUTBOX, {receipt.arrival, request.outbox_key})
    metrics.poisoned.add(1, {"mailbox": receipt.mailbox})
    with tracing.set_attributes(mailbox=receipt.mailbox, message=receipt.message):
        message = short_id(receipt.message)
        _log.error("message-failed: message %s of mailbox %s: %s", message, receipt.mailbox, error)
    return path


def _publish_later(storage: Storage, request: RouteRequest, backoff: float) -> None:
    retry = replace(request, retries=request.retries + 1)
    storage.queues[QueueName.ROUTE_REQUESTS].put_many([retry.to_json()], delay=backoff)
