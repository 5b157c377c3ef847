"""An app with a storage in a folder and mailboxes in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from shared.bootstrap import App, build_app
from shared.clock import Now, utc_now
from shared.config import AppSettings, MailboxSettings, load_settings
from shared.mailboxes.base import Mailbox
from shared.storage.base import Storage
from shared.storage.factory import open_storage
from shared.storage.folder.blobs import HIDDEN

TWO_MAILBOXES = {
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__office__ADDRESS": "office@example.com",
    "ROUTES__support__MAILBOX": "support",
    "ROUTES__support__ADDRESS": "support@example.com",
    "ROUTES__sales__ADDRESS": "sales@example.com",
    "ROUTES__office__MAILBOX": "office",
    "ROUTES__office__ADDRESS": "office@example.com",
}


def settings_for(storage: str, extra: Mapping[str, str] = TWO_MAILBOXES) -> AppSettings:
    """Return settings, with defaults for every mailbox in `extra`."""
    values = {"AzureWebJobsStorage": storage, "POLL_SCHEDULE": "0 * * * * *", **extra}
    for name in {key.split("__")[1] for key in extra if key.startswith("MAILBOXES__")}:
        defaults = {
            "PROTOCOL": "imap",
            "HOST": "127.0.0.1",
            "PORT": "1",
            "TLS": "none",
            "PASSWORD": "secret-of-" + name,
        }
        for key, value in defaults.items():
            values.setdefault(f"MAILBOXES__{name}__{key}", value)
    settings = load_settings(values)
    assert not settings.mailbox_errors, settings.mailbox_errors
    return settings


def app_on(
    settings: AppSettings,
    connect: Callable[[MailboxSettings], Mailbox],
    *,
    stores: Storage | None = None,
    now: Now = utc_now,
) -> App:
    """Return an app that opens sessions with `connect`, and routes sequentially."""
    if stores is None:
        stores = open_storage(settings.app_storage, settings.mail_storage, settings.mail_container)
    app = build_app(settings, stores, now=now)
    return replace(app, poller=replace(app.poller, connect=connect), router=replace(app.router, executor=None))


def let_time_pass(folder: Path) -> None:
    """Make all messages visible and end all leases, as if ten minutes had passed."""
    with sqlite3.connect(folder / HIDDEN / "state.sqlite3") as database:
        database.execute("UPDATE messages SET visible = 0")
        database.execute("DELETE FROM leases")
    database.close()
