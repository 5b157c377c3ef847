"""The way out: from a stored arrival to its results and records (docs/receipts.md, "Out", "When something fails").

Sorting the same arrival twice, one after the other or at once, leaves what sorting it once leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from shared.backoff import service_backoff
from shared.clock import Now, utc_now
from shared.dispatch.artifacts import roll_back
from shared.dispatch.attempt import ROUTABLE, RoutingAttempt, settle_records
from shared.dispatch.outbox import outbox_key, republish_overdue
from shared.dispatch.raw import open_raw
from shared.dispatch.record_resolution import resolved_record_path
from shared.dispatch.routing_input import to_routing_input
from shared.documents.schema import Outcome
from shared.documents.writer import create_record, failed_record, overwrite_record
from shared.errors import MailroomError, MessageMissing, ServiceUnavailable, TransientError, printable
from shared.mime.parser import Message
from shared.observability import log_context, metrics, tracing
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt, State
from shared.routing.decision import decide
from shared.routing.route_table import RouteTable
from shared.storage.base import QueueName, Record, Storage, Table, Values

SWEEP_AGE = timedelta(hours=1)
"""How long an arrival may be pending before it is announced again."""

MOST_RETRIES = 8
"""Times that an arrival is put back on its queue, an hour in all: what is pending longer is the sweep's."""

Sorted = Outcome | Literal["before", "failed"]

_log = logging.getLogger("mailroom.sort")


