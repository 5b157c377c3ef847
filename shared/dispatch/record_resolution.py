"""Records that a replay leaves behind: marked as resolved, written anew, never deleted (docs/how-to/replay.md)."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime

from shared.documents.blob_paths import FATES, RecordKind, record_path
from shared.documents.describing import JSON
from shared.documents.schema import Outcome
from shared.documents.writer import marked
from shared.receipts import Receipt
from shared.storage.base import Blobs


def mark_resolved(
    blobs: Blobs,
    receipt: Receipt,
    *,
    but: Collection[RecordKind],
    at: datetime,
    outcome: Outcome,
    results: Sequence[str],
) -> None:
    """Mark the records of an arrival that tell what is true no more. One that is marked already stays as it is.

    Args:
        blobs: where they are.
        receipt: the arrival's.
        but: the kinds that still tell the truth.
        at: when it was routed anew.
        outcome: what it is now: `routed`, `unhandled`, `duplicate` or `blocked`.
        results: the paths of its results.

    Raises:
        WriteConflict: another replay writes the same record now.
    """
    for fate in FATES:
        path = resolved_record_path(fate, receipt)
        version = None if fate in but else blobs.read_version(path)
        if version is None or version.data is None or not is_unresolved(version.data):
            continue
        data = marked(version.data, at=at, outcome=outcome, results=results)
        blobs.replace(path, data, etag=version.etag, content_type=JSON)


def is_unresolved(data: bytes) -> bool:
    """Whether a record waits for somebody: it is one, and is not marked as resolved."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("resolved") is None


def resolved_record_path(fate: RecordKind, receipt: Receipt) -> str:
    """Where an arrival's record of a kind is, if it has one."""
    return record_path(fate, receipt.mailbox, receipt.stored_at, receipt.message, receipt.arrival)
