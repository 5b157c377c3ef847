"""What the tests of polling share: mailboxes in memory, a storage, and a clock."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from shared.errors import MailroomError
from shared.mailboxes.protocol import Mailbox
from shared.queued import Poll, Reason
from shared.settings import MailboxSettings
from shared.storage.folder.blobs import HIDDEN
from shared.storage.opening import open_stores
from shared.storage.protocol import QueueName
from shared.wiring import App
from tests.servers.faults import Faults
from tests.servers.memory_app import app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def letter(number: int) -> bytes:
    return f"From: a@b.example\r\nTo: support@example.com\r\nSubject: {number}\r\n\r\n".encode()


class World:
    """One mailbox, and a storage in a folder. `fails` is what the next sign-ins raise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = MemoryServer()
        self.extra: dict[str, str] = {}
        self.time = START
        self.fails: MailroomError | Exception | None = None
        self.sign_ins = 0
        settings = settings_for(f"folder:{folder}", self.values)
        self.stores = open_stores(settings.app_storage, settings.mail_storage, "mail")

    @property
    def values(self) -> dict[str, str]:
        values = {"ADDRESS": "support@example.com", **self.extra}
        return {f"MAILBOXES__support__{name}": value for name, value in values.items()}

    def app(self, faults: Faults | None = None) -> App:
        def connect(_settings: MailboxSettings) -> Mailbox:
            self.sign_ins += 1
            if self.fails is not None:
                raise self.fails
            return self.server.open()

        settings = settings_for(f"folder:{self.folder}", self.values)
        stores = self.stores if faults is None else faults.stores(self.stores)
        return app_on(settings, connect, stores=stores, now=lambda: self.time)

    def look(self, reason: Reason = Reason.CLOCK) -> bool:
        """One tick of the clock for the mailbox; whether it was drained."""
        return self.app().poller.poll(Poll("support", reason)) is not None

    def enqueued(self) -> list[Poll]:
        """The polls on the queue, which is empty then."""
        queue = self.stores.queues[QueueName.POLLS]
        found = []
        while items := queue.receive(32, hidden_for=60):
            for item in items:
                found.append(Poll.of(item.body))
                queue.delete(item)
        return found

    def tamper(self, statement: str) -> None:
        with sqlite3.connect(self.folder / HIDDEN / "state.sqlite3") as database:
            database.execute(statement)
        database.close()
