"""Record skipped messages, once: oversized ones, and ones that the server does not deliver (rules 1.7, 8.3)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from shared.documents.blob_paths import skipped_path
from shared.documents.schema import OversizedDocument, ReportedFields, UnreadableDocument
from shared.documents.serialization import to_bytes
from shared.documents.writer import JSON, to_document
from shared.intake.arrival_store import ArrivalStore, Candidate
from shared.receipt_index import ReceiptIndex
from shared.receipts import Receipt, State
from shared.storage.base import Create, Merge, Records, Table

_log = logging.getLogger("mailroom.intake")


def record_oversized(arrivals: ArrivalStore, candidate: Candidate, size: int) -> None:
    """Record, once, a message that is too large to be downloaded (rule 1.7).

    Args:
        arrivals: the arrivals of its folder.
        candidate: the message, with its receipt if it was recorded before.
        size: its size in bytes, as far as it is known.
    """
    settings, storage = arrivals.settings, arrivals.storage
    if not candidate.arrival:
        # The server has no keys, and the digest of the bytes is unknown: the size is used as the key.
        candidate = replace(candidate, arrival=arrivals.key(f"size:{size}"))
    record = storage.records.get(Table.RECEIPTS, candidate.arrival)
    if record is not None and record.values.get("recorded"):
        if size > int(str(record.values["size"])):
            storage.records.merge(Table.RECEIPTS, candidate.arrival, {"size": size})
        return
    if record is None:
        receipt = replace(arrivals.new_receipt(candidate, message="", size=size), state=State.OVERSIZED)
        _create(storage.records, receipt)
    else:
        receipt = Receipt.from_record(record)
    path = skipped_path("oversized", settings.name, receipt.stored_at, candidate.arrival)
    document: OversizedDocument = {
        "schema": "mailroom/oversized/1",
        "detail": f"{size} bytes are more than MAILBOXES__{settings.name}__MAX_MESSAGE_BYTES "
        f"({settings.max_message_bytes}); the message stays in the mailbox until the limit is larger.",
        "arrival": to_document(receipt),
        "size": size,
    }
    storage.blobs.create(path, to_bytes(document), content_type=JSON)
    # Written last: until `recorded` is set, the next poll writes the record again.
    storage.records.merge(Table.RECEIPTS, candidate.arrival, {"recorded": True})
    _log.warning(
        "mailbox %s, %s: a message of %d bytes is skipped as oversized: %s", settings.name, arrivals.folder, size, path
    )


def record_unreadable(
    arrivals: ArrivalStore,
    candidate: Candidate,
    reason: str,
    reported: Mapping[str, object],
    *,
    retried_daily: bool = False,
) -> None:
    """Record, once, a message that the server does not deliver, with the metadata that it has (rule 8.3).

    Args:
        arrivals: the arrivals of its folder.
        candidate: the message, with its receipt if it was recorded before.
        reason: the server's response.
        reported: what the server reports about the message.
        retried_daily: whether the server may deliver it later, so that it is requested once a day.
    """
    settings, storage = arrivals.settings, arrivals.storage
    size = candidate.listed.size
    receipt = replace(
        arrivals.new_receipt(candidate, message="", size=size), state=State.UNREADABLE, retried_daily=retried_daily
    )
    if candidate.receipt is None:
        _create(storage.records, receipt)
    path = skipped_path("unreadable", settings.name, receipt.stored_at, candidate.arrival)
    document: UnreadableDocument = {
        "schema": "mailroom/unreadable/1",
        "detail": f"The server does not deliver the message: {reason}. It stays in the mailbox and is tried "
        f"again {'once a day, and ' if retried_daily else ''}after "
        f"`mailroom enable {settings.name} --unreadable`.",
        "arrival": to_document(receipt),
        "size": size,
        "message": _reported_fields(reported),
    }
    storage.blobs.create(path, to_bytes(document), content_type=JSON)
    storage.blobs.flush()
    # Written last: until `last_refused_at` is set, the next poll retries the message.
    refused = replace(receipt, last_refused_at=arrivals.now())
    changes = ReceiptIndex(storage.records).changes(candidate.receipt or receipt, refused, arrivals.now())
    storage.records.commit([Merge(Table.RECEIPTS, candidate.arrival, refused.to_values()), *changes])
    _log.warning(
        "mailbox %s, %s: message %s cannot be read and is skipped; it stays in the mailbox: %s",
        settings.name,
        arrivals.folder,
        candidate.listed.key,
        path,
    )


def _create(records: Records, receipt: Receipt) -> None:
    """Create the receipt of a skipped message, if it does not exist."""
    changes = ReceiptIndex(records).changes(None, receipt, receipt.stored_at)
    records.commit([Create(Table.RECEIPTS, receipt.arrival, receipt.to_values()), *changes])


def _reported_fields(reported: Mapping[str, object]) -> ReportedFields:
    to = reported.get("to")
    return {
        "subject": _text(reported.get("subject")),
        "from": _text(reported.get("from")),
        "to": [str(address) for address in to if address is not None] if isinstance(to, Iterable) else [],
        "message_id": _text(reported.get("message_id")),
        "received": _text(reported.get("received")),
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
