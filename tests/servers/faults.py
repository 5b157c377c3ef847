"""Fault injection: the k-th operation on a storage or a mailbox fails in one of four modes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Sequence
from enum import Enum
from functools import partial, wraps
from typing import Any, Self

from shared.errors import ConnectionLost, ServiceUnavailable
from shared.storage.base import Storage
from tests.servers.one_by_one import create_one_by_one, creates_blobs
from tests.sizes import SOAK, size


class ProcessKilled(BaseException):
    """A simulated kill of the process: no later operation takes effect."""


class FailureMode(Enum):
    """The mode in which an operation fails."""

    RAISES = "raises"
    GONE_BEFORE = "gone before"
    REPLY_LOST = "reply lost"
    GONE_AFTER = "gone after"


def failure_points(names: Sequence[str], way: FailureMode, *, quarters: bool = False) -> list[int]:
    """Return the numbers of the operations that fail, each in a run of its own.

    `make test-soak` uses all operations in every mode. `make test` distributes them among the modes, each of which is a
    test of its own:

    * A process that ends after an operation leaves the same state as one that ends before the next operation. Ends
      before and after each odd operation therefore leave every state once.
    * Of the operations of one name, every other one raises, and the others lose their reply. So each operation fails,
      and each name in both modes.

    Args:
        names: the names of the operations of an undisturbed run.
        way: the mode in which they fail.
        quarters: whether each operation fails in one mode only, of which each name has several. It is for code whose
            states are all used by another test.
    """
    points = []
    occurrences: Counter[str] = Counter()
    for number, name in enumerate(names, 1):
        occurrence = occurrences[name]
        occurrences[name] += 1
        if SOAK:
            fails = True
        elif quarters:
            fails = occurrence % len(FailureMode) == list(FailureMode).index(way)
        elif way in (FailureMode.GONE_BEFORE, FailureMode.GONE_AFTER):
            fails = number % 2 == 1
        else:
            fails = names.count(name) == 1 or occurrence % 2 == (way is FailureMode.REPLY_LOST)
        if fails:
            points.append(number)
    return points


def failure_points_of_kind(names: Sequence[str], way: FailureMode) -> list[int]:
    """Return the numbers of the operations that fail for a kind of mailbox, where all are used for another kind.

    Each operation of a poll fails in one mode. Routing does not depend on the kind of mailbox: `make test` uses a fifth
    of its operations.

    Args:
        names: the names of the operations of an undisturbed run: polls first, then routing.
        way: the mode in which they fail.
    """
    polls = names.index("receive", names.index("receive") + 1)
    points = failure_points(names, way, quarters=True)
    return [*(at for at in points if at <= polls), *[at for at in points if at > polls][:: size(5, soak=1)]]


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
        if creates_blobs(self._inner, name):
            return partial(create_one_by_one, self.create)
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
