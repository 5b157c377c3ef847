"""Mail that is to be forgotten: chosen, looked through, and removed for good (rule 8.5, docs/finding.md).

An arrival is marked as forgotten first, so that nothing is given anew of it; then all that it left goes; its receipt is
made bare last. Whoever dies in between leaves receipts that are marked and still say what they are of: the same request
finds them again, and goes on.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from shared.dispatch.artifacts import Artifacts, collect_artifacts, delete_artifacts, shared_messages
from shared.errors import ConfigurationError, MessageMissing, ServiceUnavailable, WriteConflict
from shared.lease import RenewingLease
from shared.operations.search import ArrivalQuery, SearchResult, find_arrivals
from shared.receipts import Receipt, State
from shared.routing.model import ANY_RECIPIENT
from shared.storage.base import Filter, Record, Storage, Table
from shared.storage.matching import scan_by_values

LEASE_PATIENCE = 900.0
"""Seconds to wait for a mailbox that is being drained."""

LEASE_PAUSE = 1.0
"""Seconds between two tries to hold it."""

LEASE_LONGEST = 4 * 3600.0
"""Seconds for which mailboxes are held at most. Many millions of receipts take longer to look at than any drain may."""

_log = logging.getLogger("mailroom.forget")


@dataclass(frozen=True, slots=True)
class Group:
    """Arrivals of one message that go together.

    Attributes:
        message: its id; empty if it was never downloaded.
        receipts: the arrivals'.
        refused: why they cannot go now; empty if they can.
    """

    message: str
    receipts: tuple[Receipt, ...]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Eraser:
    """Forgets mail.

    Attributes:
        stores: where it is.
        mailboxes: all that the settings name.
        patience: seconds to wait for a mailbox that is being drained.
    """

    stores: Storage
    mailboxes: Collection[str]
    patience: float = LEASE_PATIENCE

    def by_id(self, beginning: str) -> list[Group]:
        """All arrivals of one message; none if it is forgotten already.

        Args:
            beginning: of the message's id, or of one of its arrivals' keys.

        Raises:
            MessageMissing: there is none.
            ConfigurationError: there are several messages whose ids begin so.
        """
        found = list(find_arrivals(self.stores.records, ArrivalQuery(id=beginning)))
        if not found:
            raise MessageMissing(f"nothing is known of {beginning}")
        names = sorted({receipt.message or receipt.arrival for receipt in found})
        if len(names) > 1:
            raise ConfigurationError(f"{beginning} may be any of {len(names)}: {', '.join(names[:5])}, …")
        return list(self._groups(found, whole=names))

    def by_address(self, address: str) -> list[Group]:
        """All mail from somebody, and all that was for them.

        Args:
            address: normalised.
        """
        records = self.stores.records
        sent = list(find_arrivals(records, ArrivalQuery(sender=address)))
        given = SearchResult(records, address)
        got = [one for one in find_arrivals(records, ArrivalQuery(recipient=address)) if _was_for(one, given)]
        chosen = {receipt.arrival: receipt for receipt in (*sent, *got)}
        return list(self._groups(chosen.values(), whole={receipt.message for receipt in sent}))

    def unread(self) -> int:
        """How many arrivals nobody has read yet, or ever could: from whom and for whom they are is not known."""
        never = (Filter(equal={"state": state.value}) for state in (State.STORED, State.FAILED))
        found = (
            Receipt.from_record(record) for where in never for record in self.stores.records.scan(Table.RECEIPTS, where)
        )
        return sum(1 for receipt in found if not receipt.senders)

    def look(self, groups: Iterable[Group], address: str = "") -> Artifacts:
        """What would go with these."""
        receipts = [receipt for group in groups for receipt in group.receipts]
        return collect_artifacts(self.stores, receipts, address=address)

    @contextmanager
    def alone(self, waiting: Callable[[str], None] = lambda _mailbox: None) -> Iterator[Callable[[], None]]:
        """Hold all mailboxes, so that none is drained meanwhile.

        An intake that finds a message's bytes stored, and records an arrival of them, must not meet their removal.

        Args:
            waiting: told the name of a mailbox that is being drained now.

        Yields:
            What to call before each removal.

        Raises:
            ServiceUnavailable: a mailbox was drained all the time.
        """
        deadline = time.monotonic() + self.patience
        with ExitStack() as held:
            leases = []
            # Those of other settings too, that were drained into this storage.
            others = {str(record.values.get("name", "")) for record in self.stores.records.scan(Table.MAILBOXES)}
            for mailbox in sorted({*self.mailboxes, *others} - {""}):
                while (lease := RenewingLease.acquire(self.stores.leases, mailbox, longest=LEASE_LONGEST)) is None:
                    if time.monotonic() > deadline:
                        raise ServiceUnavailable(f"mailbox {mailbox} is being drained all the time; try again later")
                    waiting(mailbox)
                    time.sleep(LEASE_PAUSE)
                leases.append(held.enter_context(lease))

            def ensure() -> None:
                for lease in leases:
                    lease.ensure()

            yield ensure

    def erase(
        self, groups: Sequence[Group], address: str = "", waiting: Callable[[str], None] = lambda _mailbox: None
    ) -> Artifacts:
        """Remove all that some messages left. Gives what went.

        What reads whole tables comes before the mailboxes are held, but for the one look that they are held for.

        Args:
            groups: none of them refused.
            address: whom it is about, if it is about somebody.
            waiting: told the name of a mailbox that is being drained now.

        Raises:
            WriteConflict: one of them is not any more what was chosen; the same request goes on where this one ended.
            LeaseLost: a mailbox may be drained by now; the same goes for it.
            ServiceUnavailable: a mailbox was drained all the time, or the storage is ill; the same goes for it.
        """
        receipts = [receipt for group in groups for receipt in group.receipts]
        self._mark(receipts)
        found = self.look(groups, address)
        with self.alone(waiting) as ensure:
            for receipt in receipts:
                if not receipt.was_downloaded:
                    self._as_chosen(receipt)  # it cannot be marked, and may have been downloaded meanwhile
            found.retain(shared_messages(self.stores.records, receipts))
            delete_artifacts(self.stores, found, ensure)
            for receipt in receipts:
                ensure()
                self._make_bare(receipt)
        _log.warning("forgotten: %d arrivals of %d messages", len(receipts), len(groups))
        return found

    def _groups(self, chosen: Iterable[Receipt], whole: Collection[str]) -> Iterator[Group]:
        """Arrivals by message.

        Args:
            chosen: the arrivals.
            whole: ids of messages of which all arrivals go.
        """
        grouped: defaultdict[str, dict[str, Receipt]] = defaultdict(dict)
        for receipt in chosen:
            grouped[receipt.message or receipt.arrival][receipt.arrival] = receipt
        waiting = {str(record.values.get("arrival", record.key)) for record in self.stores.records.scan(Table.OUTBOX)}
        unread: set[str] = set()
        for record in scan_by_values(self.stores.records, Table.RECEIPTS, "message", grouped):
            sibling = Receipt.from_record(record)
            if sibling.state is State.STORED or sibling.arrival in waiting:
                unread.add(sibling.message)
            if sibling.message in whole:
                grouped[sibling.message][sibling.arrival] = sibling
        for name, receipts in sorted(grouped.items()):
            left = tuple(one for _, one in sorted(receipts.items()) if not one.is_fully_erased)
            if left:
                why = "it waits to be routed: the app does it, or `mailroom run-once`" if name in unread else ""
                yield Group(left[0].message, left, why)

    def _mark(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            record = self._as_chosen(receipt)
            if record is not None and receipt.was_downloaded:
                values = {"state": State.ERASED.value}
                self.stores.records.merge(Table.RECEIPTS, receipt.arrival, values, etag=record.etag)

    def _as_chosen(self, receipt: Receipt) -> Record | None:
        """An arrival's record as it is now; None if it is marked already, or gone.

        Raises:
            WriteConflict: it was downloaded or routed since it was chosen, and may be somebody else's now.
        """
        record = self.stores.records.get(Table.RECEIPTS, receipt.arrival)
        now = None if record is None else Receipt.from_record(record)
        if now is None or now.state is State.ERASED:
            return None
        if (now.state, now.routed_at) != (receipt.state, receipt.routed_at):
            raise WriteConflict(f"arrival {receipt.arrival} was {now.state} meanwhile; look again at what goes")
        return record

    def _make_bare(self, receipt: Receipt) -> None:
        """Leave of a receipt what keeps its message from being collected again, and nothing of the message."""
        record = self.stores.records.get(Table.RECEIPTS, receipt.arrival)
        # What was never downloaded may be one day: it stays in its mailbox, and its receipt says nothing of what it is.
        if record is None or not receipt.was_downloaded:
            return
        whole = Receipt.from_record(record)
        # Where a server has no keys, the message's id stands in.
        server_key = "" if receipt.message in whole.server_key else whole.server_key
        bare = replace(whole, message="", server_key=server_key)
        self.stores.records.replace(Table.RECEIPTS, receipt.arrival, bare.to_values(), etag=record.etag)


def _was_for(receipt: Receipt, given: SearchResult) -> bool:
    """Whether routing dealt with them; or with nobody by name, where To or Cc names them."""
    return given.by(receipt) or not set(receipt.outcomes) - {ANY_RECIPIENT}
