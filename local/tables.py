"""What the commands show: mailboxes and messages, as tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.clock import utc_now
from shared.layout import parsed_path, raw_path
from shared.receipts import Receipt
from shared.settings import MailProtocol
from shared.storage.protocol import QueueName, Record, Stores
from shared.storage.protocol import Table as Kind
from shared.wiring import App

PLAIN_WIDTH = 150
WHEN = "%Y-%m-%d %H:%M:%S"


def show_mailboxes(app: App, console: Console) -> None:
    """How every configured mailbox fares."""
    table = Table(
        "mailbox",
        "state",
        "last look (UTC)",
        "collected",
        "left",
        "failures",
        "what is wrong, and when it is tried again",
    )
    for settings in app.settings.mailboxes.values():
        health = app.health.of(settings.name)
        if not settings.enabled:
            state = "switched off"
        elif health.disabled:
            state = "disabled"
        elif health.failures:
            state = "failing"
        else:
            state = "well" if health.last_success else "never looked at"
        wrong = health.last_error
        if health.disabled:
            wrong += f" (mailroom enable {settings.name})"
        elif health.next_try is not None and health.next_try > utc_now():
            wrong += f" (next try {health.next_try:{WHEN}})"
        table.add_row(
            settings.name,
            state,
            _when(health.last_poll),
            str(health.collected),
            str(health.left),
            str(health.failures),
            Text(wrong),
        )
    for name, faults in app.settings.faulty.items():
        table.add_row(name, "settings wrong", "", "", "", "", Text("\n".join(faults)))
    console.print(table)


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
        notified = _when(app.health.of(settings.name).last_notified)
        for folder in settings.folders:
            found = app.subscriptions.of(settings.name, folder)
            until = f"{found.until:{WHEN}}" if found.until > utc_now() else "no subscription, the clock alone collects"
            table.add_row(settings.name, Text(folder), until, notified, Text(found.error))
    console.print(table)


def show_queues(stores: Stores, console: Console) -> None:
    """What waits, and for how long."""
    table = Table("waiting", "messages", "note")
    pending = [record.values["stored_at"] for record in stores.records.scan(Kind.PENDING)]
    oldest = min((time for time in pending if isinstance(time, datetime)), default=None)
    table.add_row("stored, not yet routed", str(len(pending)), f"the oldest since {oldest:{WHEN}}" if oldest else "")
    for name in QueueName:
        table.add_row(f"queue {name}", str(stores.queues[name].length()), "")
    console.print(table)


def show_messages(stores: Stores, records: Iterable[Record], console: Console) -> None:
    """What became of each message, and where to look."""
    table = Table("mailbox", "subject", "what became of it", "where", box=SIMPLE)
    rows = []
    # In the order in which the server had them: its keys count upwards, and longer ones are later.
    receipts = sorted(map(Receipt.of, records), key=lambda one: (one.mailbox, len(one.server_key), one.server_key))
    for receipt in receipts:
        subject = _subject(stores, receipt)
        for recipient, outcome in (receipt.outcomes or {"": receipt.state.value}).items():
            fate, _, what = outcome.partition(" ")
            rows.append((receipt.mailbox, subject, _fate(fate, recipient, what), _where(fate, what, receipt)))
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def wide_console() -> Console:
    """The terminal; or, where there is none, a page wide enough for paths."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def _fate(fate: str, recipient: str, what: str) -> str:
    if fate == "routed":
        route = what.split("/")[1]
        return f"routed to {route}" + (f" for {recipient}" if recipient != "*" else " by a wildcard")
    if fate == "duplicate":
        return f"a duplicate, for {recipient}"
    return f"{fate}: {what}" if what else fate


def _where(fate: str, what: str, receipt: Receipt) -> str:
    if fate == "routed":
        return "/".join([*what.split("/")[:-1], "…" + what[-17:]])
    folder = {"duplicate": "duplicates"}.get(fate, fate)
    return f"{folder}/{receipt.mailbox}/{receipt.stored_at:%Y/%m/%d}/…{receipt.arrival[:12]}.json"


def _subject(stores: Stores, receipt: Receipt) -> str:
    if not receipt.message:
        return ""
    parsed = stores.blobs.read(parsed_path(receipt.message))
    return str(json.loads(parsed)["subject"]) if parsed is not None else raw_path(receipt.message)


def _when(time: datetime | None) -> str:
    return f"{time:{WHEN}}" if time is not None else ""
