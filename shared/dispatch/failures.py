"""What follows when an attempt to route a message fails: a retry later, or a dead letter
(docs/explanation/receipts.md, "When something fails").
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from shared.backoff import service_backoff
from shared.dispatch.outbox import OutboxEntry
from shared.dispatch.record_resolution import resolve_outdated_records, resolved_record_path
from shared.documents.writer import create_record, overwrite_record, to_failed_record
from shared.errors import MailroomError, TransientError, WriteConflict, printable
from shared.observability import log_context, metrics, tracing
from shared.observability.log_context import scrub, short_id
from shared.observability.rate_limited_log import RateLimitedLog
from shared.queue_messages import RouteRequest
from shared.receipt_index import ReceiptIndex
from shared.receipts import ROUTABLE_STATES, Receipt, State
from shared.storage.base import Change, Merge, QueueName, Storage, Table, Values

MAX_RETRIES = 8
"""Times that a route request is requeued after transient errors, an hour in all; then the sweep publishes it again."""

RETRY_SECONDS: Final = 60.0
"""Seconds until the next try of an arrival that failed in a batch: the host's `visibilityTimeout`."""

MAX_RECORDINGS: Final = 5
"""Attempts to record an error in a receipt that other workers change meanwhile."""

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
    name = short_id(request.outbox)
    if request.retries >= MAX_RETRIES:
        _log.warning("route request %s: still a transient error; `sweep` retries later: %s", name, error)
        return
    backoff = service_backoff(error, request.retries)
    # A service that is unavailable, or an invalid route, concerns every message that waits.
    count = errors.add(1, now)
    others = f" (and {count - 1} more since the last such line)" if count > 1 else ""
    level = logging.WARNING if count else logging.DEBUG
    _log.log(level, "route request %s: transient error, next retry in %d s: %s%s", name, backoff, error, others)
    _publish_later(storage, request, backoff)


def requeue_each(storage: Storage, request: RouteRequest, entries: Iterable[OutboxEntry]) -> None:
    """Publish a route request of its own for each arrival of a batch, at once."""
    _publish(storage, request, entries, 0)


def requeue_failed(
    storage: Storage,
    request: RouteRequest,
    failed: Sequence[tuple[OutboxEntry, Exception]],
    errors: RateLimitedLog,
    now: datetime,
) -> None:
    """Publish a route request of its own for each arrival of a batch that failed.

    After a transient error it is published with backoff, without a count of the try. Another error is recorded in the
    receipt, and the request is published as the host would: a minute later, with five tries. If there are several
    transient errors and no other one, a service was unavailable: the batch's request is published again.

    Args:
        storage: the storage.
        request: the route request of the batch.
        failed: the entries of the arrivals, each with its error.
        errors: counts the transient errors, and decides which are logged at level WARNING.
        now: the current time.

    Raises:
        TransientError: storage is unavailable; the host's own retry applies to the batch.
    """
    transient = [error for _, error in failed if isinstance(error, TransientError)]
    if len(transient) == len(failed) > 1:
        requeue(storage, request, transient[0], errors, now)
        return
    for entry, error in failed:
        alone = RouteRequest(entry.key, request.retries)
        if isinstance(error, TransientError):
            requeue(storage, alone, error, errors, now)
        else:
            record_error(storage, entry.arrival, error)
            _log.warning(
                "arrival %s: error, next try in %d s: %s", short_id(entry.arrival), RETRY_SECONDS, scrub(error)
            )
            _publish(storage, request, [entry], RETRY_SECONDS)


def record_error(storage: Storage, arrival: str, error: Exception) -> None:
    """Record in the receipt why an attempt failed, for the dead letter that the last attempt leaves."""
    metrics.count_failure(error, "message")
    # The text of an error that is not ours may quote the message.
    is_ours = isinstance(error, MailroomError)
    text = printable(error, 1000) if is_ours else f"an unexpected error: {type(error).__name__}"
    for _ in range(MAX_RECORDINGS):
        record = storage.records.get(Table.RECEIPTS, arrival)
        # An erased arrival's receipt must not name anything, and an error may name the message.
        if record is None or Receipt.from_record(record).state is State.ERASED:
            return
        if storage.records.commit([Merge(Table.RECEIPTS, arrival, {"last_error": text}, record.etag)]):
            return


