"""A storage with every kind of document in it, by the whole path, with a clock that stands still (rule 7.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mailroom_cli.commands.replay import ReplayOptions, replay
from mailroom_cli.demo.messages import CONTRACTS, OFFICE, SUPPORT, message
from mailroom_cli.demo.run import ROUTES
from shared.bootstrap import App
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.storage.base import QueueName
from tests.end_to_end.command import opened
from tests.servers.memory_app import app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.pump import poll, work_until_idle

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)

SETTINGS = {
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__support__FALLBACK": "helpdesk",
    "MAILBOXES__support__BLOCKED_SENDERS": "*@spam.example",
    "MAILBOXES__support__SINCE": "2026-01-01",
    "MAILBOXES__office__ADDRESS": "office@example.com",
    "MAILBOXES__office__MAX_MESSAGE_BYTES": "50000",
    "MAILBOXES__contracts__ADDRESS": "contracts@example.com",
    **ROUTES,
}
PRESS = {**SETTINGS, "ROUTES__press__ADDRESS": "press@example.com"}
"""The same with a route for what is unhandled."""

SPAM = message(
    "From: Lea <lea@spam.example>\nTo: sales@example.com\nSubject: You have won\nMessage-ID: <spam@spam.example>",
    "Won.\n",
)
LARGE = message("From: Max <max@customer.example>\nTo: office@example.com\nSubject: Plans", "x" * 60_000)
FAULTY = message("From: Nil <nil@customer.example>\nTo: sales@example.com\nSubject: It stumbles over this", "Ouch.\n")
SEALED: dict[str, object] = {
    "subject": "For your eyes only",
    "from": "kai@customer.example",
    "to": ["contracts@example.com"],
    "message_id": "<demo-13@demo.example>",
    "received": "2026-11-23T09:13:30Z",
}


class PublishedWorld:
    """Three mailboxes, and a storage of either kind.

    Args:
        storage: its address.
    """

    def __init__(self, storage: str) -> None:
        self.storage = storage
        self.stores = opened(storage)
        self.servers = {name: MemoryServer() for name in ("support", "office", "contracts")}

    def app(self, settings: Mapping[str, str] = SETTINGS) -> App:
        """A new process."""
        read = settings_for(self.storage, settings)
        return app_on(read, lambda mailbox: self.servers[mailbox.name].open(), stores=self.stores, now=lambda: NOW)

    def collect(self, mailbox: str, *messages: bytes) -> None:
        """Let messages arrive and be routed."""
        server = self.servers[mailbox]
        server.deliver(*messages)
        server.received = dict.fromkeys(server.messages, NOW - timedelta(minutes=1))
        app = self.app()
        poll(app, mailbox)
        work_until_idle(app)

    def leave_every_kind(self) -> None:
        """Let the demonstration's mail arrive, and what becomes of mail otherwise happen."""
        self.collect("support", *SUPPORT, SPAM)
        self.collect("office", *OFFICE, LARGE)
        contracts = self.servers["contracts"]
        contracts.deliver(b"sealed")
        contracts.refused, contracts.unreadable = {1: "ErrorMimeContentConversionFailed"}, {1: SEALED}
        self.collect("contracts", *CONTRACTS)
        self._fail(FAULTY)

    def replay(self, *records: str, again: bool = False) -> None:
        """Have arrivals routed anew, with a route for the press."""
        app = self.app(PRESS)
        replay(app, ReplayOptions(records=records, reissue=again), lambda _done, _of: None)
        work_until_idle(app)

    def documents(self, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Every document in the container, with its path, in the order of their paths."""
        for path in sorted(self.stores.blobs.list(prefix)):
            if path.endswith(".json") and "/attachments/" not in path:
                yield path, self.read(path)

    def read(self, path: str) -> dict[str, Any]:
        """One document."""
        data = self.stores.blobs.read(path)
        assert data is not None, path
        read = json.loads(data)
        assert isinstance(read, dict)
        return read

    def _fail(self, data: bytes) -> None:
        def read(_data: object) -> None:
            raise ValueError("a fault of ours")

        self.servers["support"].deliver(data)
        app = self.app()
        sorter = replace(app.router, parse=read)  # type: ignore[arg-type]  # it gives no message
        app.poller.poll(Poll("support", PollReason.MANUAL))
        queue = self.stores.queues[QueueName.ROUTE_REQUESTS]
        for item in queue.receive(32, hidden_for=60):
            announcement = RouteRequest.from_json(item.body)
            with suppress(ValueError):
                sorter.route(announcement)
            sorter.record_error(announcement, ValueError())
            sorter.dead_letter(announcement)
            queue.delete(item)
