"""The storage side of the way in: receipts looked up, batches stored and announced (docs/receipts.md, "In", 1 to 5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from types import MappingProxyType

from shared.clock import Now, credible
from shared.config import MailboxSettings, MailProtocol
from shared.documents.blob_paths import raw_path
from shared.keys import arrival_key, digest
from shared.mailboxes.base import FetchResult, ListedMessage
from shared.mailboxes.spool import Content
from shared.observability import metrics, tracing
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import QueueName, Storage, Table, Values

DIGEST_KEY_PREFIX = "sha256:"
"""How the server key of a message begins for which the server had none: the digest of its bytes follows."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A listed message with its arrival.

    Attributes:
        listed: what the server told.
        arrival: its key; empty until it is downloaded, where the server has no keys.
        receipt: the arrival's, if it has one.
    """

    listed: ListedMessage
    arrival: str
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class ArrivalStore:
    """The arrivals of one folder of one mailbox.

    Attributes:
        stores: where they are recorded.
        settings: the mailbox's.
        folder: the folder.
        now: the time.
        traceparent: the trace that the announcements carry on, where nobody traces messages.
    """

    storage: Storage
    settings: MailboxSettings
    folder: str
    now: Now
    traceparent: str = ""

    def look_up(self, listed: Sequence[ListedMessage]) -> list[Candidate]:
        """Return these messages with their receipts, if they have one.

        A receipt counts only if the server reported the same size and time then. POP3 servers have been seen to reuse
        a UIDL, and IMAP servers a UID that they gave out under EXAMINE: to remove the new message unread would lose it.
        Such a message is an arrival of its own.
        """
        items = [Candidate(one, self.key(one.key)) for one in listed]
        found = self._receipts(items)
        if self._by_immutable_id:
            return [replace(item, receipt=found.get(item.arrival)) for item in items]
        renamed = [
            replace(item, arrival=_key_of_reused(item))
            if item.arrival in found and not _is_same(item.listed, found[item.arrival])
            else item
            for item in items
        ]
        found |= self._receipts([new for new, old in zip(renamed, items, strict=True) if new is not old])
        return [replace(item, receipt=found.get(item.arrival)) for item in renamed]

    def upload(self, fetched: Sequence[FetchResult], uploads: Executor) -> list[Future[None]]:
        """Begin to put a batch's raw bytes, several at once."""
        return [uploads.submit(self._put_raw, one.content) for one in fetched if one.content is not None]

    def store(self, batch: Sequence[tuple[Candidate, Content]], uploads: Sequence[Future[None]]) -> list[Candidate]:
        """Record and announce a batch, once its uploads are done.

        Returns once everything is acknowledged and durable: what is given back may be removed from the mailbox.
        """
        for upload in wait_for(uploads, return_when=FIRST_EXCEPTION).done:
            upload.result()
        self.storage.blobs.settle()
        items = [self._stored(item, content) for item, content in batch]
        receipts = [item.receipt for item in items if item.receipt is not None]
        there = self.storage.records.create_many(
            Table.RECEIPTS, {receipt.arrival: receipt.to_values() for receipt in receipts}
        )
        with_key = {item.arrival for item, _ in batch if item.arrival}
        self._take_anew({one.arrival: one for one in receipts if one.arrival in there - with_key})
        for (old, _), new in zip(batch, items, strict=True):
            if old.receipt is not None and new.receipt is not None:
                # It was recorded as oversized, and the limit has grown past it since.
                self.storage.records.merge(Table.RECEIPTS, new.arrival, new.receipt.to_values())
        self._announce(receipts)
        # Here, and not once they are removed from the mailbox: if that fails, the next look finds them known.
        _count_stored(receipts)
        return items

    def republish(self, items: Iterable[Candidate]) -> None:
        """Announce those that were stored earlier and are not routed yet: the worker before us may have died there."""
        waiting = [item.receipt for item in items if item.receipt is not None and item.receipt.state is State.STORED]
        if waiting:
            pending = self.storage.records.get_many(Table.OUTBOX, [receipt.arrival for receipt in waiting])
            traces = {key: str(record.values.get("traceparent", "")) for key, record in pending.items()}
            self._announce(waiting, traces, retries=1)

    def mark_removed(self, arrivals: Iterable[str]) -> None:
        """Note that messages are gone from the mailbox for certain."""
        self.storage.records.merge_many(Table.RECEIPTS, {arrival: {"removed": True} for arrival in arrivals})

    @property
    def _by_immutable_id(self) -> bool:
        """Graph's ids are a message's own in the whole mailbox and never another's; its sizes change under them."""
        return self.settings.protocol is MailProtocol.GRAPH

    def key(self, server_key: str | None) -> str:
        """The arrival's key; empty if the server has none for it."""
        folder = "" if self._by_immutable_id else self.folder
        return "" if server_key is None else arrival_key(self.settings.name, folder, server_key)

    def _receipts(self, items: Iterable[Candidate]) -> dict[str, Receipt]:
        keys = [item.arrival for item in items if item.arrival]
        found = self.storage.records.get_many(Table.RECEIPTS, keys) if keys else {}
        return {key: Receipt.from_record(record) for key, record in found.items()}

    def _put_raw(self, content: Content) -> None:
        self.storage.blobs.create(raw_path(content.sha256), content.data, content_type="message/rfc822")

    def _take_anew(self, there: Mapping[str, Receipt]) -> None:
        """Have what was forgotten collected like any other mail, where only its bytes tell that it was here before.

        Nobody knows whether it is a left-over or was sent again; and its bytes are stored by now, and must not be
        without a receipt that says so.
        """
        records = self.storage.records.get_many(Table.RECEIPTS, list(there)) if there else {}
        for key, record in records.items():
            if Receipt.from_record(record).state is State.ERASED:
                self.storage.records.replace(Table.RECEIPTS, key, there[key].to_values(), etag=record.etag)

    def _stored(self, item: Candidate, content: Content) -> Candidate:
        arrival = item.arrival or self.key(DIGEST_KEY_PREFIX + content.sha256)
        item = replace(item, arrival=arrival)
        return replace(item, receipt=self.new_receipt(item, message=content.sha256, size=content.size))

    def new_receipt(self, item: Candidate, *, message: str, size: int) -> Receipt:
        """A new receipt of a listed message; its time is that of the one it has already."""
        return Receipt(
            arrival=item.arrival,
            mailbox=self.settings.name,
            protocol=self.settings.protocol.value,
            folder=self.folder,
            server_key=item.listed.key or DIGEST_KEY_PREFIX + message,
            message=message,
            size=size,
            reported_size=item.listed.size,
            received=credible(item.listed.received),
            stored_at=item.receipt.stored_at if item.receipt is not None else self.now(),
        )

    def _announce(
        self, receipts: Sequence[Receipt], traces: Mapping[str, str] = MappingProxyType({}), *, retries: int = 0
    ) -> None:
        """Put arrivals on the table and the queue.

        Args:
            receipts: theirs.
            traces: those that they have already, of an earlier announcement; the others begin one.
            retries: 1 if they may have been tried before.
        """
        begun = {one.arrival: _start_trace(one) or self.traceparent for one in receipts if not traces.get(one.arrival)}
        traces = {**traces, **begun}
        pending: dict[str, Values] = {
            receipt.arrival: {
                "mailbox": receipt.mailbox,
                "stored_at": receipt.stored_at,
                "traceparent": traces[receipt.arrival],
            }
            for receipt in receipts
        }
        self.storage.records.create_many(Table.OUTBOX, pending)
        bodies = [RouteRequest(one.arrival, retries, traces[one.arrival]).to_json() for one in receipts]
        self.storage.queues[QueueName.ROUTE_REQUESTS].put_many(bodies)


