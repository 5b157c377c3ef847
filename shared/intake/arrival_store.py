"""Store arrivals: look up receipts, store batches, publish route requests.

The steps are those of docs/explanation/receipts.md, "Intake", 1 to 5.

This is where the transactional outbox is written. The order of the writes is raw bytes, receipt, outbox entry, queue
message. A crash between two of them leaves what the next poll or `sweep` completes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from types import MappingProxyType

from shared.clock import Now
from shared.config import MailboxSettings, MailProtocol
from shared.documents.blob_paths import raw_path
from shared.keys import arrival_key, digest
from shared.mailboxes.base import FetchResult, ListedMessage
from shared.mailboxes.spool import Content
from shared.observability import metrics, tracing
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import QueueName, Storage, Table, Values, storable_time

DIGEST_KEY_PREFIX = "sha256:"
"""The prefix of the key of a message for which the server has none; the digest of its bytes follows."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A listed message with its arrival.

    Attributes:
        listed: the message as the server lists it.
        arrival: its arrival's key; empty until it is downloaded if the server has no keys.
        receipt: the arrival's, if it has one.
    """

    listed: ListedMessage
    arrival: str
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class ArrivalStore:
    """The arrivals of one folder of one mailbox.

    Attributes:
        storage: where they are stored.
        settings: the mailbox's.
        folder: the folder.
        now: returns the current time.
        traceparent: the trace that the route requests continue if messages have no traces of their own.
    """

    storage: Storage
    settings: MailboxSettings
    folder: str
    now: Now
    traceparent: str = ""

    def look_up(self, listed: Sequence[ListedMessage]) -> list[Candidate]:
        """Return messages with their existing receipts.

        A receipt applies only if the server reported the same size and time then. POP3 servers have been seen to reuse
        a UIDL, and IMAP servers a UID that they assigned under EXAMINE. To remove the new message without storing it
        would lose it. Such a message is an arrival of its own.
        """
        candidates = [Candidate(message, self.key(message.key)) for message in listed]
        receipts = self._receipts(candidates)
        if self._has_immutable_ids:
            return [replace(candidate, receipt=receipts.get(candidate.arrival)) for candidate in candidates]
        rekeyed = [
            replace(candidate, arrival=_key_of_reused(candidate))
            if candidate.arrival in receipts and not _is_same(candidate.listed, receipts[candidate.arrival])
            else candidate
            for candidate in candidates
        ]
        receipts |= self._receipts([new for new, old in zip(rekeyed, candidates, strict=True) if new is not old])
        return [replace(candidate, receipt=receipts.get(candidate.arrival)) for candidate in rekeyed]

    def upload(self, fetched: Sequence[FetchResult], uploads: Executor) -> list[Future[None]]:
        """Start the uploads of a batch's raw bytes, several at once."""
        return [uploads.submit(self._upload_raw, result.content) for result in fetched if result.content is not None]

    def store(self, batch: Sequence[tuple[Candidate, Content]], uploads: Sequence[Future[None]]) -> list[Candidate]:
        """Write the receipts, outbox entries and route requests of a batch, once its uploads are done.

        It returns when everything is acknowledged and durable: the returned messages may be removed from the mailbox.
        """
        for upload in wait_for(uploads, return_when=FIRST_EXCEPTION).done:
            upload.result()
        self.storage.blobs.flush()
        stored = [self._with_new_receipt(candidate, content) for candidate, content in batch]
        receipts = [candidate.receipt for candidate in stored if candidate.receipt is not None]
        existing = self.storage.records.create_many(
            Table.RECEIPTS, {receipt.arrival: receipt.to_values() for receipt in receipts}
        )
        with_server_key = {candidate.arrival for candidate, _ in batch if candidate.arrival}
        self._replace_erased(
            {receipt.arrival: receipt for receipt in receipts if receipt.arrival in existing - with_server_key}
        )
        for (old, _), new in zip(batch, stored, strict=True):
            if old.receipt is not None and new.receipt is not None:
                # It was recorded as oversized or unreadable before.
                self.storage.records.merge(Table.RECEIPTS, new.arrival, new.receipt.to_values())
        self._publish(receipts)
        # Before the removal from the mailbox: if that fails, the next poll finds the messages already stored.
        _count_stored(receipts)
        return stored

    def republish(self, candidates: Iterable[Candidate]) -> None:
        """Publish the route requests of arrivals that are not routed yet: an earlier worker may have died before."""
        waiting = [
            candidate.receipt
            for candidate in candidates
            if candidate.receipt is not None and candidate.receipt.state is State.STORED
        ]
        if waiting:
            entries = self.storage.records.get_many(Table.OUTBOX, [receipt.arrival for receipt in waiting])
            traces = {key: str(record.values.get("traceparent", "")) for key, record in entries.items()}
            self._publish(waiting, traces, retries=1)

    def mark_removed(self, arrivals: Iterable[str]) -> None:
        """Record that messages were removed from the mailbox for certain."""
        self.storage.records.merge_many(Table.RECEIPTS, {arrival: {"removed": True} for arrival in arrivals})

    @property
    def _has_immutable_ids(self) -> bool:
        """Whether a server key belongs to one message for good, in the whole mailbox, while its size may change.

        Graph's immutable ids do.
        """
        return self.settings.protocol is MailProtocol.GRAPH

    def key(self, server_key: str | None) -> str:
        """Return the arrival's key; an empty string if the server has no key for it."""
        folder = "" if self._has_immutable_ids else self.folder
        return "" if server_key is None else arrival_key(self.settings.name, folder, server_key)

    def _receipts(self, candidates: Iterable[Candidate]) -> dict[str, Receipt]:
        keys = [candidate.arrival for candidate in candidates if candidate.arrival]
        records = self.storage.records.get_many(Table.RECEIPTS, keys) if keys else {}
        return {key: Receipt.from_record(record) for key, record in records.items()}

    def _upload_raw(self, content: Content) -> None:
        self.storage.blobs.create(raw_path(content.sha256), content.data, content_type="message/rfc822")

    def _replace_erased(self, receipts: Mapping[str, Receipt]) -> None:
        """Store messages again that were erased, if only their bytes identify them.

        Such a message may be a leftover or may have been sent again. Its bytes are stored by now, and bytes must not
        exist without a receipt.
        """
        records = self.storage.records.get_many(Table.RECEIPTS, list(receipts)) if receipts else {}
        for key, record in records.items():
            if Receipt.from_record(record).state is State.ERASED:
                self.storage.records.replace(Table.RECEIPTS, key, receipts[key].to_values(), etag=record.etag)

    def _with_new_receipt(self, candidate: Candidate, content: Content) -> Candidate:
        arrival = candidate.arrival or self.key(DIGEST_KEY_PREFIX + content.sha256)
        candidate = replace(candidate, arrival=arrival)
        return replace(candidate, receipt=self.new_receipt(candidate, message=content.sha256, size=content.size))

    def new_receipt(self, candidate: Candidate, *, message: str, size: int) -> Receipt:
        """Return a new receipt of a listed message, with the `stored_at` of its existing receipt, if any."""
        return Receipt(
            arrival=candidate.arrival,
            mailbox=self.settings.name,
            protocol=self.settings.protocol.value,
            folder=self.folder,
            server_key=candidate.listed.key or DIGEST_KEY_PREFIX + message,
            message=message,
            size=size,
            reported_size=candidate.listed.size,
            received=storable_time(candidate.listed.received),
            stored_at=candidate.receipt.stored_at if candidate.receipt is not None else self.now(),
        )

    def _publish(
        self, receipts: Sequence[Receipt], traces: Mapping[str, str] = MappingProxyType({}), *, retries: int = 0
    ) -> None:
        """Write arrivals to the outbox, then their route requests to the queue.

        Args:
            receipts: the arrivals'.
            traces: the `traceparent` of arrivals whose request was published before; the others start a trace.
            retries: 1 if an attempt to route them may have been made.
        """
        new_traces = {
            receipt.arrival: _start_trace(receipt) or self.traceparent
            for receipt in receipts
            if not traces.get(receipt.arrival)
        }
        traces = {**traces, **new_traces}
        entries: dict[str, Values] = {
            receipt.arrival: {
                "mailbox": receipt.mailbox,
                "stored_at": receipt.stored_at,
                "traceparent": traces[receipt.arrival],
            }
            for receipt in receipts
        }
        self.storage.records.create_many(Table.OUTBOX, entries)
        requests = [RouteRequest(receipt.arrival, retries, traces[receipt.arrival]) for receipt in receipts]
        self.storage.queues[QueueName.ROUTE_REQUESTS].put_many([request.to_json() for request in requests])


