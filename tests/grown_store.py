"""A store with many arrivals, written directly: as intake and routing leave it, without the time that they take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.documents.blob_paths import RecordKind, raw_path, record_path, result_path
from shared.documents.serialization import to_bytes
from shared.documents.writer import to_document
from shared.keys import BATCH, arrival_key, claim_key, outbox_key
from shared.receipt_index import ReceiptIndex
from shared.receipts import Receipt, State, search_columns
from shared.storage.base import Blobs, Change, Create, Record, Records, Table, Values
from shared.storage.transactions import pack_transactions
from tests.servers.mail import plain_mail

DAYS = 100
"""Days over which the arrivals are spread evenly, the last of which is the day of `newest`."""

RECIPIENT = "sales@example.com"

THREADS = 8
"""Blobs that are created at once."""

_BATCH = 1_000
_KINDS: Mapping[str, RecordKind] = {"unhandled": "unhandled", "duplicate": "duplicates", "blocked": "blocked"}


@dataclass(frozen=True, slots=True)
class GrownStore:
    """The arrivals of a store: number 0 is the newest one.

    Attributes:
        count: number of arrivals.
        newest: when the newest one was stored, UTC.
    """

    count: int
    newest: datetime

    def outcome(self, number: int) -> str:
        """Return an arrival's outcome: of 100 arrivals, 5 are unhandled, 2 duplicates, and 1 is blocked."""
        return {3: "duplicate", 53: "duplicate", 77: "blocked"}.get(
            number % 100, "routed" if number % 20 else "unhandled"
        )

    def stored_at(self, number: int) -> datetime:
        """Return when an arrival was stored."""
        return self.newest - timedelta(days=DAYS) / self.count * number

    def mailbox(self, number: int) -> str:
        """Return an arrival's mailbox: of ten arrivals, one is that of `office`, and one that of `orders`."""
        return {8: "orders", 9: "office"}.get(number % 10, "support")

    def mail(self, number: int) -> bytes:
        """Return an arrival's raw bytes: no route takes an unhandled message."""
        to = "nobody@example.com" if self.outcome(number) == "unhandled" else RECIPIENT
        return plain_mail(number, to=to)

    def message_id(self, number: int) -> str:
        """Return an arrival's Message-ID."""
        return f"{number}@example.net"

    def sender(self, number: int) -> str:
        """Return an arrival's sender, who sent 20 messages."""
        return f"person{number % max(1, self.count // 20)}@customer.example"

    def receipt(self, number: int) -> Receipt:
        """Return an arrival's receipt before it is routed."""
        has_blobs = self.outcome(number) == "unhandled"
        message = hashlib.sha256(self.mail(number) if has_blobs else f"message {number}".encode()).hexdigest()
        arrival = arrival_key(self.mailbox(number), "INBOX", f"1.{number}")
        return Receipt(
            arrival=arrival,
            mailbox=self.mailbox(number),
            protocol="imap",
            folder="INBOX",
            server_key=f"1.{number}",
            message=message,
            size=2_000,
            reported_size=2_000,
            received=self.stored_at(number),
            stored_at=self.stored_at(number),
            outbox=outbox_key(f"{number // 16:0{BATCH}x}", arrival),
            state=State.ROUTED,
            removed=True,
        )

    def values(self, number: int, receipt: Receipt) -> Values:
        """Return the properties of an arrival's receipt after it was routed."""
        outcome, message = self.outcome(number), receipt.message
        texts = {
            "routed": f"routed {result_path('sales', receipt.stored_at, message, RECIPIENT)}",
            "duplicate": f"duplicate {self.receipt(number + 1).arrival}",
        }
        return {
            **receipt.to_values(),
            "outcome": outcome,
            "conversation": message,
            "outcomes": json.dumps({RECIPIENT: texts[outcome]} if outcome in texts else {"*": f"{outcome} no route"}),
            "routed_at": receipt.stored_at + timedelta(seconds=2),
            "last_error": "",
            "unserved": False,
            **search_columns(
                (self.sender(number),), (RECIPIENT,), self.message_id(number), subject=f"Order {number}",
                sent=receipt.stored_at,
            ),
        }  # fmt: skip

    def write_records(self, records: Records, progress: Callable[[int], None] = lambda _written: None) -> None:
        """Create the receipts, with their entries in the index of tables, and a claim for each routed arrival.

        Args:
            records: where they are created.
            progress: called with the number of arrivals that are written.
        """
        index = ReceiptIndex(records)
        for start in range(0, self.count, _BATCH):
            numbers = range(start, min(self.count, start + _BATCH))
            receipts = {number: self.receipt(number) for number in numbers}
            rows = {receipt.arrival: self.values(number, receipt) for number, receipt in receipts.items()}
            claims = dict(
                _claims([receipt for number, receipt in receipts.items() if self.outcome(number) == "routed"])
            )
            if index.is_needed:
                _commit(records, (_with_entry(index, key, values) for key, values in rows.items()))
                _commit(records, ([Create(Table.CLAIMS, key, values)] for key, values in claims.items()))
            else:
                records.create_many(Table.RECEIPTS, rows)
                records.create_many(Table.CLAIMS, claims)
            progress(numbers.stop)

    def write_files(self, folder: Path) -> None:
        """Write the raw bytes and the records of the unhandled arrivals into a store's folder."""
        for path, data in self._all_blobs():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)

    def write_blobs(self, blobs: Blobs) -> None:
        """Create the raw bytes and the records of the unhandled arrivals in a container."""
        with ThreadPoolExecutor(THREADS) as pool:
            created = pool.map(
                lambda blob: blobs.create(*blob, content_type="application/octet-stream"), self._all_blobs()
            )
            assert all(created)

    def _all_blobs(self) -> Iterator[tuple[str, bytes]]:
        for number in range(self.count):
            if self.outcome(number) == "unhandled":
                yield from self._blobs(number)

    def _blobs(self, number: int) -> Iterator[tuple[str, bytes]]:
        receipt = self.receipt(number)
        yield raw_path(receipt.message), self.mail(number)
        document = {
            "schema": "mailroom/unhandled/1",
            "message": receipt.message,
            "arrival": to_document(receipt),
            "resolved": None,
            "detail": "No route matches any recipient of the message.",
        }
        yield _record_path(receipt), to_bytes(document)


def grown_store(count: int, newest: datetime | None = None) -> GrownStore:
    """Return the arrivals of a store whose newest one was stored at a time, by default a minute ago."""
    return GrownStore(count, newest or datetime.now(UTC) - timedelta(minutes=1))


def _record_path(receipt: Receipt) -> str:
    return record_path("unhandled", receipt.mailbox, receipt.stored_at, receipt.message, receipt.arrival)


def _with_entry(index: ReceiptIndex, key: str, values: Values) -> list[Change]:
    receipt = Receipt.from_record(Record(key, dict(values), ""))
    return [Create(Table.RECEIPTS, key, values), *index.changes(None, receipt, receipt.stored_at)]


def _commit(records: Records, groups: Iterable[Sequence[Change]]) -> None:
    for transaction in pack_transactions(groups):
        assert records.commit([change for group in transaction for change in group])


def _claims(receipts: Sequence[Receipt]) -> Iterator[tuple[str, Values]]:
    for receipt in receipts:
        yield (
            claim_key("raw", receipt.message, RECIPIENT),
            {
                "owner": receipt.arrival,
                "recipient": RECIPIENT,
                "kind": "raw",
                "message": receipt.message,
                "result": result_path("sales", receipt.stored_at, receipt.message, RECIPIENT),
            },
        )
