"""The fixture of the intake tests: one mailbox on a server in memory, and a storage."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.bootstrap import App
from shared.config import AppSettings, MailboxSettings
from shared.mailboxes.base import Mailbox
from shared.mailboxes.spool import Content
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt
from shared.storage.base import Table
from shared.storage.factory import open_storage
from shared.storage.folder.blobs import HIDDEN
from tests.servers.memory_app import app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.pump import poll, work_until_idle
from tests.servers.whole_table import whole_table

DAY = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def letter(number: int, size: int = 0) -> bytes:
    head = f"From: a@b.example\r\nTo: support@example.com\r\nSubject: {number}\r\n\r\n"
    return head.encode().ljust(size, b"x") + b"\r\n"


class IntakeFixture:
    """One mailbox on a server in memory and a storage in a folder; `app` is a new process each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = MemoryServer()
        self.extra: dict[str, str] = {}
        self.time = DAY
        self.stores = open_storage(self.settings.app_storage, self.settings.mail_storage, "mail")

    @property
    def settings(self) -> AppSettings:
        values = {"ADDRESS": "support@example.com", **self.extra}
        named = {f"MAILBOXES__support__{name}": value for name, value in values.items()}
        return settings_for(f"folder:{self.folder}", {**named, "ROUTES__support__ADDRESS": "support@example.com"})

    def app(self, budget: float = 300) -> App:
        def connect(_settings: MailboxSettings) -> Mailbox:
            return self.server.open()

        app = app_on(self.settings, connect, stores=self.stores, now=lambda: self.time)
        return replace(app, poller=replace(app.poller, budget=budget))

    def poll(self, budget: float = 300) -> App:
        """Poll once and route until idle."""
        app = self.app(budget)
        poll(app, "support")
        work_until_idle(app)
        return app

    def results(self) -> list[str]:
        return list(self.stores.blobs.list("routed/"))

    def receipts(self) -> list[Receipt]:
        return [Receipt.from_record(record) for record in whole_table(self.stores.records, Table.RECEIPTS)]

    def route_requests(self) -> list[RouteRequest]:
        """Return the route requests on the queue, oldest first, and leave them there."""
        with closing(sqlite3.connect(self.folder / HIDDEN / "state.sqlite3")) as database:
            rows = database.execute("SELECT body FROM messages WHERE queue = 'route-requests' ORDER BY id")
            return [RouteRequest.from_json(body) for (body,) in rows]

    def read(self, path: str) -> dict[str, object]:
        data = self.stores.blobs.read(path)
        assert data is not None
        read = json.loads(data)
        assert isinstance(read, dict)
        return read


def count_contents(monkeypatch: pytest.MonkeyPatch) -> tuple[list[bytes], list[Content]]:
    """Return the bytes of the contents that are opened from now on, and the contents that are closed."""
    opened: list[bytes] = []
    closed: list[Content] = []
    from_bytes, close = Content.from_bytes, Content.close

    def counted_of(data: bytes) -> Content:
        opened.append(data)
        return from_bytes(data)

    def counted_close(content: Content) -> None:
        closed.append(content)
        close(content)

    monkeypatch.setattr(Content, "from_bytes", staticmethod(counted_of))
    monkeypatch.setattr(Content, "close", counted_close)
    return opened, closed