def _is_same(listed: ListedMessage, receipt: Receipt) -> bool:
    """Return whether a receipt is of the listed message, and not of another that had the same server key before."""
    received = storable_time(listed.received)
    has_other_time = received is not None and receipt.received is not None and received != receipt.received
    return receipt.reported_size == listed.size and not has_other_time


def _key_of_reused(candidate: Candidate) -> str:
    """Return the arrival key of a message whose server key was another message's before."""
    received = storable_time(candidate.listed.received)
    time = received.isoformat() if received is not None else ""
    return digest(candidate.arrival, str(candidate.listed.size), time)


def cancel_uploads(uploads: Sequence[Future[None]]) -> None:
    """Return when no upload is running; uploads that have not started are cancelled."""
    for upload in uploads:
        upload.cancel()
    wait_for(uploads)


def _start_trace(receipt: Receipt) -> str:
    """Start a stored message's trace. Return the `traceparent` of its route request; empty if tracing is off."""
    return tracing.start_message_trace(receipt.mailbox, receipt.arrival, receipt.message, receipt.size)


def _count_stored(receipts: Iterable[Receipt]) -> None:
    """Record the metrics of messages that were stored for the first time."""
    for receipt in receipts:
        mailbox = {"mailbox": receipt.mailbox}
        metrics.collected.add(1, mailbox)
        metrics.stored_bytes.add(receipt.size, mailbox)
        if receipt.received is not None:
            age = (receipt.stored_at - receipt.received).total_seconds()
            metrics.collected_age.record(max(0.0, age), mailbox)
