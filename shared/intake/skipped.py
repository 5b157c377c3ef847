"""What stays in its mailbox, too large or never given out by the server: recorded once (rules 1.7, 8.3)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from shared.documents.blob_paths import skipped_path
from shared.documents.schema import OversizedDocument, ReportedFields, UnreadableDocument
from shared.documents.writer import JSON, to_bytes, to_document
from shared.intake.arrival_store import ArrivalStore, Candidate
from shared.receipts import Receipt, State
from shared.storage.base import Table

_log = logging.getLogger("mailroom.intake")


def record_oversized(arrivals: ArrivalStore, item: Candidate, size: int) -> None:
    """Record, once, a message that is too large to be downloaded (rule 1.7).

    Args:
        arrivals: of the folder that it is in.
        item: with its receipt, if it was recorded before.
        size: octets, as far as known.
    """
    if not item.arrival:
        # The server has no keys: its size stands in, since its bytes are not known.
        item = replace(item, arrival=arrivals.key(f"size:{size}"))
    record = arrivals.storage.records.get(Table.RECEIPTS, item.arrival)
    if record is not None and record.values.get("recorded"):
        if size > int(str(record.values["size"])):
            arrivals.storage.records.merge(Table.RECEIPTS, item.arrival, {"size": size})
        return
    if record is None:
        receipt = replace(arrivals.new_receipt(item, message="", size=size), state=State.OVERSIZED)
        arrivals.storage.records.create(Table.RECEIPTS, item.arrival, receipt.to_values())
    else:
        receipt = Receipt.from_record(record)
    path = skipped_path("oversized", arrivals.settings.name, receipt.stored_at, item.arrival)
    told: OversizedDocument = {
        "schema": "mailroom/oversized/1",
        "detail": f"{size} octets are more than MAILBOXES__{arrivals.settings.name}__MAX_MESSAGE_BYTES "
        f"({arrivals.settings.max_message_bytes}); the message stays in the mailbox until the limit is larger.",
        "arrival": to_document(receipt),
        "size": size,
    }
    arrivals.storage.blobs.create(path, to_bytes(told), content_type=JSON)
    arrivals.storage.records.merge(Table.RECEIPTS, item.arrival, {"recorded": True})
    _log.warning(
        "mailbox %s, %s: a message of %d octets is left: %s", arrivals.settings.name, arrivals.folder, size, path
    )


def record_unreadable(
    arrivals: ArrivalStore, item: Candidate, why: str, told: Mapping[str, object], *, retried_daily: bool = False
) -> None:
    """Record, once, a message that the server does not deliver, with the metadata that it has (rule 8.3).

    Args:
        arrivals: of the folder that it is in.
        item: with its receipt, if it was recorded before.
        why: in the server's words.
        told: what is known of the message.
        retried_daily: the server may deliver it later, so that it is asked for once a day.
    """
    size = item.listed.size
    receipt = replace(
        arrivals.new_receipt(item, message="", size=size), state=State.UNREADABLE, retried_daily=retried_daily
    )
    if item.receipt is None:
        arrivals.storage.records.create(Table.RECEIPTS, item.arrival, receipt.to_values())
    path = skipped_path("unreadable", arrivals.settings.name, receipt.stored_at, item.arrival)
    record: UnreadableDocument = {
        "schema": "mailroom/unreadable/1",
        "detail": f"The server does not deliver the message: {why}. It stays in the mailbox and is tried "
        f"again {'once a day, and ' if retried_daily else ''}after "
        f"`mailroom enable {arrivals.settings.name} --unreadable`.",
        "arrival": to_document(receipt),
        "size": size,
        "message": _told(told),
    }
    arrivals.storage.blobs.create(path, to_bytes(record), content_type=JSON)
    arrivals.storage.blobs.settle()
    # Last: until there is a time, the message is tried again, and this made good.
    done = replace(receipt, last_refused_at=arrivals.now())
    arrivals.storage.records.merge(Table.RECEIPTS, item.arrival, done.to_values())
    _log.warning(
        "mailbox %s, %s: message %s cannot be read and is skipped; it stays in the mailbox: %s",
        arrivals.settings.name,
        arrivals.folder,
        item.listed.key,
        path,
    )


def _told(told: Mapping[str, object]) -> ReportedFields:
    to = told.get("to")
    return {
        "subject": _text(told.get("subject")),
        "from": _text(told.get("from")),
        "to": [str(one) for one in to if one is not None] if isinstance(to, Iterable) else [],
        "message_id": _text(told.get("message_id")),
        "received": _text(told.get("received")),
    }


def _text(told: object) -> str | None:
    return None if told is None else str(told)
