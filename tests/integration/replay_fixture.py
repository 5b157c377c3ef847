"""What the tests of replays share: one mailbox's mail, routes that change, and replays of what it left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mailroom_cli.commands.replay import ReplayOptions, ReplayResult, replay
from shared.bootstrap import App
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.storage.base import QueueName, Storage, Table
from tests.end_to_end.command import opened
from tests.integration.holding import Holding
from tests.servers.memory_app import TWO_MAILBOXES, app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.pump import poll, work_until_idle

BILLING = {"ROUTES__billing__ADDRESS": "billing@example.com"}
BOTH = {**BILLING, "ROUTES__sales__ADDRESS": "sales@example.com"}
CLERK = {**BOTH, "ROUTES__clerk__ADDRESS": "clerk@example.com"}


def letter(to: str, number: int = 1, text: str = "text") -> bytes:
    head = f"From: a@b.example\r\nTo: {to}\r\nSubject: {number}\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    return f"{head}Message-ID: <{number}@b.example>\r\n\r\n{text}\r\n".encode()


def routes(**changes: str) -> dict[str, str]:
    """Two mailboxes, and no routes but these."""
    own = {name: value for name, value in TWO_MAILBOXES.items() if name.startswith("MAILBOXES__")}
    return {**own, **changes}


class ReplayFixture(Holding):
    """A storage of either kind, and apps on it with whatever routes.

    Args:
        storage: its address.
    """

    def __init__(self, storage: str) -> None:
        self.storage = storage
        super().__init__(opened(storage))
        self.servers = {"support": MemoryServer(), "office": MemoryServer()}

    def app(self, settings: Mapping[str, str], stores: Storage | None = None) -> App:
        read = settings_for(self.storage, routes(**settings))
        return app_on(read, lambda mailbox: self.servers[mailbox.name].open(), stores=stores or self.stores)

    def poll_and_route(self, settings: Mapping[str, str], *messages: bytes, mailbox: str = "support") -> App:
        """Let messages arrive and be routed by these routes."""
        self.servers[mailbox].deliver(*messages)
        app = self.app(settings)
        poll(app, mailbox)
        work_until_idle(app)
        return app

    def replay(self, settings: Mapping[str, str], *records: str, **wanted: Any) -> ReplayResult:
        """Ask for replays as the command does, and let them be worked on by these routes."""
        outcome = self.request_replay(settings, *records, **wanted)
        work_until_idle(self.app(settings))
        return outcome

    def request_replay(
        self, settings: Mapping[str, str], *records: str, stores: Storage | None = None, **wanted: Any
    ) -> ReplayResult:
        """Ask for replays, and leave them on the queue."""
        return replay(self.app(settings, stores), ReplayOptions(records=records, **wanted), lambda _done, _of: None)

    def take_route_requests(self) -> list[RouteRequest]:
        """Take off the queue what is on it."""
        queue = self.stores.queues[QueueName.ROUTE_REQUESTS]
        found = []
        while items := queue.receive(32, hidden_for=60):
            for item in items:
                found.append(RouteRequest.from_json(item.body))
                queue.delete(item)
        return found

    def only_path(self, prefix: str) -> str:
        [path] = self.stores.blobs.list(prefix)
        return path

    def results(self) -> Counter[tuple[str, str]]:
        """Route and recipient of each result."""
        read = [self.read(path) for path in self.paths("routed/")]
        return Counter((one["route"], one["recipient"]) for one in read)

    def outbox_size(self) -> int:
        return sum(1 for _ in self.stores.records.scan(Table.OUTBOX))

    def app_with_failing_parser(self, settings: Mapping[str, str]) -> App:
        """An app whose reader has a fault."""

        def read(_data: object) -> None:
            raise ValueError("a fault of ours")

        app = self.app(settings)
        return replace(app, router=replace(app.router, parse=read))  # type: ignore[arg-type]  # it gives no message

    def dead_letter(self, settings: Mapping[str, str], data: bytes) -> str:
        """A message that five tries could not route. Gives its record's path."""
        self.servers["support"].deliver(data)
        app = self.app_with_failing_parser(settings)
        app.poller.poll(Poll("support", PollReason.MANUAL))
        for announcement in self.take_route_requests():
            with pytest.raises(ValueError, match="a fault") as caught:
                app.router.route(announcement)
            app.router.record_error(announcement, caught.value)
            app.router.dead_letter(announcement)
        return self.only_path("failed/")
