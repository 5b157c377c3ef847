"""The fixture of the replay tests: the mail of a mailbox, routes that change, and replays of its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mailroom_cli.commands.explain import ExplainOptions, explain
from mailroom_cli.commands.explain_text import describe
from mailroom_cli.commands.replay import ReplayOptions, ReplayResult, replay
from shared.bootstrap import App
from shared.clock import Now, utc_now
from shared.dispatch.outbox import Replay, publish_replays
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import Receipt
from shared.storage.base import QueueName, Storage, Table
from tests.end_to_end.command import opened
from tests.integration.holding import Holding
from tests.servers.memory_app import TWO_MAILBOXES, app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.pump import poll, work_until_idle
from tests.servers.whole_table import whole_table

BILLING = {"ROUTES__billing__ADDRESS": "billing@example.com"}
BOTH = {**BILLING, "ROUTES__sales__ADDRESS": "sales@example.com"}
CLERK = {**BOTH, "ROUTES__clerk__ADDRESS": "clerk@example.com"}


def letter(to: str, number: int = 1, text: str = "text") -> bytes:
    head = f"From: a@b.example\r\nTo: {to}\r\nSubject: {number}\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    return f"{head}Message-ID: <{number}@b.example>\r\n\r\n{text}\r\n".encode()


def routes(**changes: str) -> dict[str, str]:
    """Return settings of two mailboxes, with these routes only."""
    own = {name: value for name, value in TWO_MAILBOXES.items() if name.startswith("MAILBOXES__")}
    return {**own, **changes}


class ReplayFixture(Holding):
    """A storage of either kind, and apps on it with any routes.

    Args:
        storage: its address.
    """

    def __init__(self, storage: str) -> None:
        self.storage = storage
        super().__init__(opened(storage))
        self.now: Now = utc_now
        self.servers = {"support": MemoryServer(), "office": MemoryServer()}

    def app(self, settings: Mapping[str, str], stores: Storage | None = None) -> App:
        read = settings_for(self.storage, routes(**settings))
        return app_on(
            read, lambda mailbox: self.servers[mailbox.name].open(), stores=stores or self.stores, now=self.now
        )

    def poll_and_route(self, settings: Mapping[str, str], *messages: bytes, mailbox: str = "support") -> App:
        """Deliver messages, collect them, and route them by these routes."""
        self.servers[mailbox].deliver(*messages)
        app = self.app(settings)
        poll(app, mailbox)
        work_until_idle(app)
        return app

    def replay(self, settings: Mapping[str, str], *records: str, **options: Any) -> ReplayResult:
        """Request replays as the command does, and route them by these routes."""
        outcome = self.request_replay(settings, *records, **options)
        work_until_idle(self.app(settings))
        return outcome

    def request_replay(
        self, settings: Mapping[str, str], *records: str, stores: Storage | None = None, **options: Any
    ) -> ReplayResult:
        """Request replays, and leave them on the queue."""
        return replay(self.app(settings, stores), ReplayOptions(records=records, **options), lambda _done, _of: None)

    def request_replay_of(self, receipt: Receipt, record: str, reissue: str = "") -> RouteRequest:
        """Request the replay of an arrival for a record that need not exist, and return the route request."""
        replay = Replay(receipt.arrival, receipt.mailbox, record, reissue)
        publish_replays(self.stores, [replay], self.now())
        return RouteRequest(replay.outbox)

    def explain(self, settings: Mapping[str, str], target: object, mailbox: str | None = None) -> list[str]:
        """Return the lines in which the command explains a file, an id or a path."""
        explanations, _ = explain(self.app(settings), str(target), ExplainOptions(mailbox), bytes)
        return list(describe(self.stores, explanations))

    def take_route_requests(self) -> list[RouteRequest]:
        """Return the route requests on the queue, and empty it."""
        queue = self.stores.queues[QueueName.ROUTE_REQUESTS]
        route_requests = []
        while items := queue.receive(32, hidden_for=60):
            for item in items:
                route_requests.append(RouteRequest.from_json(item.body))
                queue.delete(item)
        return route_requests

    def publish(self, *replays: Replay) -> list[RouteRequest]:
        """Write replays to the outbox. Return their route requests, and empty the queue."""
        publish_replays(self.stores, replays, self.now())
        self.take_route_requests()
        return [RouteRequest(replay.outbox) for replay in replays]

    def only_path(self, prefix: str) -> str:
        [path] = self.stores.blobs.list(prefix)
        return path

    def results(self) -> Counter[tuple[str, str]]:
        """Return route and recipient of each result."""
        read = [self.read(path) for path in self.paths("routed/")]
        return Counter((item["route"], item["recipient"]) for item in read)

    def outbox_size(self) -> int:
        return len(whole_table(self.stores.records, Table.OUTBOX))

    def app_with_failing_parser(self, settings: Mapping[str, str]) -> App:
        """Return an app whose parser raises an unexpected error."""

        def read(_data: object) -> None:
            raise ValueError("an unexpected error")

        app = self.app(settings)
        return replace(app, router=replace(app.router, parse=read))  # type: ignore[arg-type]  # it gives no message

    def dead_letter(self, settings: Mapping[str, str], data: bytes) -> str:
        """Deliver a message that five attempts cannot route. Return its record's path."""
        self.servers["support"].deliver(data)
        app = self.app_with_failing_parser(settings)
        app.poller.poll(Poll("support", PollReason.MANUAL))
        for route_request in self.take_route_requests():
            with pytest.raises(ValueError, match="an unexpected error") as caught:
                app.router.route(route_request)
            app.router.record_error(route_request, caught.value)
            app.router.dead_letter(route_request)
        return self.only_path("failed/")
