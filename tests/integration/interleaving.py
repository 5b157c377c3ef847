"""Several workers, one storage operation at a time, in an order that a seed decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from shared.bootstrap import App
from shared.errors import TransientError
from shared.queue_messages import RouteRequest
from shared.storage.base import Storage
from tests.servers.faults import ProcessKilled
from tests.servers.one_by_one import create_one_by_one, creates_blobs


class Turns:
    """Runs workers one operation at a time, in an order that a random generator chooses.

    Args:
        random: chooses, and decides who dies.
        deaths: the chance, at each operation, that the worker's process ends before it.
    """

    def __init__(self, random: Random, deaths: float = 0.0) -> None:
        self._random = random
        self._deaths = deaths
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._live: set[int] = set()
        self._turn: int | None = None
        self.taken: list[tuple[int, str]] = []

    def run(self, jobs: Sequence[Callable[[Turns, int], None]]) -> None:
        """Run a job for each worker. Raise the first error that is not the end of a process."""
        errors: list[BaseException] = []

        def work(number: int, job: Callable[[Turns, int], None]) -> None:
            try:
                job(self, number)
            except ProcessKilled:
                pass
            except BaseException as error:  # noqa: BLE001  raised where it can be seen
                errors.append(error)
            finally:
                with self._changed:
                    self._live.discard(number)
                    self._changed.notify_all()

        self._live = set(range(len(jobs)))
        threads = [threading.Thread(target=work, args=job) for job in enumerate(jobs)]
        for thread in threads:
            thread.start()
        with self._changed:
            while self._live:
                self._changed.wait_for(lambda: self._turn is None and self._waiting == self._live, timeout=60)
                if self._live:
                    self._turn = self._random.choice(sorted(self._live))
                    self._waiting.discard(self._turn)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._turn is None, timeout=60)
        for thread in threads:
            thread.join(60)
        if errors:
            raise errors[0]

    def stores(self, stores: Storage, worker: int) -> Storage:
        """Return a storage whose operations wait for the worker's turn."""
        queues = {name: _Turned(self, worker, queue) for name, queue in stores.queues.items()}
        blobs, records = _Turned(self, worker, stores.blobs), _Turned(self, worker, stores.records)
        return Storage(blobs, records, queues, stores.leases, stores.close)

    def step(self, worker: int, name: str, operation: Callable[[], Any]) -> Any:
        """Do one operation when it is the worker's turn."""
        with self._changed:
            self._waiting.add(worker)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._turn == worker)
        try:
            if self._deaths and self._random.random() < self._deaths:
                raise ProcessKilled
            self.taken.append((worker, name))
            return operation()
        finally:
            with self._changed:
                self._turn = None
                self._changed.notify_all()


class _Turned:
    def __init__(self, turns: Turns, worker: int, inner: object) -> None:
        self._turns = turns
        self._worker = worker
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if creates_blobs(self._inner, name):
            return partial(create_one_by_one, self.create)

        def operation(*args: Any, **kwargs: Any) -> Any:
            return self._turns.step(self._worker, name, lambda: value(*args, **kwargs))

        return operation


Job = tuple[App, RouteRequest]
"""A route request, and the worker that routes it."""


def route_in_turns(jobs: Sequence[Job], random: Random, deaths: float) -> list[Job]:
    """Route requests at once, one storage operation at a time. Return the jobs that died or failed."""
    done = set()

    def job(number: int) -> Callable[[Turns, int], None]:
        def work(turns: Turns, worker: int) -> None:
            app, request = jobs[number]
            with suppress(TransientError):
                replace(app.router, storage=turns.stores(app.storage, worker)).route(request)
                done.add(number)

        return work

    Turns(random, deaths).run([job(number) for number in range(len(jobs))])
    return [unfinished for number, unfinished in enumerate(jobs) if number not in done]


@contextmanager
def naming_seed(seed: int) -> Iterator[None]:
    """Add the seed to an assertion that fails within the context."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
