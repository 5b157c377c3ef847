"""Export all records to a file, and import them into tables that were lost (docs/how-to/operating.md, "Back up").

Blobs have versions and soft delete; tables have neither. The file is lines of JSON, compressed with gzip: a header, a
line for each record, and a last line with their number, so that a truncated file is recognized.

An export reads a store that is in use, so its order matters:

- Watermarks come before receipts. A watermark that is too old costs a listing; one that is too new would skip mail.
- Receipts come before claims. A claim too many is finished or taken over by its owner; a claim too few would give a
  copy of a routed message a second result.
- The index of the receipts is not exported: an import creates an entry in it with each receipt.
- Tombstones of erased arrivals are not exported: they last for hours.
- The outbox is not exported. An import creates the entry of each receipt that says `stored`, in one transaction with
  the receipt. Routing such a message a second time changes nothing: its claims and results are its own.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from shared.clock import Now, utc_now
from shared.errors import ConfigurationError
from shared.receipt_index import ReceiptIndex
from shared.receipts import Receipt, State
from shared.storage.base import Change, Create, Record, Records, Table, Value, Values
from shared.storage.transactions import pack_transactions

EXPORTED: Final = (Table.MAILBOXES, Table.SUBSCRIPTIONS, Table.CONVERSATIONS, Table.RECEIPTS, Table.CLAIMS)
"""The exported tables, in the order in which they are read."""

_FORMAT: Final = "mailroom-records"
_VERSION: Final = 1
_BATCH: Final = 1000
_TIME: Final = "time"

Progress = Callable[[int], None]
"""Called with the number of records done so far."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Attributes:
        created: records that were created.
        existing: records that existed already, and were kept as they are.
        to_be_routed: arrivals that got an entry in the outbox, since they were not routed at the time of the export.
    """

    created: int
    existing: int
    to_be_routed: int


def export_records(records: Records, file: Path, progress: Progress = lambda _done: None, now: Now = utc_now) -> int:
    """Write all records to a file, and return their number.

    The file is complete or absent: it is written under another name first.

    Args:
        records: the records to read.
        file: the file to create.
        progress: called after each batch.
        now: returns the current time.

    Raises:
        ConfigurationError: the file exists already, or cannot be written.
        TransientError: the storage failed.
    """
    if file.exists():
        raise ConfigurationError(f"{file} exists already; name another file")
    partial = file.with_name(f"{file.name}.partial")
    count = 0
    try:
        with gzip.open(partial, "wt", encoding="utf-8") as stream:
            _write(stream, {"format": _FORMAT, "version": _VERSION, "exported_at": now().isoformat()})
            for table in EXPORTED:
                for record in records.scan(table):
                    values = {name: _to_json(value) for name, value in record.values.items()}
                    _write(stream, {"table": table.value, "key": record.key, "values": values})
                    count += 1
                    if count % _BATCH == 0:
                        progress(count)
            _write(stream, {"records": count})
        partial.chmod(0o600)
        partial.rename(file)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    progress(count)
    return count


def import_records(records: Records, file: Path, progress: Progress = lambda _done: None) -> ImportResult:
    """Create the records of an export that do not exist, and an outbox entry for each message that was not routed.

    Existing records are kept. An import that was stopped can be repeated.

    Args:
        records: where records are created.
        file: a file that `export_records` wrote.
        progress: called after each batch.

    Raises:
        ConfigurationError: the file cannot be read, is not an export, or is incomplete; nothing was created.
        TransientError: the storage failed.
    """
    for _ in _read(file):  # The whole file is checked before anything is created.
        pass
    created = existing = done = to_be_routed = 0
    rows_of_file = _read(file)
    while batch := list(islice(rows_of_file, _BATCH)):
        for table in EXPORTED:
            rows = {record.key: record.values for of_table, record in batch if of_table is table}
            if not rows:
                continue
            if table is Table.RECEIPTS:
                stored = {key: values for key, values in rows.items() if values["state"] == State.STORED}
                others = {key: values for key, values in rows.items() if key not in stored}
                unrouted = _create_receipts(records, stored)
                new = unrouted + _create_receipts(records, others)
                to_be_routed += unrouted
            else:
                new = len(rows) - len(records.create_many(table, rows))
            created += new
            existing += len(rows) - new
        done += len(batch)
        progress(done)
    return ImportResult(created, existing, to_be_routed)


def _create_receipts(records: Records, receipts: Mapping[str, Values]) -> int:
    """Create receipts, each with its outbox entry if it says `stored`. Return how many did not exist."""
    created = 0
    for creations in pack_transactions(_creation(records, *receipt) for receipt in receipts.items()):
        if records.commit([*chain.from_iterable(creations)]):
            created += len(creations)
        else:
            created += sum(records.commit(creation) for creation in creations)
    return created


def _creation(records: Records, key: str, values: Values) -> list[Change]:
    """Return the changes that create a receipt, and the outbox entry that it names or its entry in the index."""
    receipt = Receipt.from_record(Record(key, dict(values), ""))
    changes: list[Change] = [Create(Table.RECEIPTS, key, values)]
    if receipt.state is State.STORED:
        changes.append(Create(Table.OUTBOX, receipt.outbox, receipt.to_outbox_values()))
    return changes + ReceiptIndex(records).changes(None, receipt, utc_now())


def _read(file: Path) -> Iterator[tuple[Table, Record]]:
    """Yield the records of an export.

    Raises:
        ConfigurationError: the file cannot be read, is not an export, or is incomplete.
    """
    not_complete = ConfigurationError(f"{file} is damaged or incomplete; use another export")
    count, end = 0, None
    try:
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            header = json.loads(next(stream, "null"))
            if not isinstance(header, dict) or header.get("format") != _FORMAT or header.get("version") != _VERSION:
                raise ConfigurationError(f"{file} is not an export of records that this version reads")
            for line in stream:
                if end is not None:
                    raise not_complete
                row = json.loads(line)
                if "records" in row:
                    end = row["records"]
                    continue
                count += 1
                values = {name: _from_json(value) for name, value in row["values"].items()}
                yield Table(row["table"]), Record(row["key"], values, "")
    except (EOFError, ValueError, KeyError, TypeError, AttributeError, gzip.BadGzipFile):
        raise not_complete from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    if end != count:
        raise not_complete


def _write(stream: Any, row: dict[str, Any]) -> None:
    stream.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def _to_json(value: Value) -> Any:
    return {_TIME: value.isoformat()} if isinstance(value, datetime) else value


def _from_json(value: Any) -> Value:
    if isinstance(value, dict):
        return datetime.fromisoformat(value[_TIME])
    if not isinstance(value, str | int | bool):
        raise TypeError
    return value
