"""Fault injection: the k-th operation on a storage or a mailbox fails in one of four modes."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from enum import Enum
from functools import wraps
from typing import Any, Self

from shared.errors import ConnectionLost, ServiceUnavailable
from shared.storage.base import Storage
from tests.sizes import size


class ProcessKilled(BaseException):
    """A simulated kill of the process: no later operation takes effect."""


class FailureMode(Enum):
    """The mode in which an operation fails."""

    RAISES = "raises"
    GONE_BEFORE = "gone before"
    REPLY_LOST = "reply lost"
    GONE_AFTER = "gone after"


def failure_points(names: Sequence[str], way: FailureMode, *, routing: int = 1) -> list[int]:
    """Return the numbers of the operations that fail, each in a run of its own.

    `make test-soak` uses all operations. `make test` leaves out runs that repeat others:

    * A process that ends after an operation leaves the same state as one that ends before the next operation.
      GONE_AFTER therefore uses every third operation, with a GONE_BEFORE at every operation in another test.
    * Routing does not depend on the kind of mailbox. Its operations are all used for one kind of mailbox, and for the
      others each `routing`-th operation.

    Args:
        names: the names of the operations of an undisturbed run: polls first, then routing.
        way: the mode in which they fail.
        routing: the step between two operations of routing.
    """
    polls = names.index("receive", names.index("receive") + 1)
    step = size(3, soak=1) if way is FailureMode.GONE_AFTER else 1
    routing = size(max(routing, step), soak=1)
    return [*range(1, polls + 1, step), *range(polls + 1, len(names) + 1, routing)]


class FaultInjector:
    """A counter of operations that makes one of them fail.

    Args:
        at: the number of the operation that fails, from 1; 0: none.
        way: the mode in which it fails.

    Attributes:
        count: the number of operations so far.
        names: the names of the operations so far.
    """

    def __init__(self, at: int = 0, way: FailureMode = FailureMode.RAISES) -> None:
        self._at = at
        self._way = way
        self._lock = threading.Lock()
        self._gone = False
        self.count = 0
        self.names: list[str] = []

    def stores(self, stores: Storage) -> Storage:
        """Return a storage whose operations are counted and may fail."""
        return Storage(
            self.around(stores.blobs, ServiceUnavailable),
            self.around(stores.records, ServiceUnavailable),
            {name: self.around(queue, ServiceUnavailable) for name, queue in stores.queues.items()},
            self.around(stores.leases, ServiceUnavailable),
            stores.close,
        )

    def mailbox(self, mailbox: object) -> Any:
        """Return a session whose operations are counted and may fail."""
        return self.around(mailbox, ConnectionLost)

    def around(self, inner: object, error: type[Exception]) -> Any:
        """Return an object that forwards to `inner`, and whose operations are counted and may fail."""
        return _Wrapped(self, inner, error)

    def step(self, name: str, error: type[Exception]) -> Exception | BaseException | None:
        """Count an operation. Raise the error that occurs before it, or return the error that occurs after it."""
        with self._lock:
            if self._gone:
                raise ProcessKilled
            self.count += 1
            self.names.append(name)
            if self.count != self._at:
                return None
            if self._way is FailureMode.RAISES:
                raise error(f"operation {self._at}, {name}, fails")
            if self._way is FailureMode.GONE_BEFORE:
                self._gone = True
                raise ProcessKilled
            if self._way is FailureMode.GONE_AFTER:
                return ProcessKilled()
            return error(f"the reply to operation {self._at}, {name}, is lost")

    def after(self, fault: Exception | BaseException | None) -> None:
        """Raise the error that occurs after an operation."""
        if fault is not None:
            if isinstance(fault, ProcessKilled):
                self._gone = True
            raise fault


class _Wrapped:
    def __init__(self, faults: FaultInjector, inner: object, error: type[Exception]) -> None:
        self._faults = faults
        self._inner = inner
        self._error = error

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value) or name in ("close", "is_indexed"):
            return value

        @wraps(value)
        def operation(*args: Any, **kwargs: Any) -> Any:
            fault = self._faults.step(name, self._error)
            result = value(*args, **kwargs)
            if isinstance(result, Generator):
                result = self._each(name, result) if name == "fetch" else list(result)
            self._faults.after(fault)
            return result

        return operation

    def _each(self, name: str, inner: Generator[Any, None, None]) -> Generator[Any, None, None]:
        try:
            for item in inner:
                fault = self._faults.step(name, self._error)
                self._faults.after(fault)
                yield item
        finally:
            inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._inner.close()  # type: ignore[attr-defined]
