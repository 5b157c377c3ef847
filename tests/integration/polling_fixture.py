"""The fixtures of the polling tests: mailboxes in memory, a storage, and a time that is set."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.bootstrap import App
from shared.config import MailboxSettings
from shared.errors import MailroomError
from shared.intake.folder_sync import DrainStats
from shared.mailboxes.base import Mailbox
from shared.queue_messages import Poll, PollReason
from shared.storage.base import QueueName
from shared.storage.factory import open_storage
from shared.storage.folder.blobs import HIDDEN
from tests.servers.faults import FaultInjector
from tests.servers.memory_app import app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GRAPH = {"PROTOCOL": "graph", "HOST": "", "PORT": "", "TLS": "", "PASSWORD": "", "SIGN_IN": "managed-identity"}


def letter(number: int) -> bytes:
    return f"From: a@b.example\r\nTo: support@example.com\r\nSubject: {number}\r\n\r\n".encode()


class PollingFixture:
    """One mailbox, and a storage in a folder. `fails` is the error that the next sign-ins raise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = MemoryServer()
        self.extra: dict[str, str] = {}
        self.time = START
        self.fails: MailroomError | Exception | None = None
        self.sign_ins = 0
        settings = settings_for(f"folder:{folder}", self.values)
        self.stores = open_storage(settings.app_storage, settings.mail_storage, "mail")

    @property
    def values(self) -> dict[str, str]:
        values = {"ADDRESS": "support@example.com", **self.extra}
        return {f"MAILBOXES__support__{name}": value for name, value in values.items()}

    def app(self, faults: FaultInjector | None = None) -> App:
        def connect(_settings: MailboxSettings) -> Mailbox:
            self.sign_ins += 1
            if self.fails is not None:
                raise self.fails
            return self.server.open()

        settings = settings_for(f"folder:{self.folder}", self.values)
        stores = self.stores if faults is None else faults.stores(self.stores)
        return app_on(settings, connect, stores=stores, now=lambda: self.time)

    def poll(self, reason: PollReason = PollReason.TIMER) -> bool:
        """Poll the mailbox as the timer does; return whether it was drained."""
        return self.app().poller.poll(Poll("support", reason)) is not None

    def take_polls(self) -> list[Poll]:
        """Return the polls on the queue, and empty it."""
        queue = self.stores.queues[QueueName.POLLS]
        polls = []
        while items := queue.receive(32, hidden_for=60):
            for item in items:
                polls.append(Poll.from_json(item.body))
                queue.delete(item)
        return polls

    def execute_sql(self, statement: str) -> None:
        with sqlite3.connect(self.folder / HIDDEN / "state.sqlite3") as database:
            database.execute(statement)
        database.close()


class GraphPollingFixture(PollingFixture):
    """A mailbox with Graph settings. `subscribed` says whether Graph notifies us of its mail."""

    subscribed = True

    @property
    def values(self) -> dict[str, str]:
        return {f"MAILBOXES__support__{name}": value for name, value in GRAPH.items()} | super().values

    def app(self, faults: FaultInjector | None = None) -> App:
        app = super().app(faults)
        return replace(app, poller=replace(app.poller, subscribed=lambda _settings: self.subscribed))

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def poll_notified(self, asked: datetime | None = None) -> DrainStats | None:
        """Poll as a notification requests, which comes now or came before."""
        return self.run_poll(Poll("support", PollReason.NOTIFIED, requested_at=asked or self.time))

    def run_poll(self, poll: Poll) -> DrainStats | None:
        return self.app().poller.poll(poll)

    def take_delayed_polls(self) -> list[tuple[Poll, float]]:
        """Return the polls on the queue with the seconds that each is delayed, and empty the queue."""
        query = "SELECT body, visible - inserted FROM messages WHERE queue = 'polls' ORDER BY visible, id"
        with sqlite3.connect(self.folder / HIDDEN / "state.sqlite3") as database:
            delayed = [(Poll.from_json(body), round(seconds, 3)) for body, seconds in database.execute(query)]
            database.execute("DELETE FROM messages WHERE queue = 'polls'")
        database.close()
        return delayed

    def run(self, *polls: Poll, at_most: int = 20) -> list[tuple[str, float]]:
        """Run polls and their follow-ups, each at its time; return the reason and second of each."""
        start = self.time
        polls_made: list[tuple[str, float]] = []
        waiting = [(0.0, poll) for poll in polls]
        for _ in range(at_most):
            if not waiting:
                return polls_made
            due, poll = waiting.pop(0)
            self.time = max(self.time, start + timedelta(seconds=due))
            before = self.sign_ins
            self.run_poll(poll)
            now = (self.time - start).total_seconds()
            polls_made += [(str(poll.reason), now)] * (self.sign_ins - before)
            waiting += [(now + delay, request) for request, delay in self.take_delayed_polls()]
            waiting.sort(key=lambda item: item[0])
        raise AssertionError("polls go on for ever")
