"""The way out: from a stored arrival to its results and records (docs/receipts.md, "Out" and "Failure").

Sorting the same arrival twice, one after the other or at once, leaves what sorting it once leaves.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from shared.arriving import as_bytes, described
from shared.asked import hints_of, mail_of, seen_of, thread_of
from shared.claims import Claims
from shared.clock import Now, utc_now
from shared.conversations import Conversations
from shared.documents import Documents
from shared.errors import MailroomError, MessageMissing, RecordChanged, ServiceUnavailable, TryAgain, quoted
from shared.layout import record_path, result_path
from shared.mail.message import Message
from shared.pauses import service_pause
from shared.queued import Announcement
from shared.raw import opened
from shared.receipts import Receipt, State
from shared.routing.decision import decide
from shared.routing.fingerprints import fingerprints
from shared.routing.model import Decision
from shared.routing.routes import RouteTable
from shared.storage.protocol import QueueName, Stores, Table, Values

SWEEP_AGE = timedelta(hours=1)
"""How long an arrival may be pending before it is announced again."""

OUTCOME_LIMIT = 100_000
"""Characters of outcomes in a receipt; for the rest it tells how many there were. An entity holds 1 MiB."""

MOST_RETRIES = 8
"""Times that an arrival is put back on its queue, an hour in all: what is pending longer is the sweep's."""

Sorted = Literal["routed", "unhandled", "duplicate", "blocked", "before", "failed"]

_log = logging.getLogger("mailroom.sort")