def dead_letter(storage: Storage, entry: OutboxEntry, retries: int, now: datetime) -> str | None:
    """Record an arrival that five attempts could not route (rule 8.4). Return the record's path.

    Its raw bytes stay, and its state becomes `failed`. An arrival that was routed before and fails in a replay
    keeps its state; its record says that the replay failed. Return None if there is nothing to record: it has no
    receipt, or was routed after all.

    The entry is deleted last. Until then it is marked as failed: the next attempt continues here.

    Args:
        storage: the storage.
        entry: the arrival's entry.
        retries: the `retries` of the route request.
        now: the current time.
    """
    record = storage.records.get(Table.RECEIPTS, entry.arrival)
    if record is None:
        metrics.poisoned.add(1, {"mailbox": "unknown"})
        _log.error("message-failed: arrival %s has no receipt; nothing can be recorded", short_id(entry.arrival))
        storage.records.delete_many(Table.OUTBOX, [entry.key])
        return None
    receipt = Receipt.from_record(record)
    is_replay = entry.replay is not None
    if receipt.state not in ((State.STORED, State.FAILED) if not is_replay else ROUTABLE_STATES):
        storage.records.delete_many(Table.OUTBOX, [entry.key])
        return None
    is_pending = receipt.state is State.STORED or is_replay
    if is_pending and not receipt.last_error and retries < MAX_RETRIES:
        # No attempt failed because of the message: the app did not start, or was stopped.
        _publish(storage, RouteRequest(entry.key, retries), [entry], service_backoff(TransientError(""), 1))
        return None
    if receipt.state is State.STORED:
        values: Values = {"state": State.FAILED.value, "outcome": "failed"}
        failed: list[Change] = [
            Merge(Table.RECEIPTS, receipt.arrival, values, record.etag),
            Merge(Table.OUTBOX, receipt.outbox, {"state": State.FAILED.value}),
            *ReceiptIndex(storage.records).changes(receipt, replace(receipt, state=State.FAILED), now),
        ]
        if not storage.records.commit(failed):
            raise WriteConflict(f"arrival {short_id(receipt.arrival)} was changed by another worker; it is read again")
        metrics.outcomes.add(1, receipt.outcome_change("failed"))
    path = resolved_record_path("failed", receipt)
    error = receipt.last_error or "every attempt was stopped or timed out before it ended"
    (overwrite_record if is_replay else create_record)(storage.blobs, path, to_failed_record(receipt, error))
    latest = None if is_replay else storage.records.get(Table.RECEIPTS, receipt.arrival)
    if latest is not None:
        # Another route request for the same arrival may have succeeded.
        resolve_outdated_records(storage, latest, now)
    storage.blobs.flush()
    storage.records.delete_many(Table.OUTBOX, {receipt.outbox, entry.key} - {""})
    metrics.poisoned.add(1, {"mailbox": receipt.mailbox})
    with log_context.bind(mailbox=receipt.mailbox, message=receipt.message):
        message = short_id(receipt.message)
        _log.error("message-failed: message %s of mailbox %s: %s", message, receipt.mailbox, error)
    return path


def _publish(storage: Storage, request: RouteRequest, entries: Iterable[OutboxEntry], delay: float) -> None:
    """Publish a route request of its own for each entry."""
    bodies = [RouteRequest(entry.key, request.retries + 1).to_json() for entry in entries]
    storage.queues[QueueName.ROUTE_REQUESTS].put_many(bodies, delay=delay)


def _publish_later(storage: Storage, request: RouteRequest, backoff: float) -> None:
    retry = replace(request, retries=request.retries + 1)
    storage.queues[QueueName.ROUTE_REQUESTS].put_many([retry.to_json()], delay=backoff)
