"""What the commands show: mailboxes and messages, as tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import get_args

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mailroom_cli.terminal import open_console
from shared.bootstrap import App
from shared.clock import utc_now
from shared.config import MailboxSettings, MailProtocol
from shared.dispatch.record_resolution import resolved_record_path
from shared.documents.blob_paths import RECORD_KINDS, SkippedKind, parsed_path, route_of_result, skipped_path
from shared.mailbox_health import MailboxHealth
from shared.receipts import Receipt
from shared.storage.base import QueueName, Record, Storage
from shared.storage.base import Table as Kind

PLAIN_WIDTH = 165
WHEN = "%Y-%m-%d %H:%M:%S"
ORDINARY = "\u2013"
"""The kind of a message that nothing says is automatic."""


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
            _when(health.last_poll),
            str(health.collected),
            str(health.left),
            str(health.failures),
            Text(_problem(settings, health)),
        )
    for name, faults in app.settings.faulty.items():
        table.add_row(name, "settings wrong", "", "", "", "", Text("\n".join(faults)))
    console.print(table)


def _state(settings: MailboxSettings, health: MailboxHealth) -> str:
    """Return a mailbox's state in a word or two."""
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
    """Return why a mailbox is not polled now, and when it will be; or what to know of a mailbox that works."""
    problem = health.busy_reason or health.last_error or health.warning
    if health.busy_since is not None:
        problem += f" (no poll has finished since {health.busy_since:{WHEN}})"
    if health.disabled:
        problem += f" (mailroom enable {settings.name})"
    elif health.next_try is not None and health.next_try > utc_now():
        problem += f" (next try {health.next_try:{WHEN}})"
    if health.left and not problem:
        problem = f"{health.left} skipped, see oversized/{settings.name} and unreadable/{settings.name}"
    return problem.strip()


def show_subscriptions(app: App, console: Console) -> None:
    """What Graph notifies us of, and for how long; nothing, where no mailbox is Graph's."""
    mailboxes = [one for one in app.settings.mailboxes.values() if one.protocol is MailProtocol.GRAPH]
    if not mailboxes:
        return
    if app.settings.graph_webhook_url is None:
        names = ", ".join(one.name for one in mailboxes)
        console.print(f"GRAPH_WEBHOOK_URL is not set: Graph notifies nobody, the clock alone collects {names}.\n")
        return
    table = Table("mailbox", "folder", "subscribed until (UTC)", "last notified (UTC)", "what is wrong")
    for settings in mailboxes:
        notified = _when(app.health.get(settings.name).last_notified)
        for folder in settings.folders:
            found = app.subscriptions.of(settings.name, folder)
            until = f"{found.until:{WHEN}}" if found.until > utc_now() else "no subscription, the clock alone collects"
            table.add_row(settings.name, Text(folder), until, notified, Text(found.error))
    console.print(table)


def show_queues(stores: Storage, console: Console) -> None:
    """What waits, and for how long."""
    table = Table("waiting", "messages", "note")
    pending = [record.values["stored_at"] for record in stores.records.scan(Kind.OUTBOX)]
    oldest = min((time for time in pending if isinstance(time, datetime)), default=None)
    table.add_row("stored, not yet routed", str(len(pending)), f"the oldest since {oldest:{WHEN}}" if oldest else "")
    for name in QueueName:
        table.add_row(f"queue {name}", str(stores.queues[name].length()), "")
    console.print(table)


def show_messages(stores: Storage, records: Iterable[Record], console: Console) -> None:
    """What each message is, what became of it, and where to look."""
    table = Table("mailbox", "subject", "kind", "what became of it", "where", box=SIMPLE)
    rows = []
    # In the order in which the server had them: its keys count upwards, and longer ones are later.
    receipts = sorted(
        map(Receipt.from_record, records), key=lambda one: (one.mailbox, len(one.server_key), one.server_key)
    )
    for receipt in receipts:
        for recipient, outcome in (receipt.outcomes or {"": receipt.state.value}).items():
            fate, _, what = outcome.partition(" ")
            subject, kind = _read(stores, fate, receipt)
            where = _short(what if fate == "routed" else _record(fate, receipt))
            rows.append((receipt.mailbox, subject, kind, _fate(fate, recipient, what), where))
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def wide_console() -> Console:
    """The terminal; or, where there is none, a page wide enough for paths."""
    console = open_console()
    return console if console.is_terminal else open_console(width=PLAIN_WIDTH)


def _fate(fate: str, recipient: str, what: str) -> str:
    if fate == "routed":
        return f"routed to {route_of_result(what)}" + (f" for {recipient}" if recipient != "*" else " by a wildcard")
    if fate == "duplicate":
        return f"a duplicate, for {recipient}"
    return f"{fate}: {what}" if what else fate


def _record(fate: str, receipt: Receipt) -> str:
    """The path of the record of a message that has no result, or "" if it leaves none."""
    folder = {"duplicate": "duplicates"}.get(fate, fate)
    for left in get_args(SkippedKind):
        if folder == left:
            return skipped_path(left, receipt.mailbox, receipt.stored_at, receipt.arrival)
    for one in RECORD_KINDS:
        if folder == one:
            return resolved_record_path(one, receipt)
    return ""


def _short(path: str) -> str:
    """A path without the most of the digits that its name begins with."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/\u2026{name[-17:]}" if folder else path


def _read(stores: Storage, fate: str, receipt: Receipt) -> tuple[str, str]:
    """A message's subject and kind, as far as they were read: in full, or for its record alone."""
    parsed = stores.blobs.read(parsed_path(receipt.message)) if receipt.message else None
    if parsed is not None:
        told = json.loads(parsed)
        return str(told["subject"]), told["automatic"]["kind"] if told["automatic"] else ORDINARY
    path = _record(fate, receipt)
    record = stores.blobs.read(path) if path else None
    told = json.loads(record) if record is not None else {}
    # Of what was never downloaded, `message` is what the server tells, if it tells anything.
    about = told.get("envelope", told.get("message"))
    return str(about["subject"]) if about else "", ""


def _when(time: datetime | None) -> str:
    return f"{time:{WHEN}}" if time is not None else ""
