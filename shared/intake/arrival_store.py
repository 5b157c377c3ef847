"""Store arrivals: look up receipts, store batches, publish route requests.

The steps are those of docs/explanation/receipts.md, "Intake", 1 to 5.

This is where the transactional outbox is written. The order of the writes is raw bytes, then receipt and outbox entry
in one transaction (`arrival_records`), then queue message. A crash between two of them leaves what the next poll or
`sweep` completes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

from shared.clock import Now
from shared.config import MailboxSettings, MailProtocol
from shared.documents.blob_paths import raw_path
from shared.intake.arrival_records import (
    NewArrival,
    create_arrivals,
    is_same_message,
    key_of_reused,
    look_up_receipts,
)
from shared.intake.batches import assign_batches
from shared.keys import arrival_key
from shared.mailboxes.base import FetchResult, ListedMessage
from shared.mailboxes.spool import Content
from shared.observability import metrics, tracing
from shared.parallel import run_each
from shared.queue_messages import route_requests
from shared.receipts import Receipt, State
from shared.storage.base import Merge, NewBlob, QueueName, Storage, Table, storable_time
from shared.storage.transactions import pack_transactions

TRANSACTIONS_MARKING = 4
"""Transactions at once that mark messages as removed. Nothing else of the mailbox is done meanwhile."""

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
        records = self.storage.records
        candidates = [Candidate(message, self.key(message.key)) for message in listed]
        receipts = dict(look_up_receipts(records, (candidate.arrival for candidate in candidates)))
        if not self._has_immutable_ids:
            rekeyed = [
                replace(candidate, arrival=key_of_reused(candidate.arrival, candidate.listed))
                if candidate.arrival in receipts and not is_same_message(candidate.listed, receipts[candidate.arrival])
                else candidate
                for candidate in candidates
            ]
            changed = (new.arrival for new, old in zip(rekeyed, candidates, strict=True) if new is not old)
            receipts |= look_up_receipts(records, changed)
            candidates = rekeyed
        return [
            replace(candidate, receipt=receipts[candidate.arrival]) if candidate.arrival in receipts else candidate
            for candidate in candidates
        ]

    def upload(self, fetched: Sequence[FetchResult]) -> None:
        """Store the raw bytes of a batch, and return when they are durable."""
        contents = [result.content for result in fetched if result.content is not None]
        blobs = [NewBlob(raw_path(content.sha256), content.data, "message/rfc822") for content in contents]
        self.storage.blobs.create_many(blobs)
        self.storage.blobs.flush()

    def store(self, batch: Sequence[tuple[Candidate, Content]]) -> list[Candidate]:
        """Write the receipts, outbox entries and route requests of a batch whose raw bytes are durable.

        It returns when everything is acknowledged and durable: the returned messages may be removed from the mailbox.
        """
        batch = [(self._with_arrival(candidate, content), content) for candidate, content in batch]
        # Without server keys, messages of the same bytes have one arrival.
        unique = {candidate.arrival: (candidate, content) for candidate, content in batch}
        outbox_keys = assign_batches((arrival, content.size) for arrival, (_, content) in unique.items())
        arrivals = [
            self._new_arrival(candidate, content, key)
            for (candidate, content), key in zip(unique.values(), outbox_keys, strict=True)
        ]
        stored = create_arrivals(
            self.storage.records,
            arrivals,
            recorded={candidate.arrival for candidate, _ in batch if candidate.receipt is not None},
            has_immutable_ids=self._has_immutable_ids,
        )
        new = [arrival.receipt for arrival in stored if arrival.is_new]
        self._publish(new)
        # Of arrivals that another worker stored: it may have died before it published their requests.
        self._publish((arrival.receipt for arrival in stored if not arrival.is_new), retries=1)
        # Before the removal from the mailbox: if that fails, the next poll finds the messages already stored.
        _count_stored(new)
        final = {key: arrival.receipt for key, arrival in zip(unique, stored, strict=True)}
        return [
            replace(candidate, arrival=final[candidate.arrival].arrival, receipt=final[candidate.arrival])
            for candidate, _ in batch
        ]

    def republish(self, candidates: Iterable[Candidate]) -> None:
        """Publish the route requests of arrivals that are not routed yet: an earlier worker may have died before."""
        self._publish((candidate.receipt for candidate in candidates if candidate.receipt is not None), retries=1)

    def mark_removed(self, arrivals: Iterable[str]) -> None:
        """Record that messages were removed from the mailbox for certain."""
        merges = ([Merge(Table.RECEIPTS, arrival, {"removed": True})] for arrival in dict.fromkeys(arrivals))
        transactions = [[*chain.from_iterable(changes)] for changes in pack_transactions(merges)]
        with ThreadPoolExecutor(TRANSACTIONS_MARKING, thread_name_prefix=f"mark-{self.settings.name}") as executor:
            # Without etags, each is always made.
            run_each(executor, TRANSACTIONS_MARKING, self.storage.records.commit, transactions)

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

    def _with_arrival(self, candidate: Candidate, content: Content) -> Candidate:
        if candidate.arrival:
            return candidate
        return replace(candidate, arrival=self.key(DIGEST_KEY_PREFIX + content.sha256))

    def _new_arrival(self, candidate: Candidate, content: Content, outbox: str) -> NewArrival:
        receipt = self.new_receipt(candidate, message=content.sha256, size=content.size, outbox=outbox)
        return NewArrival(candidate.listed, receipt, _start_trace(receipt) or self.traceparent)

    def new_receipt(self, candidate: Candidate, *, message: str, size: int, outbox: str = "") -> Receipt:
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
            outbox=outbox,
        )

    def _publish(self, receipts: Iterable[Receipt], *, retries: int = 0) -> None:
        """Publish the route requests of the arrivals that are not routed yet.

        Args:
            receipts: the arrivals'. Those that are `stored` have an outbox entry.
            retries: 1 if an attempt to route them may have been made.
        """
        keys = [receipt.outbox for receipt in receipts if receipt.state is State.STORED]
        if keys:
            bodies = [request.to_json() for request in route_requests(keys, retries=retries)]
            self.storage.queues[QueueName.ROUTE_REQUESTS].put_many(bodies)


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