@dataclass(frozen=True, slots=True)
class MessageRouter:
    """Routes arrivals.

    Attributes:
        stores: where they are, and where results go.
        tables: gives a mailbox's routes; None while its settings or routes are wrong, so that its mail waits.
        read: bytes in, message out; never raises.
        now: the time.
    """

    stores: Storage
    tables: Callable[[str], RouteTable | None]
    read: Callable[..., Message]
    now: Now = utc_now

    def route(self, announcement: RouteRequest, *, tried: bool = False) -> Sorted:
        """Give a stored message to everybody whom the routes name.

        Args:
            announcement: of it.
            tried: this is not the first delivery of the announcement.

        Raises:
            MessageMissing: the receipt or the bytes are not there.
            TransientError: a service is ill; nothing is counted against the message.
        """
        record = self.stores.records.get(Table.RECEIPTS, announcement.arrival)
        if record is None:
            raise MessageMissing(f"arrival {announcement.arrival} was announced and has no receipt")
        with tracing.set_attributes(mailbox=str(record.values["mailbox"]), message=str(record.values["message"])):
            return self._sort(announcement, record, tried=tried)

    def _sort(self, announcement: RouteRequest, record: Record, *, tried: bool) -> Sorted:
        receipt = Receipt.from_record(record)
        if receipt.state is State.FAILED and announcement.replay is None:
            self.dead_letter(announcement)  # its record may be what the worker before us died over
            return "failed"
        if receipt.state is State.ERASED:
            roll_back(self.stores, receipt)  # what a worker before us gave, and died over
        if receipt.state is not State.STORED and (announcement.replay is None or receipt.state not in ROUTABLE):
            self.stores.records.delete_many(Table.OUTBOX, [outbox_key(announcement)])
            return "before"
        table = self.tables(receipt.mailbox)
        if table is None:
            raise ServiceUnavailable(
                f"mailbox {receipt.mailbox}: its settings or routes are wrong; its mail is routed once they are right",
                retry_after=300,
            )
        with open_raw(self.stores.blobs, receipt.message, size=receipt.size) as data:
            message = self.read(data)
            decision = decide(to_routing_input(message, receipt.folder, table.trust_policy), table)
            giving = RoutingAttempt(self.stores, self.now, record, announcement, tried or announcement.retries > 0)
            outcome = giving.run(message, decision, table)
        anew = ", routed anew" if announcement.replay is not None else ""
        with log_context.bind(**({"route": giving.routes} if giving.routes else {})):
            _log.info("message %s of mailbox %s%s: %s", receipt.message, receipt.mailbox, anew, outcome)
        return outcome

    def requeue(self, announcement: RouteRequest, error: TransientError) -> None:
        """Announce again, after a pause, what could not be routed because a service was ill.

        Raises:
            TransientError: the queue is ill as well; the host's own retry takes over.
        """
        tracing.failed(error)
        metrics.failure(error, "message")
        if announcement.retries >= MOST_RETRIES:
            _log.warning("arrival %s: a service is still ill, the sweep goes on: %s", announcement.arrival, error)
            return
        pause = service_backoff(error, announcement.retries)
        _log.warning("arrival %s: a service is ill, another try in %d s: %s", announcement.arrival, pause, error)
        self._announce_later(announcement, pause)

    def record_error(self, announcement: RouteRequest, error: Exception) -> None:
        """Note with the receipt why a try failed, for the record that the last one leaves."""
        metrics.failure(error, "message")
        record = self.stores.records.get(Table.RECEIPTS, announcement.arrival)
        # One that is forgotten names nothing any more, and an error may name the message.
        if record is not None and Receipt.from_record(record).state is not State.ERASED:
            # The text of an error that is not ours may quote the message.
            text = printable(error, 1000) if isinstance(error, MailroomError) else f"a fault: {type(error).__name__}"
            self.stores.records.merge(Table.RECEIPTS, announcement.arrival, {"last_error": text})

    def dead_letter(self, announcement: RouteRequest) -> str | None:
        """Record an arrival that five tries could not route (rule 8.4). Gives the record's path.

        Its raw bytes stay, and its receipt says `failed`; but what had been routed before and failed in a replay stays
        what it was, and its record says that the replay failed. None if there is nothing to record: it has no receipt,
        or was routed after all.
        """
        record = self.stores.records.get(Table.RECEIPTS, announcement.arrival)
        if record is None:
            metrics.poisoned.add(1, {"mailbox": "unknown"})
            _log.error("message-failed: arrival %s has no receipt; nothing can be recorded", announcement.arrival)
            self.stores.records.delete_many(Table.OUTBOX, [outbox_key(announcement)])
            return None
        receipt = Receipt.from_record(record)
        replayed = announcement.replay is not None
        if receipt.state not in ((State.STORED, State.FAILED) if not replayed else ROUTABLE):
            return None
        untried = receipt.state is State.STORED or replayed
        if untried and not receipt.last_error and announcement.retries < MOST_RETRIES:
            # No try came so far as to fail: the app did not start, or was stopped. That is not the message's fault.
            self._announce_later(announcement, service_backoff(TransientError(""), 1))
            return None
        if receipt.state is State.STORED:
            # If it was routed since we read the receipt, this raises, and the next try sees that it was.
            values: Values = {"state": State.FAILED.value, "outcome": "failed"}
            self.stores.records.merge(Table.RECEIPTS, receipt.arrival, values, etag=record.etag)
        path = resolved_record_path("failed", receipt)
        error = receipt.last_error or "the worker was stopped, or its time ran out, at every try"
        (overwrite_record if replayed else create_record)(self.stores.blobs, path, failed_record(receipt, error))
        after = None if replayed else self.stores.records.get(Table.RECEIPTS, receipt.arrival)
        if after is not None:
            settle_records(self.stores, after, self.now())  # another announcement of the same may have come through
        self.stores.blobs.settle()
        self.stores.records.delete_many(Table.OUTBOX, {receipt.arrival, outbox_key(announcement)})
        metrics.poisoned.add(1, {"mailbox": receipt.mailbox})
        with tracing.set_attributes(mailbox=receipt.mailbox, message=receipt.message):
            _log.error("message-failed: message %s of mailbox %s: %s", receipt.message, receipt.mailbox, error)
        return path

    def _announce_later(self, announcement: RouteRequest, pause: float) -> None:
        again = replace(announcement, retries=announcement.retries + 1)
        self.stores.queues[QueueName.ROUTE_REQUESTS].put_many([again.to_json()], delay=pause)

    def sweep(self, older_than: timedelta = SWEEP_AGE) -> int:
        """Announce again what has been pending for so long. Gives how many there were."""
        return republish_overdue(self.stores, older_than, self.now())
