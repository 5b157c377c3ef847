"""Tables of mailboxes, subscriptions, queues and messages for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import get_args

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.bootstrap import App
from shared.clock import utc_now
from shared.config import MailboxSettings, MailProtocol
from shared.dispatch.record_resolution import resolved_record_path
from shared.documents.blob_paths import RECORD_KINDS, SkippedKind, parsed_path, route_of_result, skipped_path
from shared.mailbox_health import MailboxHealth
from shared.receipts import Receipt
from shared.storage.base import QueueName, Record, Storage
from shared.storage.base import Table as StorageTable

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
NOT_AUTOMATIC = "\u2013"
"""The kind of a message that is not automatic."""


def show_mailboxes(app: App, console: Console) -> None:
    """Print the health of every configured mailbox."""
    table = Table(
        "mailbox",
        "state",
        "last poll (UTC)",
        "collected",
        "skipped",
        "failures",
        "problem and next try (UTC)",
    )
    for settings in app.settings.mailboxes.values():
        health = app.health.get(settings.name)
        table.add_row(
            settings.name,
            _state(settings, health),
            _format_time(health.last_poll),
            str(health.collected),
            str(health.left),
            str(health.failures),
            Text(_problem(settings, health)),
        )
    for name, errors in app.settings.mailbox_errors.items():
        table.add_row(name, "invalid settings", "", "", "", "", Text("\n".join(errors)))
    console.print(table)


def _state(settings: MailboxSettings, health: MailboxHealth) -> str:
    """Return a mailbox's state in one to three words."""
    if not settings.enabled:
        return "switched off"
    if health.disabled:
        return "disabled"
    if health.is_failing(utc_now()):
        return "failing"
    if health.busy_since is not None:
        return "busy"
    if health.last_success is None:
        return "never polled" if health.last_poll is None else "no poll finished"
    return "ok"


def _problem(settings: MailboxSettings, health: MailboxHealth) -> str:
    """Return why a mailbox is not polled now and when it will be polled, or a note about a healthy mailbox."""
    problem = health.busy_reason or health.last_error or health.warning
    if health.busy_since is not None:
        problem += f" (no poll has finished since {health.busy_since:{TIME_FORMAT}})"
    if health.disabled:
        problem += f" (mailroom enable {settings.name})"
    elif health.next_try is not None and health.next_try > utc_now():
        problem += f" (next try {health.next_try:{TIME_FORMAT}})"
    if health.left and not problem:
        problem = f"{health.left} skipped, see oversized/{settings.name} and unreadable/{settings.name}"
    return problem.strip()


def show_subscriptions(app: App, console: Console) -> None:
    """Print the Graph subscription of every folder; print nothing if no mailbox uses Graph."""
    mailboxes = [settings for settings in app.settings.mailboxes.values() if settings.protocol is MailProtocol.GRAPH]
    if not mailboxes:
        return
    if app.settings.graph_webhook_url is None:
        names = ", ".join(settings.name for settings in mailboxes)
        console.print(
            f"GRAPH_WEBHOOK_URL is not set: without Graph notifications, only the timer polls {names}.\n",
            soft_wrap=True,
        )
        return
    table = Table("mailbox", "folder", "subscribed until (UTC)", "last notification (UTC)", "problem")
    for settings in mailboxes:
        last_notified = _format_time(app.health.get(settings.name).last_notified)
        for folder in settings.folders:
            subscription = app.subscriptions.record_for(settings.name, folder)
            is_subscribed = subscription.until > utc_now()
            until = f"{subscription.until:{TIME_FORMAT}}" if is_subscribed else "not subscribed, only the timer polls"
            table.add_row(settings.name, Text(folder), until, last_notified, Text(subscription.error))
    console.print(table)


def show_queues(storage: Storage, console: Console) -> None:
    """Print the number of messages in the outbox and in each queue."""
    table = Table("waiting", "messages", "note")
    stored_at = [record.values["stored_at"] for record in storage.records.scan(StorageTable.OUTBOX)]
    oldest = min((time for time in stored_at if isinstance(time, datetime)), default=None)
    note = f"oldest stored at {oldest:{TIME_FORMAT}}" if oldest else ""
    table.add_row("stored, not yet routed", str(len(stored_at)), note)
    for name in QueueName:
        table.add_row(f"queue {name}", str(storage.queues[name].length()), "")
    console.print(table)


def show_messages(storage: Storage, records: Iterable[Record], console: Console) -> None:
    """Print every message with its outcome and the path of its result or record."""
    table = Table("mailbox", "subject", "kind", "outcome", "path", box=SIMPLE)
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
            path = _shorten(detail if outcome == "routed" else _record_path(outcome, receipt))
            rows.append((receipt.mailbox, subject, kind, _describe_outcome(outcome, recipient, detail), path))
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _describe_outcome(outcome: str, recipient: str, detail: str) -> str:
    if outcome == "routed":
        suffix = f" for {recipient}" if recipient != "*" else " by a wildcard"
        return f"routed to {route_of_result(detail)}{suffix}"
    if outcome == "duplicate":
        return f"duplicate for {recipient}"
    return f"{outcome}: {detail}" if detail else outcome


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


def _format_time(time: datetime | None) -> str:
    return f"{time:{TIME_FORMAT}}" if time is not None else ""
