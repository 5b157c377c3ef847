"""How often the storage is asked for what, a message: what it costs in Azure, where each of these is a request."""

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
    "blobs.exists": "blob looks",
    "records.create": "record creates",
    "records.create_many": "record creates",
    "records.get": "record reads",
    "records.get_many": "record reads",
    "records.merge": "record merges",
    "records.merge_many": "record merges",
    "records.delete_many": "record deletes",
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
"""Operations on several, each of which is a request of its own in Azure, and where these stand in the arguments."""

SORT = 4
"""Announcements that are received at once, as host.json has it."""


class Counts:
    """Counts what is asked of a storage, by kind."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def stores(self, inner: Storage) -> Storage:
        """The same storage, counted."""
        return Storage(
            self._around("blobs", inner.blobs),
            self._around("records", inner.records),
            {name: self._around("queues", queue) for name, queue in inner.queues.items()},
            self._around("leases", inner.leases),
            inner.close,
        )

    def add(self, name: str, arguments: list[Any]) -> None:
        """Count one operation."""
        kind = KINDS.get(name)
        if kind is None:
            return
        many = PER_ITEM.get(name)
        items = arguments[many] if many is not None else None
        with self._lock:
            self.kinds[kind] += len(items) if isinstance(items, Sized) else 1

    def _around(self, service: str, inner: object) -> Any:
        return _Counted(self, service, inner)


class _Counted:
    def __init__(self, counts: Counts, service: str, inner: object) -> None:
        self._counts = counts
        self._service = service
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        value: Callable[..., Any] = getattr(self._inner, name)

        @wraps(value)
        def operation(*args: Any, **kwargs: Any) -> Any:
            given = [list(one) if isinstance(one, Iterable) and not isinstance(one, Sized) else one for one in args]
            self._counts.add(f"{self._service}.{name}", given)
            return value(*given, **kwargs)

        return operation


def operations(bench: Bench) -> None:
    """Count for one message, for a hundred at once, for one with an attachment, and for one with two recipients."""
    hundred = [plain_mail(n, to=RECIPIENT) for n in range(100)]
    columns = {
        "1 plain": hundred[:1],
        "100 plain": hundred,
        "1 with an attachment": [with_attachment(1, 60_000)],
        "1 to two recipients": [plain_mail(1, to=f"{RECIPIENT}, billing@example.com")],
    }
    counted = {title: _count(bench, mails) for title, mails in columns.items()}
    progress("operations: counted")
    for part, step in enumerate(("intake", "sorting")):
        kinds = sorted({kind for both in counted.values() for kind in both[part]})
        rows = [[kind, *(_each(counted[t][part][kind], len(columns[t])) for t in columns)] for kind in kinds]
        table(f"Storage operations a message, {step}", ["", *columns], rows)


def _count(bench: Bench, mails: Sequence[bytes]) -> tuple[Counter[str], Counter[str]]:
    """What intake, and what sorting asks for."""
    user = bench.delivered(mails)
    with bench.place() as place:
        values = {**bench.values(user, f"folder:{place}"), "ROUTES__billing__ADDRESS": "billing@example.com"}
        settings = load_settings(values)
        counts = Counts()
        inner = open_storage(settings.app_storage, settings.mail_storage, settings.mail_container)
        app = build_app(settings, counts.stores(inner))
        app.poller.poll(Poll("support", PollReason.MANUAL))
        taken, counts.kinds = counts.kinds, Counter()
        queue = app.storage.queues[QueueName.ROUTE_REQUESTS]
        waiting = len(mails)
        while waiting > 0:
            items = queue.receive(SORT, hidden_for=600)
            for item in items:
                app.router.route(RouteRequest.from_json(item.body))
                queue.delete(item)
            waiting -= len(items) or waiting
        inner.close()
    return taken, counts.kinds


def _each(count: int, messages: int) -> str:
    return f"{count / messages:.2f}".rstrip("0").rstrip(".")
