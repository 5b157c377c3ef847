"""The fixture of the tests of `ArrivalStore`: one folder of a mailbox, a storage, and every route request put there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from shared.bootstrap import App
from shared.config import MailboxSettings
from shared.intake.arrival_store import ArrivalStore, Candidate
from shared.intake.folder_sync import DrainStats
from shared.keys import batch_prefix
from shared.mailboxes.base import FetchResult, ListedMessage, Mailbox
from shared.mailboxes.spool import Content
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import Change, QueueName, Record, Storage, Table
from tests.end_to_end.command import opened
from tests.integration.holding import Holding
from tests.integration.routing_fixture import InterceptedCalls
from tests.servers.memory_app import app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.whole_table import whole_table

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def letter(number: int, size: int = 0) -> bytes:
    return f"Subject: {number}\r\n\r\n".encode().ljust(size, b"x")


class NoGuard:
    """A lease that is never lost."""

    def ensure(self) -> None: ...


class ArrivalFixture(Holding):
    """One folder of the mailbox `support`, and a storage of either kind.

    Args:
        storage: its address.

    Attributes:
        requests: every route request that was put on the queue.
        premature: the route requests that were put there before their entries were created.
        server: the mailbox's server.
        extra: further settings of the mailbox.
    """

    def __init__(self, storage: str) -> None:
        self.address = storage
        self.requests: list[RouteRequest] = []
        self.premature: list[RouteRequest] = []
        self.server = MemoryServer()
        self.extra: dict[str, str] = {}
        stores = opened(storage)
        self.closing = stores.close
        queue: Any = InterceptedCalls(stores.queues[QueueName.ROUTE_REQUESTS], put_many=self._note)
        super().__init__(replace(stores, queues={**stores.queues, QueueName.ROUTE_REQUESTS: queue}))

    def _note(self, bodies: Sequence[str]) -> None:
        """Note route requests, and those that would not find their entries if they were received at once."""
        requests = [RouteRequest.from_json(body) for body in bodies]
        self.requests += requests
        self.premature += [
            request for request in requests if not self.entries(request.outbox) and not self._was_concluded(request)
        ]

    def _was_concluded(self, request: RouteRequest) -> bool:
        return any(
            receipt.outbox.startswith(request.outbox) and receipt.state is not State.STORED
            for receipt in self.receipts()
        )

    def arrivals(self, stores: Storage | None = None, **settings: str) -> ArrivalStore:
        """Return the folder's arrivals, as a worker with this storage has them."""
        return ArrivalStore(stores or self.stores, self.settings(**settings), "INBOX", lambda: NOW)

    def settings(self, **settings: str) -> MailboxSettings:
        named = {f"MAILBOXES__support__{name}": value for name, value in {**self.extra, **settings}.items()}
        return settings_for(self.address, {"MAILBOXES__support__ADDRESS": "support@example.com", **named}).mailboxes[
            "support"
        ]

    def drain(self, stores: Storage, wrap: Callable[[Mailbox], Any] = lambda mailbox: mailbox) -> DrainStats:
        """Drain the server as a poll does, without a lease."""
        app: App = app_on(settings_for(self.address), lambda _: self.server.open(), stores=stores, now=lambda: NOW)
        session = wrap(self.server.open())
        return app.poller.intake.run(
            self.settings(), session, NoGuard(), budget=300, first_contact=NOW, unsettled=True, last_settled=None
        )

    def entries(self, prefix: str = "") -> list[Record]:
        return [entry for entry in whole_table(self.stores.records, Table.OUTBOX) if entry.key.startswith(prefix)]

    def check_outbox(self) -> None:
        """Check that exactly the stored arrivals have an entry, which holds what the receipt holds."""
        receipts = {receipt.arrival: receipt for receipt in self.receipts()}
        entries = self.entries()
        assert sorted(str(entry.values["arrival"]) for entry in entries) == sorted(
            arrival for arrival, receipt in receipts.items() if receipt.state is State.STORED
        )
        for entry in entries:
            receipt = receipts[str(entry.values["arrival"])]
            assert receipt.outbox == entry.key
            held = Receipt.from_record(Record(receipt.arrival, entry.values, ""))
            # A message that was unreadable before keeps what its receipt says about that.
            earlier = {"last_refused_at": receipt.last_refused_at, "retried_daily": receipt.retried_daily}
            assert replace(held, removed=receipt.removed, **earlier) == receipt  # type: ignore[arg-type]  # two types

    def check_requests(self, messages: Collection[str] | None = None) -> None:
        """Check that every entry was named by a route request, or the entries of these messages were."""
        assert not self.premature
        named = {request.outbox for request in self.requests}
        for entry in self.entries():
            if messages is None or entry.values["message"] in messages:
                assert entry.key in named or batch_prefix(entry.key) in named


def listed(number: int, data: bytes, key: str | None = "") -> ListedMessage:
    """Return a listed message with the bytes' size and the key `1.NUMBER`, or another one."""
    return ListedMessage(f"1.{number}" if key == "" else key, number, len(data))


def store(
    arrivals: ArrivalStore,
    messages: Sequence[tuple[ListedMessage, bytes]],
    between: Callable[[], None] = lambda: None,
) -> list[Candidate]:
    """Do what a worker does with listed messages: look up, store what is new, publish what waits.

    Args:
        arrivals: the worker's.
        messages: the messages.
        between: called after the look-up.

    Returns:
        The messages that may be removed.
    """
    contents = {message.number: data for message, data in messages}
    candidates = arrivals.look_up([message for message, _ in messages])
    between()
    waiting = [item for item in candidates if item.receipt is not None and item.receipt.was_downloaded]
    new = [item for item in candidates if item not in waiting]
    batch = [(candidate, Content.from_bytes(contents[candidate.listed.number])) for candidate in new]
    arrivals.upload([FetchResult(item.listed, content) for item, content in batch])
    stored = arrivals.store(batch) if batch else []
    arrivals.republish(waiting)
    return [*stored, *waiting]


def changed_tables(changes: Sequence[Change]) -> list[str]:
    """Return kind and table of each change."""
    return [f"{type(change).__name__} {change.table}" for change in changes]
