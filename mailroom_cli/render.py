"""Parts of the output that several commands print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import get_args

from rich.console import Console

from mailroom_cli.tables import Column, print_table
from shared.dispatch.record_resolution import resolved_record_path
from shared.documents.blob_paths import RECORD_KINDS, SkippedKind, parsed_path, route_of_result, skipped_path
from shared.receipts import Receipt
from shared.storage.base import Record, Storage

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
WIDE = 140
"""Columns of a terminal that has room for addresses and paths in a table."""

NOT_AUTOMATIC = "\u2013"
"""The kind of a message that is not automatic."""


def name_mailbox(name: str, text: str) -> str:
    """Return a text about a mailbox with the mailbox's name in front, unless it begins with it."""
    return (
        text
        if re.match(rf"mailbox {re.escape(name)}\b|MAILBOXES__{re.escape(name)}__", text)
        else f"mailbox {name}: {text}"
    )


def format_time(time: datetime | None) -> str:
    """Return a time for people, without its zone, which is UTC; "" for None."""
    return f"{time:{TIME_FORMAT}}" if time is not None else ""


def show_messages(storage: Storage, records: Iterable[Record], console: Console) -> None:
    """Print every message with its outcome and, where there is room, the recipient and the path of its document."""
    # In the order of the server's keys: they count upwards, and a longer key is a later one.
    receipts = sorted(
        map(Receipt.from_record, records),
        key=lambda receipt: (receipt.mailbox, len(receipt.server_key), receipt.server_key),
    )
    rows = []
    for receipt in receipts:
        for recipient, outcome_text in (receipt.outcomes or {"": receipt.state.value}).items():
            outcome, _, detail = outcome_text.partition(" ")
            subject, kind = _subject_and_kind(storage, outcome, receipt)
            path = detail if outcome == "routed" else _record_path(outcome, receipt)
            row = (receipt.mailbox, subject, kind, _describe_outcome(outcome, recipient, detail))
            rows.append((*row, recipient.removeprefix("*"), _shorten(path) if console.is_terminal else path))
    columns = [
        Column("mailbox"),
        Column("subject", can_shrink=True),
        Column("kind"),
        Column("outcome", can_shrink=True),
        Column("recipient"),
        Column("path"),
    ]
    # Neither an address nor a path is cut: on a narrow terminal they would leave no room for the rest.
    shown = len(columns) if not console.is_terminal or console.width >= WIDE else len(columns) - 2
    print_table(console, columns[:shown], [row[:shown] for row in rows])


def _describe_outcome(outcome: str, recipient: str, detail: str) -> str:
    if outcome == "routed":
        return f"routed to {route_of_result(detail)}{' by a wildcard' if recipient == '*' else ''}"
    return f"{outcome}: {detail}" if detail and outcome != "duplicate" else outcome


def _record_path(outcome: str, receipt: Receipt) -> str:
    """Return the path of the record of a message without a result, or "" if it has no record."""
    folder = {"duplicate": "duplicates"}.get(outcome, outcome)
    for kind in get_args(SkippedKind):
        if folder == kind:
            return skipped_path(kind, receipt.mailbox, receipt.stored_at, receipt.arrival)
    for kind in RECORD_KINDS:
        if folder == kind:
            return resolved_record_path(kind, receipt)
    return ""


def _shorten(path: str) -> str:
    """Return a path with all but the last 17 characters of its file name replaced by an ellipsis."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/\u2026{name[-17:]}" if folder else path


def _subject_and_kind(storage: Storage, outcome: str, receipt: Receipt) -> tuple[str, str]:
    """Return a message's subject and kind, from its parsed message or from its record; "" if unknown."""
    parsed = storage.blobs.read(parsed_path(receipt.message)) if receipt.message else None
    if parsed is not None:
        message = json.loads(parsed)
        return str(message["subject"]), message["automatic"]["kind"] if message["automatic"] else NOT_AUTOMATIC
    path = _record_path(outcome, receipt)
    data = storage.blobs.read(path) if path else None
    record = json.loads(data) if data is not None else {}
    # For a message that was never downloaded, `message` has what the server reported about it, if anything.
    envelope = record.get("envelope", record.get("message"))
    return str(envelope["subject"]) if envelope else "", ""