def _is_same(listed: ListedMessage, receipt: Receipt) -> bool:
    """Return whether a receipt is of the listed message, and not of another that had the same server key before."""
    received = credible(listed.received)
    other_time = received is not None and receipt.received is not None and received != receipt.received
    return receipt.reported_size == listed.size and not other_time


def _key_of_reused(item: Candidate) -> str:
    """Return the arrival key of a message whose server key was another message's before."""
    received = credible(item.listed.received)
    return digest(item.arrival, str(item.listed.size), received.isoformat() if received is not None else "")


def cancel_uploads(uploads: Sequence[Future[None]]) -> None:
    """Return once no upload runs; those that have not begun never do."""
    for upload in uploads:
        upload.cancel()
    wait_for(uploads)


def _start_trace(receipt: Receipt) -> str:
    """Start a stored message's trace. Return the `traceparent` of its route request; empty if tracing is off."""
    return tracing.collected(receipt.mailbox, receipt.arrival, receipt.message, receipt.size)


def _count_stored(receipts: Iterable[Receipt]) -> None:
    """Record the metrics of messages that were stored for the first time."""
    for receipt in receipts:
        mailbox = {"mailbox": receipt.mailbox}
        metrics.collected.add(1, mailbox)
        metrics.stored_bytes.add(receipt.size, mailbox)
        if receipt.received is not None:
            age = (receipt.stored_at - receipt.received).total_seconds()
            metrics.collected_age.record(max(0.0, age), mailbox)
