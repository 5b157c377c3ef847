"""Erase mail: select it, collect its artifacts, and delete them (rule 8.5, docs/how-to/finding.md).

An arrival is marked as erased first, so that no new result of it is written. Then its artifacts are deleted. Its
receipt is made bare last. A crash in between leaves marked receipts that still name their message: the same request
finds them again and continues.

The transaction that makes a receipt bare creates a tombstone. By it, `sweep` repeats the erasure once no worker can be
alive that read the arrival before (docs/explanation/receipts.md, "Erasure").
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from shared.clock import Now, utc_now
from shared.config import AppSettings
from shared.dispatch.artifacts import Artifacts, collect_artifacts, delete_artifacts, shared_messages
from shared.dispatch.tombstones import Tombstone, delete_taken, take_due
from shared.errors import ServiceUnavailable, WriteConflict
from shared.lease import RenewingLease
from shared.observability import metrics
from shared.operations.search import ArrivalQuery, RecipientLookup, display_id, find_arrivals, find_by_id
from shared.receipt_index import ReceiptIndex
from shared.receipt_index_folding import delete_message
from shared.receipts import Receipt, State
from shared.routing.model import ANY_RECIPIENT
from shared.storage.base import Filter, Merge, Record, Replace, Storage, Table, scan_by_values

LEASE_TIMEOUT = 900.0
"""Seconds to wait for the lease of a mailbox that is being drained."""

LEASE_RETRY_INTERVAL = 1.0
"""Seconds between two attempts to acquire a lease."""

MAX_HOLD_SECONDS = 4 * 3600.0
"""Seconds for which leases are held at most: to scan many millions of receipts takes longer than any drain."""

MAX_REPEATED = 2000
"""Arrivals whose erasure is repeated together. Whole tables are read once for all of them."""

_log = logging.getLogger("mailroom.erasure")


@dataclass(frozen=True, slots=True)
class ErasureGroup:
    """Arrivals of one message that are erased together.

    Attributes:
        message: its id; empty if it was never downloaded.
        receipts: the arrivals'.
        refused: why they cannot be erased now; empty if they can.
    """

    message: str
    receipts: tuple[Receipt, ...]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Eraser:
    """Erases mail.

    Attributes:
        storage: where it is stored.
        mailboxes: the names of all mailboxes in the settings.
        lease_timeout: seconds to wait for a mailbox that is being drained.
        now: returns the current time.
    """

    storage: Storage
    mailboxes: Collection[str]
    lease_timeout: float = LEASE_TIMEOUT
    now: Now = utc_now

    @classmethod
    def from_settings(cls, settings: AppSettings, storage: Storage) -> Eraser:
        """Return an eraser that holds the leases of all mailboxes in the settings, invalid ones included."""
        return cls(storage, {*settings.mailboxes, *settings.mailbox_errors})

    def find_by_id(self, prefix: str) -> list[ErasureGroup]:
        """Return all arrivals of one message; none if it is erased already.

        Args:
            prefix: a prefix of the message's id, or of the key of one of its arrivals.

        Raises:
            MessageMissing: there is no such message.
            ConfigurationError: there are several messages whose ids have this prefix.
        """
        receipts = find_by_id(self.storage.records, prefix)
        return list(self._groups(receipts, complete={display_id(receipt) for receipt in receipts}))

    def find_by_address(self, address: str) -> list[ErasureGroup]:
        """Return all mail from a person, and all mail for this person.

        Args:
            address: the person's address, normalised.
        """
        records = self.storage.records
        sent = list(find_arrivals(records, ArrivalQuery(sender=address)))
        recipient = RecipientLookup(records, address)
        candidates = find_arrivals(records, ArrivalQuery(recipient=address))
        received = [receipt for receipt in candidates if _is_for(receipt, recipient)]
        receipts = {receipt.arrival: receipt for receipt in (*sent, *received)}
        return list(self._groups(receipts.values(), complete={receipt.message for receipt in sent}))

    def count_unparsed(self) -> int:
        """Return the number of arrivals that were never parsed: their senders and recipients are unknown."""
        filters = (Filter(equal={"state": state.value}) for state in (State.STORED, State.FAILED))
        receipts = (
            Receipt.from_record(record)
            for filter_ in filters
            for record in self.storage.records.scan(Table.RECEIPTS, filter_)
        )
        return sum(1 for receipt in receipts if not receipt.senders)

    def collect_artifacts(self, groups: Iterable[ErasureGroup], address: str = "") -> Artifacts:
        """Return the artifacts that an erasure of these groups would delete."""
        receipts = [receipt for group in groups for receipt in group.receipts]
        return collect_artifacts(self.storage, receipts, address=address)

    @contextmanager
    def hold_mailboxes(self, waiting: Callable[[str], None] = lambda _mailbox: None) -> Iterator[Callable[[], None]]:
        """Hold the leases of all mailboxes, so that none is drained meanwhile.

        A drain that finds a message's bytes stored, and records an arrival of it, must not overlap with the deletion of
        these bytes.

        Args:
            waiting: called with the name of a mailbox that is being drained.

        Yields:
            The function to call before each deletion; it raises `LeaseLost` if a lease may be lost.

        Raises:
            ServiceUnavailable: a mailbox was drained all the time.
        """
        deadline = time.monotonic() + self.lease_timeout
        with ExitStack() as stack:
            leases = []
            # Mailboxes that are no longer in the settings may have been drained into this storage, too.
            recorded = {str(record.values.get("name", "")) for record in self.storage.records.scan(Table.MAILBOXES)}
            for mailbox in sorted({*self.mailboxes, *recorded} - {""}):
                while True:
                    lease = RenewingLease.acquire(self.storage.leases, mailbox, max_hold=MAX_HOLD_SECONDS)
                    if lease is not None:
                        break
                    if time.monotonic() > deadline:
                        raise ServiceUnavailable(f"mailbox {mailbox} is being drained all the time; try again later")
                    waiting(mailbox)
                    time.sleep(LEASE_RETRY_INTERVAL)
                leases.append(stack.enter_context(lease))

            def ensure() -> None:
                for lease in leases:
                    lease.ensure()

            yield ensure

    def erase(
        self,
        groups: Sequence[ErasureGroup],
        address: str = "",
        waiting: Callable[[str], None] = lambda _mailbox: None,
    ) -> Artifacts:
        """Delete all artifacts of messages. Return what was deleted.

        Whole tables are scanned before the leases are held, except for one scan that needs them.

        Args:
            groups: the groups, none of them refused.
            address: the address of the person to be erased, if any.
            waiting: called with the name of a mailbox that is being drained.

        Raises:
            WriteConflict: an arrival changed since it was selected; the same request continues where this one ended.
            LeaseLost: a mailbox may be drained by now; the same request continues.
            ServiceUnavailable: a mailbox was drained all the time, or storage is unavailable; the same request
                continues.
        """
        receipts = [receipt for group in groups for receipt in group.receipts]
        self._mark_erased(receipts)
        artifacts = self.collect_artifacts(groups, address)
        with self.hold_mailboxes(waiting) as ensure:
            for receipt in receipts:
                if not receipt.was_downloaded:
                    self._read_unchanged(receipt)  # It cannot be marked, and may have been downloaded meanwhile.
            artifacts.retain(shared_messages(self.storage.records, receipts))
            delete_artifacts(self.storage, artifacts, ensure)
            for receipt in receipts:
                ensure()
                self._make_bare(receipt)
                if receipt.was_downloaded:
                    metrics.outcomes.add(1, receipt.outcome_change("erased"))
        _log.warning("erased: %d arrivals of %d messages", len(receipts), len(groups))
        return artifacts

    def repeat(self) -> int:
        """Repeat the erasures of which a worker may have died that still wrote something. Return how many there were.

        Almost always nothing was written. Then the mailboxes' leases are not needed.

        Raises:
            LeaseLost: a mailbox may be drained by now; the erasures are repeated later.
            ServiceUnavailable: a mailbox was drained all the time, or storage is unavailable; likewise.
        """
        now = self.now()
        tombstones = take_due(self.storage.records, now, MAX_REPEATED)
        erased = self._still_erased(tombstones)
        receipts = [tombstone.receipt for tombstone in erased]
        entries = {tombstone.entry for tombstone in erased} - {""}
        artifacts = collect_artifacts(self.storage, receipts, entries=entries) if receipts else Artifacts()
        if not artifacts.is_empty:
            with self.hold_mailboxes() as ensure:
                if self._still_erased(erased) != erased:
                    return 0  # A message arrived again meanwhile, under the same key.
                artifacts.retain(shared_messages(self.storage.records, receipts))
                delete_artifacts(self.storage, artifacts, ensure)
        if tombstones:
            delete_taken(self.storage.records, tombstones, now)
        if not artifacts.is_empty:
            _log.warning("erased again: a worker that died had written files or records of erased messages")
        return len(tombstones)

    def _still_erased(self, tombstones: Sequence[Tombstone]) -> list[Tombstone]:
        """Return the tombstones whose arrivals are erased: on a server without keys, a message may arrive again."""
        arrivals = [tombstone.receipt.arrival for tombstone in tombstones]
        records = self.storage.records.get_many(Table.RECEIPTS, arrivals) if arrivals else {}
        erased = {key for key, record in records.items() if Receipt.from_record(record).is_fully_erased}
        return [tombstone for tombstone in tombstones if tombstone.receipt.arrival in erased]

    def _groups(self, receipts: Iterable[Receipt], complete: Collection[str]) -> Iterator[ErasureGroup]:
        """Yield arrivals grouped by message.

        Args:
            receipts: the selected arrivals'.
            complete: ids of messages of which all arrivals are erased.
        """
        grouped: defaultdict[str, dict[str, Receipt]] = defaultdict(dict)
        for receipt in receipts:
            grouped[receipt.message or receipt.arrival][receipt.arrival] = receipt
        outbox = {str(record.values["arrival"]) for record in self.storage.records.scan(Table.OUTBOX)}
        unrouted: set[str] = set()
        for record in scan_by_values(self.storage.records, Table.RECEIPTS, "message", grouped):
            sibling = Receipt.from_record(record)
            if sibling.state is State.STORED or sibling.arrival in outbox:
                unrouted.add(sibling.message)
            if sibling.message in complete:
                grouped[sibling.message][sibling.arrival] = sibling
        for message, group in sorted(grouped.items()):
            remaining = tuple(receipt for _, receipt in sorted(group.items()) if not receipt.is_fully_erased)
            if remaining:
                is_unrouted = message in unrouted
                reason = "it waits to be routed; the app routes it, or `mailroom run-once`" if is_unrouted else ""
                yield ErasureGroup(remaining[0].message, remaining, reason)

    def _mark_erased(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            record = self._read_unchanged(receipt)
            if record is not None and receipt.was_downloaded:
                marked = replace(receipt, state=State.ERASED)
                changes = ReceiptIndex(self.storage.records).changes(Receipt.from_record(record), marked, utc_now())
                merge = Merge(Table.RECEIPTS, receipt.arrival, {"state": State.ERASED.value}, record.etag)
                if not self.storage.records.commit([merge, *changes]):
                    raise WriteConflict(
                        f"arrival {receipt.arrival} changed since it was selected; run the command again"
                    )

    def _read_unchanged(self, receipt: Receipt) -> Record | None:
        """Return an arrival's current record; None if it is marked already, or gone.

        Raises:
            WriteConflict: it was downloaded or routed since it was selected, and may concern another person now.
        """
        record = self.storage.records.get(Table.RECEIPTS, receipt.arrival)
        current = None if record is None else Receipt.from_record(record)
        if current is None or current.state is State.ERASED:
            return None
        if (current.state, current.routed_at) != (receipt.state, receipt.routed_at):
            raise WriteConflict(
                f"arrival {receipt.arrival} was {current.state} since it was selected; run the command again"
            )
        return record

    def _make_bare(self, receipt: Receipt) -> None:
        """Reduce a receipt to what keeps its message from being downloaded again, without a trace of the message.

        In the same transaction, the arrival gets a tombstone.

        Raises:
            WriteConflict: another worker changed the receipt.
        """
        record = self.storage.records.get(Table.RECEIPTS, receipt.arrival)
        # A message that was never downloaded may be downloaded later. Its receipt holds none of its content.
        if record is None or not receipt.was_downloaded:
            return
        current = Receipt.from_record(record)
        if current.is_fully_erased:
            return  # By another request. The tombstone names the message, which this receipt does not.
        # If the server has no keys, the server key contains the message's id.
        server_key = "" if receipt.message in current.server_key else current.server_key
        if ReceiptIndex(self.storage.records).is_needed:
            delete_message(self.storage.records, current, utc_now())
        bare = replace(current, message="", server_key=server_key)
        tombstone = Tombstone.of_erased(current, bare).to_change(self.now())
        replacement = Replace(Table.RECEIPTS, receipt.arrival, bare.to_values(), record.etag)
        if not self.storage.records.commit([replacement, tombstone]):
            raise WriteConflict(f"arrival {receipt.arrival} was changed by another worker; run the command again")


def _is_for(receipt: Receipt, recipient: RecipientLookup) -> bool:
    """Return whether an arrival was routed for a recipient, or named it and was not routed for any named recipient."""
    return recipient.was_routed_for(receipt) or not set(receipt.outcomes) - {ANY_RECIPIENT}
