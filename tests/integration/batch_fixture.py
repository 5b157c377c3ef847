"""The fixture of the tests of batches: the arrivals of one route request, and a host with a clock of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from shared.bootstrap import App
from shared.clock import utc_now
from shared.errors import TransientError
from shared.keys import batch_prefix
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import Change, Queue, QueueItem, QueueName, Records, Storage, Table
from tests.end_to_end.command import identity, opened
from tests.integration.holding import Holding
from tests.integration.stored_arrivals import WholeBatches
from tests.memory_queue import MemoryQueue
from tests.servers.memory_app import app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.whole_table import whole_table

ROUTES = {
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "ROUTES__support__ADDRESS": "support@example.com",
    "ROUTES__sales__ADDRESS": "sales@example.com",
    "ROUTES__many__ADDRESS": "*@many.example",
}
TRIES = 5
"""`maxDequeueCount` in host.json."""
RETRY_SECONDS = 60
"""`visibilityTimeout` in host.json."""
HIDDEN_SECONDS = 600
"""For how long the host hides a message that it has received."""


def letter(number: int, to: str = "sales@example.com", *, text: str = "", headers: str = "") -> bytes:
    head = f"From: a@b.example\r\nTo: {to}\r\nSubject: {number}\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    return f"{head}Message-ID: <{number}@b.example>\r\n{headers}\r\n{text or f'text {number}'}\r\n".encode()


SIXTEEN = [letter(number) for number in range(16)]
"""The messages of a full batch."""
VICTIM = 7
"""The number of the message of `SIXTEEN` that fails."""


class BatchFixture(Holding):
    """The mailbox `support`, and a storage of either kind whose route requests are on a queue in memory.

    Args:
        storage: its address.

    Attributes:
        seconds: the time of the queue, and that by which the app's time is ahead.
        queue: the route requests.
        poison: the route requests that failed all tries.
    """

    def __init__(self, storage: str) -> None:
        self.address = storage
        self.seconds = 0.0
        self.queue = MemoryQueue(lambda: self.seconds)
        self.poison = MemoryQueue(lambda: self.seconds)
        stores = opened(storage)
        queues: dict[str, Queue] = {QueueName.ROUTE_REQUESTS: self.queue, QueueName.ROUTE_REQUESTS_POISON: self.poison}
        super().__init__(replace(stores, queues={**stores.queues, **queues}))
        self.server = MemoryServer()

    def app(self, stores: Storage | None = None, **router: Any) -> App:
        """Return an app as a new process.

        Args:
            stores: its storage.
            router: attributes of its router.
        """
        app = app_on(
            settings_for(self.address, ROUTES),
            lambda _settings: WholeBatches(self.server),
            stores=stores or self.stores,
            now=lambda: utc_now() + timedelta(seconds=self.seconds),
        )
        return replace(app, router=replace(app.router, **router))

    def store(self, *messages: bytes) -> list[Receipt]:
        """Deliver messages and store them, with route requests. Return the receipts in the order of the messages."""
        self.server.deliver(*messages)
        before = {receipt.arrival for receipt in self.receipts()}
        self.app().poller.poll(Poll("support", PollReason.MANUAL))
        new = [receipt for receipt in self.receipts() if receipt.arrival not in before]
        assert len(new) == len(messages)
        return sorted(new, key=lambda receipt: int(receipt.server_key.partition(".")[2]))

    def store_batch(self, *messages: bytes) -> tuple[RouteRequest, list[Receipt]]:
        """Store messages of one route request. Return it, and the receipts; the request is no longer on the queue."""
        receipts = self.store(*messages)
        [request] = self.take_requests()
        assert {batch_prefix(receipt.outbox) for receipt in receipts} == {request.outbox}
        return request, receipts

    def take_requests(self) -> list[RouteRequest]:
        """Return the visible route requests, and delete them."""
        requests = []
        while items := self.queue.receive(32, hidden_for=HIDDEN_SECONDS):
            for item in items:
                requests.append(RouteRequest.from_json(item.body))
                self.queue.delete(item)
        return requests

    def current(self, receipts: Sequence[Receipt]) -> list[Receipt]:
        """Return receipts as they are now."""
        now = {receipt.arrival: receipt for receipt in self.receipts()}
        return [now[receipt.arrival] for receipt in receipts]

    def entries(self) -> set[str]:
        return {record.key for record in whole_table(self.stores.records, Table.OUTBOX)}

    def results(self) -> Counter[tuple[str, str]]:
        """Count the results by recipient and message."""
        read = [self.read(path) for path in self.paths("routed/")]
        return Counter((item["recipient"], item["message"]) for item in read)

    def assert_all_routed(self) -> None:
        """Check that every arrival is routed or a duplicate, and that its receipt names the results that exist."""
        receipts = self.receipts()
        assert {receipt.state for receipt in receipts} == {State.ROUTED}
        assert self.entries() == set()
        assert sorted(path for item in receipts for path in item.results().values()) == self.paths("routed/")
        assert self.paths("failed/") == []

    # The host

    def run_host(self, app: App) -> list[QueueItem]:
        """Run the visible route requests once, as the Functions host does. Return what it received.

        A worker that dies leaves its message hidden: `ProcessKilled` is raised.
        """
        items = self.queue.receive(32, hidden_for=HIDDEN_SECONDS)
        for item in items:
            request = RouteRequest.from_json(item.body)
            try:
                app.router.route(request, tried=item.dequeue_count != 1)
            except TransientError as error:
                app.router.requeue(request, error)
            except Exception as error:  # noqa: BLE001  as the host does
                app.router.record_error(request, error)
                if item.dequeue_count >= TRIES:
                    self.poison.put_many([item.body])
                else:
                    self.queue.release(item, delay=RETRY_SECONDS)
                    continue
            self.queue.delete(item)
        return items

    def run_poison(self, app: App) -> list[str]:
        """Write the dead letters of the poison queue, as its function does. Return their paths."""
        paths = []
        for item in self.poison.receive(32, hidden_for=HIDDEN_SECONDS):
            paths += app.router.dead_letter(RouteRequest.from_json(item.body))
            self.poison.delete(item)
        return paths

    def run_until_idle(self, app: App) -> None:
        """Run all route requests, however long each of them waits."""
        for _ in range(200):
            self.run_host(app)
            self.run_poison(app)
            if not (self.queue.bodies() or self.poison.bodies()):
                return
            self.seconds = max(self.seconds, min(self.seconds + wait for wait in self.queue.hidden()))
        raise AssertionError("the queue is never empty")

    def recover(self) -> None:
        """Let the queue messages of dead workers come back, and sweep what was lost."""
        app = self.app()
        self.run_until_idle(app)
        app.router.sweep(timedelta(0))
        self.run_until_idle(app)


def failing_for(victim: bytes, error: BaseException, parse: Callable[..., Any]) -> Callable[..., Any]:
    """Return a parser that raises an error for one message."""

    def parse_or_raise(data: Any) -> Any:
        if identity(bytes(data)) == identity(victim):
            raise error
        return parse(data)

    return parse_or_raise


def run_and_die(world: BatchFixture, app: App) -> None:
    """Run the host until a fault ends it, or until nothing is visible."""
    with suppress(BaseException):
        while world.run_host(app):
            pass


class WatchedCommits:
    """Records whose transactions a test observes or prevents.

    Args:
        inner: the records.
        before: called with the changes of each transaction; False: it is not made.
    """

    def __init__(self, inner: Records, before: Callable[[Sequence[Change]], bool | None]) -> None:
        self._inner = inner
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit(self, changes: Sequence[Change]) -> bool:
        return self._before(changes) is not False and self._inner.commit(changes)


def with_commits(world: BatchFixture, before: Callable[[Sequence[Change]], bool | None]) -> App:
    """Return an app whose transactions are observed or prevented."""
    records: Any = WatchedCommits(world.stores.records, before)
    return world.app(replace(world.stores, records=records))


def changes_of(changes: Sequence[Change], table: Table) -> list[Change]:
    return [change for change in changes if change.table is table]
