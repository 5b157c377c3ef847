"""What all records and results have alike: how they tell of an arrival and of a time, and how they are written down."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from shared.config import MailProtocol
from shared.documents.schema import ArrivalFields
from shared.receipts import Receipt

JSON: Final = "application/json"
"""The content type of all documents."""

_READABLE: Final = 1_000
"""Entries of a list that is written with an entry a line."""

_one_line = json.JSONEncoder(ensure_ascii=False).encode


def to_document(receipt: Receipt) -> ArrivalFields:
    """An arrival as every record and result tells of it."""
    return {
        "id": receipt.arrival,
        "mailbox": receipt.mailbox,
        "protocol": MailProtocol(receipt.protocol).value,
        "folder": receipt.folder,
        "server_key": receipt.server_key,
        "received": format_time(receipt.received) if receipt.received else None,
        "stored": format_time(receipt.stored_at),
    }


def format_time(time: datetime) -> str:
    """A time as all documents have it: ISO 8601, UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_bytes(document: object) -> bytes:
    """Return JSON in UTF-8 that people can read: a field a line, and an entry of a list a line.

    Half of a surrogate pair, as a server leaves of a subject that it cut, has no UTF-8: it becomes a `?`.
    """
    return _lines(document, 0).encode("utf-8", "replace") + b"\n"


def _lines(value: object, depth: int) -> str:
    line, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict) and value:
        fields = (f"{_one_line(str(key))}: {_lines(field, depth + 1)}" for key, field in value.items())
        return f"{{{line}{f',{line}'.join(fields)}{end}}}"
    # A list that nobody reads is written at once: an encoder that is called for each entry takes several times as long.
    if isinstance(value, list) and 0 < len(value) <= _READABLE:
        return f"[{line}{f',{line}'.join(map(_one_line, value))}{end}]"
    return _one_line(value)
