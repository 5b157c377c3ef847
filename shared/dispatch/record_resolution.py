"""Mark records as resolved after a replay. Records are overwritten with the mark and never deleted
(docs/how-to/replay.md).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from shared.documents.blob_paths import RECORD_KINDS, RecordKind, record_path
from shared.documents.schema import Outcome
from shared.documents.writer import JSON, to_resolved_record
from shared.receipts import Receipt, State
from shared.storage.base import Blobs, Record, Storage

RECORD_KINDS_BY_OUTCOME: Mapping[Outcome, set[RecordKind]] = {
    "routed": {"duplicates"},
    "duplicate": {"duplicates"},
    "unhandled": {"unhandled"},
    "blocked": {"blocked"},
}
"""The kinds of record that an outcome may leave. A routed arrival may be a duplicate for another recipient."""


def mark_resolved(
    blobs: Blobs,
    receipt: Receipt,
    *,
    except_kinds: Collection[RecordKind],
    at: datetime,
    outcome: Outcome,
    results: Sequence[str],
) -> None:
    """Mark the records of an arrival that are no longer true. A record that is already marked stays as it is.

    Args:
        blobs: where they are stored.
        receipt: the arrival's.
        except_kinds: the kinds of record that are still true.
        at: when the arrival was routed again.
        outcome: its outcome now.
        results: the paths of its results.

    Raises:
        WriteConflict: another replay writes the same record now.
    """
    for kind in RECORD_KINDS:
        path = resolved_record_path(kind, receipt)
        version = None if kind in except_kinds else blobs.read_version(path)
        if version is None or version.data is None or not is_unresolved(version.data):
            continue
        data = to_resolved_record(version.data, at=at, outcome=outcome, results=results)
        blobs.replace(path, data, etag=version.etag, content_type=JSON)


def resolve_outdated_records(storage: Storage, record: Record, at: datetime) -> None:
    """Mark the records of a routed arrival that its receipt contradicts as resolved.

    Args:
        storage: the storage.
        record: the receipt, as this or another worker wrote it.
        at: the current time.

    Raises:
        WriteConflict: another worker marks the same record now.
    """
    receipt, value = Receipt.from_record(record), record.values.get("outcome")
    outcome = next((outcome for outcome in RECORD_KINDS_BY_OUTCOME if outcome == value), None)
    if receipt.state is State.ROUTED and outcome is not None:
        true_kinds: set[RecordKind] = {"unhandled"} if record.values.get("unserved") else set()
        true_kinds |= RECORD_KINDS_BY_OUTCOME[outcome]
        results = list(receipt.results().values())
        mark_resolved(storage.blobs, receipt, except_kinds=true_kinds, at=at, outcome=outcome, results=results)


def is_unresolved(data: bytes) -> bool:
    """Return whether a blob is a record that is not marked as resolved."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("resolved") is None


def resolved_record_path(kind: RecordKind, receipt: Receipt) -> str:
    """Return the path of an arrival's record of a kind, whether or not it exists."""
    return record_path(kind, receipt.mailbox, receipt.stored_at, receipt.message, receipt.arrival)
