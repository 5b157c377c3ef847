"""Count the storage operations per message; in Azure, each of them is a billed request."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Sized
from functools import wraps
from typing import Any

from bench.mix import RECIPIENT, with_attachment
from bench.report import progress, table
from bench.running import Bench
from shared.bootstrap import build_app
from shared.config import load_settings
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.storage.base import QueueName, Storage
from shared.storage.factory import open_storage
from tests.servers.mail import plain_mail

KINDS = {
    "blobs.create": "blob writes",
    "blobs.read": "blob reads",
    "blobs.download": "blob reads",
    "blobs.exists": "blob existence checks",
    "records.create": "record creates",
    "records.create_many": "record creates",
    "records.commit": "record transactions",
    "records.get": "record reads",
    "records.get_many": "record reads",
    "records.merge": "record merges",
    "records.merge_many": "record merges",
    "records.delete_many": "record deletes",
    "records.scan": "record queries",
    "queues.put_many": "queue puts",
    "queues.receive": "queue receives",
    "queues.delete": "queue deletes",
    "leases.acquire": "lease operations",
    "leases.renew": "lease operations",
    "leases.release": "lease operations",
}
"""Kinds by operation. Operations that are not listed, such as `flush`, send no request."""

PER_ITEM = {
    "records.create_many": 1,
    "records.get_many": 1,
    "records.merge_many": 1,
    "records.delete_many": 1,
    "queues.put_many": 0,
}
"""Operations on several items, with the index of the argument that has them. Azure needs a request for each item."""

BATCH_SIZE = 4
"""Route requests that are received at once, as in host.json."""


class OperationCounter:
    """Counts the operations of a storage by kind."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def wrap(self, inner: Storage) -> Storage:
        """Return a storage whose operations are counted."""
        return Storage(
            self._wrap_service("blobs", inner.blobs),
            self._wrap_service("records", inner.records),
            {name: self._wrap_service("queues", queue) for name, queue in inner.queues.items()},
            self._wrap_service("leases", inner.leases),
            inner.close,
        )

    def add(self, name: str, arguments: list[Any]) -> None:
        """Count an operation."""
        kind = KINDS.get(name)
        if kind is None:
            return
        index = PER_ITEM.get(name)
        items = arguments[index] if index is not None else None
        with self._lock:
            self.kinds[kind] += len(items) if isinstance(items, Sized) else 1

    def _wrap_service(self, service: str, inner: object) -> Any:
        return _CountedService(self, service, inner)


class _CountedService:
    def __init__(self, counter: OperationCounter, service: str, inner: object) -> None:
        self._counter = counter
        self._service = service
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._inner, name)

        @wraps(method)
        def operation(*args: Any, **kwargs: Any) -> Any:
            # An iterator can be read only once.
            arguments = [
                list(value) if isinstance(value, Iterable) and not isinstance(value, Sized) else value for value in args
            ]
            self._counter.add(f"{self._service}.{name}", arguments)
            return method(*arguments, **kwargs)

        return operation


def operations(bench: Bench) -> None:
    """Count the operations of a message, of a hundred messages, of an attachment and of two recipients."""
    hundred = [plain_mail(n, to=RECIPIENT) for n in range(100)]
    columns = {
        "1 plain": hundred[:1],
        "100 plain": hundred,
        "1 with an attachment": [with_attachment(1, 60_000)],
        "1 to two recipients": [plain_mail(1, to=f"{RECIPIENT}, billing@example.com")],
    }
    counted = {title: _count(bench, mails) for title, mails in columns.items()}
    progress("operations: counted")
    for part, step in enumerate(("intake", "routing")):
        kinds = sorted({kind for counts in counted.values() for kind in counts[part]})
        rows = [[kind, *(_per_message(counted[t][part][kind], len(columns[t])) for t in columns)] for kind in kinds]
        table(f"Storage operations per message, {step}", ["", *columns], rows)


def _count(bench: Bench, mails: Sequence[bytes]) -> tuple[Counter[str], Counter[str]]:
    """Return the operations of intake and those of routing."""
    user = bench.create_user(mails)
    with bench.new_folder() as folder:
        values = {**bench.values(user, f"folder:{folder}"), "ROUTES__billing__ADDRESS": "billing@example.com"}
        settings = load_settings(values)
        counter = OperationCounter()
        inner = open_storage(settings.app_storage, settings.mail_storage, settings.mail_container)
        app = build_app(settings, counter.wrap(inner))
        app.poller.poll(Poll("support", PollReason.MANUAL))
        intake, counter.kinds = counter.kinds, Counter()
        queue = app.storage.queues[QueueName.ROUTE_REQUESTS]
        routed = 0
        while routed < len(mails):
            for item in queue.receive(BATCH_SIZE, hidden_for=600):
                routed += len(app.router.route(RouteRequest.from_json(item.body)))
                queue.delete(item)
        inner.close()
    return intake, counter.kinds


def _per_message(count: int, messages: int) -> str:
    return f"{count / messages:.2f}".rstrip("0").rstrip(".")
