"""A queue in memory with the rules of Queue Storage: visibility, dequeue counts, pop receipts, time to live."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared.errors import ServiceUnavailable
from shared.storage.base import Blobs, Leases, Queue, QueueItem, Records, Storage


@dataclass
class _Message:
    id: str
    body: str
    visible: float
    expires: float
    inserted: datetime = field(default_factory=lambda: datetime.now(UTC))
    receipt: str = ""
    dequeued: int = 0


class MemoryQueue:
    """A queue. `failing` maps a method's name to the number of its next calls that raise ServiceUnavailable."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._messages: dict[str, _Message] = {}
        self.failing: dict[str, int] = {}
        self.calls: dict[str, int] = {}

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        self._count_call("put_many")
        now = time.monotonic()
        with self._lock:
            for body in bodies:
                number = f"m{next(self._numbers)}"
                self._messages[number] = _Message(
                    number, body, now + delay, now + ttl if ttl is not None else float("inf")
                )

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        self._count_call("receive")
        assert 1 <= count <= 32
        now = time.monotonic()
        with self._lock:
            messages = [m for m in self._messages.values() if m.visible <= now < m.expires][:count]
            for message in messages:
                message.visible = now + hidden_for
                message.dequeued += 1
                message.receipt = f"r{next(self._numbers)}"
            return [QueueItem(m.id, m.receipt, m.body, m.dequeued, m.inserted) for m in messages]

    def delete(self, item: QueueItem) -> None:
        self._count_call("delete")
        with self._lock:
            if self._is_current(item):
                del self._messages[item.id]

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        self._count_call("release")
        with self._lock:
            if self._is_current(item):
                self._messages[item.id].visible = time.monotonic() + delay

    def length(self) -> int:
        self._count_call("length")
        with self._lock:
            return len(self._messages)

    def lives(self) -> list[float]:
        """Return the seconds until each message expires."""
        return [message.expires - time.monotonic() for message in self._messages.values()]

    def hidden(self) -> list[float]:
        """Return the seconds until each message becomes visible."""
        return [message.visible - time.monotonic() for message in self._messages.values()]

    def _is_current(self, item: QueueItem) -> bool:
        return item.id in self._messages and self._messages[item.id].receipt == item.receipt

    def _count_call(self, name: str) -> None:
        with self._lock:
            self.calls[name] = self.calls.get(name, 0) + 1
            failures = self.failing.get(name, 0)
            self.failing[name] = failures - 1
            if failures > 0:
                raise ServiceUnavailable(f"the queue fails ({name})")


class _Unused:
    """A part of the storage that the host must not use."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the host must not use {name}")


def storage_with_queues(queues: Mapping[str, Queue]) -> Storage:
    """Return a storage that has only queues."""
    blobs: Blobs = _Unused()  # type: ignore[assignment]  # every use fails
    records: Records = _Unused()  # type: ignore[assignment]  # every use fails
    leases: Leases = _Unused()  # type: ignore[assignment]  # every use fails
    return Storage(blobs, records, queues, leases, lambda: None)
