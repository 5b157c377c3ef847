"""The conclusion of an attempt: its outcome gets into the receipt, in one transaction that deletes the outbox entry
(docs/explanation/receipts.md, "Dispatch").

Almost always the transaction is made. It is not if another worker changed the receipt or the entry since they were
read. Then it depends on the receipt what this attempt may still do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from shared.clock import Now
from shared.dispatch.artifacts import roll_back
from shared.dispatch.outbox import OutboxEntry
from shared.dispatch.record_resolution import resolve_outdated_records
from shared.documents.schema import Outcome
from shared.errors import WriteConflict
from shared.observability.log_context import short_id
from shared.receipt_index import ReceiptIndex
from shared.receipts import ROUTABLE_STATES, Receipt, State
from shared.storage.base import Change, Delete, Merge, Record, Storage, Table, Values

MAX_CONCLUSIONS: Final = 5
"""Attempts to conclude an arrival whose receipt or outbox entry other workers change meanwhile."""


@dataclass(slots=True)
class Conclusion:
    """The conclusion of an attempt.

    Attributes:
        storage: where the receipt is stored.
        now: returns the current time.
        entry: the outbox entry as the attempt read it.
        record: the receipt as the attempt read it.
        outcome: the arrival's outcome.
        values: the properties to set in the receipt.
    """

    storage: Storage
    now: Now
    entry: OutboxEntry
    record: Record
    outcome: Outcome
    values: Values
    _was_dead_lettered: bool = field(default=False, init=False)

    @property
    def _is_replay(self) -> bool:
        return self.entry.replay is not None

    @property
    def _concluded(self) -> Record:
        """The receipt as this attempt concludes it."""
        return replace(self.record, values={**self.record.values, **self.values})

    def changes(self) -> list[Change]:
        """Return the changes of the transaction, as far as nothing changed since the attempt read it."""
        return self._changes(self.record if self._is_replay else None, self.entry)

    def _changes(self, receipt: Record | None, entry: OutboxEntry | None) -> list[Change]:
        """Return the changes that conclude the arrival.

        Args:
            receipt: the receipt that must not have changed; None: the entry proves that its state is `stored`.
            entry: the entry to delete; None: it is gone.
        """
        etag = receipt.etag if receipt is not None else None
        changes: list[Change] = [Merge(Table.RECEIPTS, self.entry.arrival, self.values, etag)]
        if entry is not None:
            changes.append(entry.to_deletion())
        if self._is_replay and receipt is not None and receipt.values["state"] == State.STORED.value:
            changes.append(Delete(Table.OUTBOX, str(receipt.values["outbox"])))
        before = Receipt.from_record(receipt or self.record)
        after = replace(before, state=State.ROUTED, outcome=self.outcome)
        return changes + ReceiptIndex(self.storage.records).changes(before, after, self.now())

    def conclude_changed(self) -> bool:
        """Conclude the arrival, after a transaction found its receipt or its entry changed.

        Returns:
            False if another worker concluded the arrival, or it was erased.

        Raises:
            WriteConflict: another replay of this arrival ended meanwhile; the message must be routed again.
        """
        records, key = self.storage.records, self.entry.arrival
        receipt, entry = self.record if self._is_replay else None, self._read_entry()
        for _ in range(MAX_CONCLUSIONS):
            if (entry is not None or receipt is not None) and records.commit(self._changes(receipt, entry)):
                return True
            current = records.get(Table.RECEIPTS, key)
            if current is None:
                break
            state = State(str(current.values["state"]))
            if state is State.ERASED:
                self._roll_back()
                return False
            if all(current.values.get(name) == value for name, value in self.values.items()):
                return True  # By this very transaction, whose reply was lost.
            entry = self._read_entry()
            if self._is_replay:
                if state not in ROUTABLE_STATES or current.values.get("routed_at") != self.record.values.get(
                    "routed_at"
                ):
                    self._request_again()
                    break
                receipt = current
            elif state is State.FAILED:  # By another request for the same arrival.
                receipt, self._was_dead_lettered = current, True
            elif entry is None:
                # Another request for the same arrival, or a replay by other routes, finished first. A record that we
                # wrote may be untrue.
                resolve_outdated_records(self.storage, current, self.now())
                return False
        raise WriteConflict(f"the receipt of arrival {short_id(key)} was changed by other workers; it is routed again")

    def resolve_dead_letter(self) -> None:
        """Mark the arrival's dead letter as resolved, if another worker wrote it before this conclusion."""
        if self._was_dead_lettered:
            resolve_outdated_records(self.storage, self._concluded, self.now())

    def _request_again(self) -> None:
        """Create the replay's entry again if another worker concluded the replay meanwhile.

        It may have done so by other routes, and its receipt does not name the results of this attempt.
        """
        if self.entry.replay is not None:
            values = {**self.entry.replay.to_outbox_values(self.now()), "traceparent": self.entry.traceparent}
            self.storage.records.create(Table.OUTBOX, self.entry.key, values)

    def _read_entry(self) -> OutboxEntry | None:
        """Return the entry as it is now; None if it is gone, or is that of a rollback, and so no right to conclude.

        It may be marked as failed, by a worker that died before it deleted it.
        """
        entry = OutboxEntry.read(self.storage.records, self.entry.key)
        state = entry.receipt.values["state"] if entry is not None and entry.receipt is not None else ""
        if state == State.FAILED.value:
            self._was_dead_lettered = True
        return None if state == State.ERASED.value else entry

    def _roll_back(self) -> None:
        """Delete what this attempt wrote for an arrival that was erased meanwhile.

        The arrival is in the outbox until that is done: if this attempt ends before, the next one continues. The entry
        names the message, which the receipt does not name any more.
        """
        written = Receipt.from_record(self._concluded)
        entry = replace(written, state=State.ERASED).to_outbox_values()
        self.storage.records.create(Table.OUTBOX, self.entry.key, entry)  # A replay may have its entry still.
        roll_back(self.storage, written)
        self.storage.records.delete_many(Table.OUTBOX, [self.entry.key])
