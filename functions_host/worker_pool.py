"""Run the functions of some queues one at a time: in this process, and under load in further processes.

Python runs one thread of a process at a time. Functions that run side by side finish no sooner, and cost more: with six
route requests at once into a folder, a message took 233 context switches and a third more CPU time than with one at a
time. Processes use the machine's other cores.

The processes are started when functions have run without a pause for `busy_seconds`, about what a start costs: so a
short run starts none, and a long one loses little.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from functions_host.worker import Engine, InvocationError, InvocationResult
from functions_host.worker_process import Call, Setup, WorkerDied, WorkerNotStarted, WorkerProcess

log = logging.getLogger("mailroom.host")

WORKER_DIED = "WorkerProcessDied"
"""The `InvocationError.kind` of a function whose process ended."""

Run = Callable[[Call], Awaitable[InvocationResult]]
"""Runs a function."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """Which functions run one at a time, and in how many processes.

    Attributes:
        queues: the names of their queues.
        processes: processes at most. With 1, this process runs all of them.
        setup: prepares a process.
        preload: modules that a process needs.
        busy_seconds: seconds without a pause after which the processes are started.
        idle_seconds: seconds without a function after which they end.
    """

    queues: Collection[str]
    processes: int
    setup: Setup
    preload: Collection[str] = ()
    busy_seconds: float = 0.5
    idle_seconds: float = 60.0


class WorkerPool:
    """The places in which functions run, one at a time in each: this process, or further processes instead of it.

    Args:
        engine: runs functions in this process.
        config: the functions and the number of processes.
    """

    def __init__(self, engine: Engine, config: PoolConfig) -> None:
        self._engine = engine
        self._config = config
        self._limit = config.processes if config.processes > 1 else 0
        self._threads = ThreadPoolExecutor(max(1, self._limit), thread_name_prefix="worker-process")
        self._processes: set[WorkerProcess] = set()
        # None: this process. It is not among the free places while there are further processes.
        self._free: asyncio.Queue[WorkerProcess | None] = asyncio.Queue()
        self._free.put_nowait(None)
        self._is_local_retired = False
        self._demand = 0
        self._timer: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def process_count(self) -> int:
        """The number of further processes that run functions."""
        return len(self._processes)

    def has(self, queue: str) -> bool:
        """Return whether the functions of a queue run here."""
        return queue in self._config.queues

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Run]:
        """Wait for a free place, and yield what runs a function there."""
        self._demand += 1
        if self._demand == 1:
            self._call_later(self._config.busy_seconds, self._start_missing)
        try:
            worker = await self._take()
            try:
                yield self._run_here if worker is None else partial(self._run_in, worker)
            finally:
                self._give_back(worker)
        finally:
            self._demand -= 1
            if not self._demand:
                self._call_later(self._config.idle_seconds, self._end_processes)

    async def close(self) -> None:
        """End the processes. Functions that are running are killed."""
        if self._timer is not None:
            self._timer.cancel()
        if self._starting is not None:
            await asyncio.wait([self._starting])
        for worker in self._processes:
            worker.stop()  # all, before the first one is waited for
        for worker in self._processes:
            await asyncio.get_running_loop().run_in_executor(self._threads, worker.close)
        self._processes.clear()
        self._threads.shutdown(wait=False)

    async def _take(self) -> WorkerProcess | None:
        while True:
            worker = await self._free.get()
            if worker is None:
                if not self._processes:
                    return None
                self._is_local_retired = True
            elif worker.is_alive:
                return worker

    def _give_back(self, worker: WorkerProcess | None) -> None:
        if worker is None or worker.is_alive:
            self._free.put_nowait(worker)
            return
        self._processes.discard(worker)
        self._use_this_process()
        self._start_missing()

    def _use_this_process(self) -> None:
        """Run functions in this process again if all others have ended."""
        if not self._processes and self._is_local_retired:
            self._is_local_retired = False
            self._free.put_nowait(None)

    async def _run_here(self, call: Call) -> InvocationResult:
        function = self._engine.function(call.function)
        return await self._engine.invoke(function, call.inputs, call.metadata, traceparent=call.traceparent)

    async def _run_in(self, worker: WorkerProcess, call: Call) -> InvocationResult:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, worker.run, call)
        except WorkerDied as error:
            return InvocationResult(error=InvocationError(WORKER_DIED, str(error)))
        except asyncio.CancelledError:
            worker.kill()  # As the Functions host does after a timeout: a thread could not be stopped.
            raise

    def _call_later(self, seconds: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, action) if self._limit else None

    def _start_missing(self) -> None:
        if self._starting is None and len(self._processes) < self._limit and self._demand:
            self._starting = asyncio.create_task(self._start(self._limit - len(self._processes)))

    async def _start(self, count: int) -> None:
        """Start processes. If one cannot be started, go on without."""
        start = partial(WorkerProcess.start, self._engine.app_dir, self._config.setup, [*self._config.preload])
        loop = asyncio.get_running_loop()
        # In the default executor: those of `_threads` wait for the processes that run functions.
        starts = [loop.run_in_executor(None, start) for _ in range(count)]
        for ended in asyncio.as_completed(starts):
            try:
                worker = await ended
            except WorkerNotStarted as error:
                log.warning("%s; functions run in the existing processes", error)
                self._limit = 0
            else:
                self._processes.add(worker)
                self._free.put_nowait(worker)
        self._starting = None
        if not self._demand:
            self._call_later(self._config.idle_seconds, self._end_processes)

    def _end_processes(self) -> None:
        """End the processes, since they are idle."""
        loop = asyncio.get_running_loop()
        workers, self._processes = self._processes, set()
        for worker in workers:
            worker.stop()
            loop.run_in_executor(None, worker.close)
        self._use_this_process()
