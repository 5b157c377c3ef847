"""Queues and leases in memory with the rules of Azure Storage: visibility, dequeue counts, receipts, time to live."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared.errors import LeaseLost, ServiceUnavailable, TransientError
from shared.storage.base import Blobs, BodyEncoding, Leases, Queue, QueueItem, Records, Storage

Seconds = Callable[[], float]


@dataclass
class _Message:
    id: str
    body: str
    visible: float
    expires: float
    inserted: datetime = field(default_factory=lambda: datetime.now(UTC))
    receipt: str = ""
    dequeued: int = 0
    encoding: BodyEncoding = BodyEncoding.TEXT


class MemoryQueue:
    """A queue. As with Queue Storage, a renewal issues a new receipt.

    Args:
        monotonic: returns the time in seconds.

    Attributes:
        failing: maps a method's name to the number of its next calls that raise `error`.
        error: the error of a call that fails.
        calls: the number of calls by method.
        received_at: the times of the checks.
        renewed_at: the times of the renewals.
    """

    def __init__(self, monotonic: Seconds = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._messages: dict[str, _Message] = {}
        self.failing: dict[str, int] = {}
        self.error: Callable[[str], TransientError] = lambda name: ServiceUnavailable(f"the queue fails ({name})")
        self.calls: dict[str, int] = {}
        self.received_at: list[float] = []
        self.renewed_at: list[float] = []

    def put_many(
        self,
        bodies: Iterable[str],
        *,
        delay: float = 0,
        ttl: float | None = None,
        encoding: BodyEncoding = BodyEncoding.TEXT,
    ) -> None:
        self._count_call("put_many")
        now = self._monotonic()
        with self._lock:
            for body in bodies:
                number = f"m{next(self._numbers)}"
                self._messages[number] = _Message(
                    number, body, now + delay, now + ttl if ttl is not None else float("inf"), encoding=encoding
                )

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        self.received_at.append(self._monotonic())
        self._count_call("receive")
        assert 1 <= count <= 32
        now = self._monotonic()
        with self._lock:
            messages = [m for m in self._messages.values() if m.visible <= now < m.expires][:count]
            for message in messages:
                message.visible = now + hidden_for
                message.dequeued += 1
                message.receipt = f"r{next(self._numbers)}"
            return [QueueItem(m.id, m.receipt, m.body, m.dequeued, m.inserted, m.encoding) for m in messages]

    def delete(self, item: QueueItem) -> None:
        self._count_call("delete")
        with self._lock:
            if self._is_current(item):
                del self._messages[item.id]

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        self._count_call("release")
        with self._lock:
            if self._is_current(item):
                self._messages[item.id].visible = self._monotonic() + delay

    def renew(self, item: QueueItem, *, hidden_for: float) -> QueueItem | None:
        self._count_call("renew")
        with self._lock:
            if not self._is_current(item):
                return None
            self.renewed_at.append(self._monotonic())
            message = self._messages[item.id]
            message.visible = self._monotonic() + hidden_for
            message.receipt = f"r{next(self._numbers)}"
            return QueueItem(item.id, message.receipt, item.body, item.dequeue_count, item.inserted, item.encoding)

    def forward(self, item: QueueItem, *, ttl: float) -> None:
        self.put_many([item.body], ttl=ttl, encoding=item.encoding)

    def length(self) -> int:
        self._count_call("length")
        with self._lock:
            return len(self._messages)

    def bodies(self) -> list[str]:
        """Return the bodies of all messages that have not expired."""
        return [message.body for message in self._messages.values() if message.expires > self._monotonic()]

    def lives(self) -> list[float]:
        """Return the seconds until each message expires."""
        return [message.expires - self._monotonic() for message in self._messages.values()]

    def hidden(self) -> list[float]:
        """Return the seconds until each message becomes visible."""
        return [message.visible - self._monotonic() for message in self._messages.values()]

    def _is_current(self, item: QueueItem) -> bool:
        return item.id in self._messages and self._messages[item.id].receipt == item.receipt

    def _count_call(self, name: str) -> None:
        with self._lock:
            self.calls[name] = self.calls.get(name, 0) + 1
            failures = self.failing.get(name, 0)
            self.failing[name] = failures - 1
            if failures > 0:
                raise self.error(name)


class MemoryLeases:
    """Leases. `monotonic` returns the time in seconds."""

    def __init__(self, monotonic: Seconds = time.monotonic) -> None:
        self._monotonic = monotonic
        self._numbers = itertools.count(1)
        self._held: dict[str, tuple[str, int, float]] = {}

    def acquire(self, name: str, seconds: int) -> str | None:
        if name in self._held and self._held[name][2] > self._monotonic():
            return None
        token = f"t{next(self._numbers)}"
        self._held[name] = (token, seconds, self._monotonic() + seconds)
        return token

    def renew(self, name: str, token: str) -> None:
        holder, seconds, _ = self._held.get(name, ("", 0, 0.0))
        if holder != token:
            raise LeaseLost(name)
        self._held[name] = (token, seconds, self._monotonic() + seconds)

    def release(self, name: str, token: str) -> None:
        if name in self._held and self._held[name][0] == token:
            del self._held[name]


class _Unused:
    """A part of the storage that the host must not use."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the host must not use {name}")


def storage_with_queues(queues: Mapping[str, Queue], leases: Leases | None = None) -> Storage:
    """Return a storage that has only queues and leases."""
    blobs: Blobs = _Unused()  # type: ignore[assignment]  # every use fails
    records: Records = _Unused()  # type: ignore[assignment]  # every use fails
    return Storage(blobs, records, queues, leases or MemoryLeases(), lambda: None)