@dataclass(frozen=True, slots=True)
class Sorter:
    """Routes arrivals.

    Attributes:
        stores: where they are, and where results go.
        tables: gives a mailbox's routes; None while its settings are wrong, so that its mail waits.
        read: bytes in, message out; never raises.
        now: the time.
    """

    stores: Stores
    tables: Callable[[str], RouteTable | None]
    read: Callable[..., Message]
    now: Now = utc_now

    def sort(self, announcement: Announcement) -> Sorted:
        """Give a stored message to everybody whom the routes name.

        Raises:
            MessageMissing: the receipt or the bytes are not there.
            TryAgain: a service is ill; nothing is counted against the message.
        """
        record = self.stores.records.get(Table.RECEIPTS, announcement.arrival)
        if record is None:
            raise MessageMissing(f"arrival {announcement.arrival} was announced and has no receipt")
        receipt = Receipt.of(record)
        if receipt.state is State.FAILED:
            self.give_up(announcement)  # its record may be what the worker before us died over
            return "failed"
        if receipt.state is not State.STORED:
            self.stores.records.delete_many(Table.PENDING, [receipt.arrival])
            return "before"
        table = self.tables(receipt.mailbox)
        if table is None:
            raise ServiceUnavailable(
                f"mailbox {receipt.mailbox}: its settings are wrong; its mail is routed once they are right",
                retry_after=300,
            )
        with opened(self.stores.blobs, receipt.message, size=receipt.size) as data:
            message = self.read(data)
            decision = decide(mail_of(message, receipt.folder, table.reading), table)
            outcome = self._give(receipt, message, decision, table)
        _log.info("message %s of mailbox %s: %s", receipt.message, receipt.mailbox, outcome)
        return outcome

    def _give(self, receipt: Receipt, message: Message, decision: Decision, table: RouteTable) -> Sorted:
        thread = thread_of(message, decision, by_tag_alone=table.reading.by_tag_alone)
        conversations = Conversations(self.stores.records)
        conversation = conversations.of(thread, receipt.message)
        hints = hints_of(message, table.reading)
        documents = Documents(self.stores.blobs, receipt, message, conversation, hints)
        prints = fingerprints(receipt.message, seen_of(message))
        claims = Claims(self.stores.records, receipt)
        outcomes: dict[str, str] = {}
        duplicates: list[dict[str, object]] = []
        for match in decision.matches:
            path = result_path(match.route, receipt.stored_at, receipt.message, match.recipient)
            claim = claims.take(prints, match.recipient, path)
            if claim.owner == receipt.arrival:
                documents.result(match, claim.result)
                outcomes[match.recipient] = f"routed {claim.result}"
            else:
                duplicates.append({"recipient": match.recipient, "route": match.route, **claim.as_original()})
                outcomes[match.recipient] = f"duplicate {claim.owner}"

        fate: Sorted = "routed" if len(outcomes) > len(duplicates) else "duplicate"
        if duplicates:
            documents.record("duplicates", {"duplicates": duplicates})
        if decision.blocked_by is not None:
            fate = "blocked"
            documents.record("blocked", {"blocked_by": decision.blocked_by})
            outcomes["*"] = f"blocked {decision.blocked_by}"
        if decision.unhandled is not None:
            fate = "unhandled"
            documents.unhandled(decision)
            outcomes["*"] = f"unhandled {decision.unhandled}"

        self.stores.blobs.settle()
        conversations.register(thread, conversation)
        values: Values = {
            "state": State.ROUTED.value,
            "fate": fate,
            "conversation": conversation,
            "outcomes": _told(outcomes),
            "routed_at": self.now(),
        }
        self.stores.records.merge(Table.RECEIPTS, receipt.arrival, values)
        self.stores.records.delete_many(Table.PENDING, [receipt.arrival])
        return fate

    def put_back(self, announcement: Announcement, error: TryAgain) -> None:
        """Announce again, after a pause, what could not be routed because a service was ill.

        Raises:
            TryAgain: the queue is ill as well; the host's own retry takes over.
        """
        if announcement.retries >= MOST_RETRIES:
            _log.warning("arrival %s: a service is still ill, the sweep goes on: %s", announcement.arrival, error)
            return
        pause = service_pause(error, announcement.retries)
        _log.warning("arrival %s: a service is ill, another try in %d s: %s", announcement.arrival, pause, error)
        again = Announcement(announcement.arrival, announcement.retries + 1, announcement.traceparent)
        self.stores.queues[QueueName.ARRIVALS].put_many([again.body()], delay=pause)

    def note_error(self, announcement: Announcement, error: Exception) -> None:
        """Note with the receipt why a try failed, for the record that the last one leaves."""
        if self.stores.records.get(Table.RECEIPTS, announcement.arrival) is not None:
            # The text of an error that is not ours may quote the message.
            text = quoted(error, 1000) if isinstance(error, MailroomError) else f"a fault: {type(error).__name__}"
            self.stores.records.merge(Table.RECEIPTS, announcement.arrival, {"last_error": text})

    def give_up(self, announcement: Announcement) -> str | None:
        """Record an arrival that five tries could not route (rule 8.4). Gives the record's path.

        Its raw bytes stay, and its receipt says `failed`. None if there is nothing to record: it has no receipt, or
        was routed after all.
        """
        record = self.stores.records.get(Table.RECEIPTS, announcement.arrival)
        if record is None:
            _log.error("message-failed: arrival %s has no receipt; nothing can be recorded", announcement.arrival)
            self.stores.records.delete_many(Table.PENDING, [announcement.arrival])
            return None
        receipt = Receipt.of(record)
        if receipt.state not in (State.STORED, State.FAILED):
            return None
        if receipt.state is State.STORED and not receipt.last_error and announcement.retries < MOST_RETRIES:
            # No try came so far as to fail: the app did not start, or was stopped. That is not the message's fault.
            again = Announcement(announcement.arrival, announcement.retries + 1, announcement.traceparent)
            self.stores.queues[QueueName.ARRIVALS].put_many([again.body()], delay=service_pause(TryAgain(""), 1))
            return None
        if receipt.state is State.STORED:
            # If it was routed since we read the receipt, this raises, and the next try sees that it was.
            values: Values = {"state": State.FAILED.value, "fate": "failed"}
            self.stores.records.merge(Table.RECEIPTS, receipt.arrival, values, etag=record.etag)
        path = record_path("failed", receipt.mailbox, receipt.stored_at, receipt.message, receipt.arrival)
        error = receipt.last_error or "the worker was stopped, or its time ran out, at every try"
        told = {
            "schema": "mailroom/failed/1",
            "message": receipt.message,
            "arrival": described(receipt),
            "error": error,
        }
        self.stores.blobs.create(path, as_bytes(told), content_type="application/json")
        self.stores.blobs.settle()
        self.stores.records.delete_many(Table.PENDING, [receipt.arrival])
        _log.error("message-failed: message %s of mailbox %s: %s", receipt.message, receipt.mailbox, error)
        return path

    def sweep(self, older_than: timedelta = SWEEP_AGE) -> int:
        """Announce again what has been pending for so long. Gives how many there were."""
        now = self.now()
        waiting = []
        for record in self.stores.records.scan(Table.PENDING):
            since = record.values.get("announced_at", record.values["stored_at"])
            if not isinstance(since, datetime) or since > now - older_than:
                continue
            with suppress(RecordChanged):  # another sweeps as well, or it is routed by now
                self.stores.records.merge(Table.PENDING, record.key, {"announced_at": now}, etag=record.etag)
                waiting.append(Announcement(record.key).body())
        if waiting:
            _log.warning(
                "%d arrivals have been waiting for over %s; they are announced again", len(waiting), older_than
            )
            self.stores.queues[QueueName.ARRIVALS].put_many(waiting)
        return len(waiting)


def _told(outcomes: Mapping[str, str]) -> str:
    told: dict[str, str] = {}
    room = OUTCOME_LIMIT
    for recipient, outcome in outcomes.items():
        room -= len(recipient) + len(outcome)
        if room < 0:
            told["…"] = f"and {len(outcomes) - len(told)} more"
            break
        told[recipient] = outcome
    return json.dumps(told, ensure_ascii=False)
