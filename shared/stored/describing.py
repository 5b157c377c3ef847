"""What all records and results have alike: how they tell of an arrival and of a time, and how they are written down."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from shared.receipts import Receipt
from shared.settings import MailProtocol
from shared.stored.published import ArrivalFields

JSON: Final = "application/json"
"""The content type of all documents."""


def described(receipt: Receipt) -> ArrivalFields:
    """An arrival as every record and result tells of it."""
    return {
        "id": receipt.arrival,
        "mailbox": receipt.mailbox,
        "protocol": MailProtocol(receipt.protocol).value,
        "folder": receipt.folder,
        "server_key": receipt.server_key,
        "received": told_time(receipt.received) if receipt.received else None,
        "stored": told_time(receipt.stored_at),
    }


def told_time(time: datetime) -> str:
    """A time as all documents have it: ISO 8601, UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_bytes(document: object) -> bytes:
    """JSON for people and machines alike, in UTF-8.

    Half of a surrogate pair, as a server leaves of a subject that it cut, has no octets: a `?` stands for it.
    """
    return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n"
