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
    """One queue. `failing` maps a method's name to how many of its next calls raise ServiceUnavailable."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._messages: dict[str, _Message] = {}
        self.failing: dict[str, int] = {}
        self.calls: dict[str, int] = {}

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        self._called("put_many")
        now = time.monotonic()
        with self._lock:
            for body in bodies:
                number = f"m{next(self._numbers)}"
                self._messages[number] = _Message(
                    number, body, now + delay, now + ttl if ttl is not None else float("inf")
                )

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        self._called("receive")
        assert 1 <= count <= 32
        now = time.monotonic()
        with self._lock:
            found = [m for m in self._messages.values() if m.visible <= now < m.expires][:count]
            for message in found:
                message.visible = now + hidden_for
                message.dequeued += 1
                message.receipt = f"r{next(self._numbers)}"
            return [QueueItem(m.id, m.receipt, m.body, m.dequeued, m.inserted) for m in found]

    def delete(self, item: QueueItem) -> None:
        self._called("delete")
        with self._lock:
            if self._holds(item):
                del self._messages[item.id]

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        self._called("release")
        with self._lock:
            if self._holds(item):
                self._messages[item.id].visible = time.monotonic() + delay

    def length(self) -> int:
        self._called("length")
        with self._lock:
            return len(self._messages)

    def lives(self) -> list[float]:
        """Seconds that each message still has to live."""
        return [message.expires - time.monotonic() for message in self._messages.values()]

    def hidden(self) -> list[float]:
        """Seconds for which each message is still hidden."""
        return [message.visible - time.monotonic() for message in self._messages.values()]

    def _holds(self, item: QueueItem) -> bool:
        return item.id in self._messages and self._messages[item.id].receipt == item.receipt

    def _called(self, name: str) -> None:
        with self._lock:
            self.calls[name] = self.calls.get(name, 0) + 1
            left = self.failing.get(name, 0)
            self.failing[name] = left - 1
            if left > 0:
                raise ServiceUnavailable(f"the queue is ill ({name})")


class _Absent:
    """Stands where a store would be that the host must never touch."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the host has no business with {name}")


def stores_of(queues: Mapping[str, Queue]) -> Storage:
    """Stores that have queues and nothing else."""
    blobs: Blobs = _Absent()  # type: ignore[assignment]  # it is no store, and that is its purpose
    records: Records = _Absent()  # type: ignore[assignment]  # as above
    leases: Leases = _Absent()  # type: ignore[assignment]  # as above
    return Storage(blobs, records, queues, leases, lambda: None)
