"""The local host: starts, drains and stops the triggers of an app on the worker engine."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from functions_host.function_index import HttpTrigger, QueueTrigger, TimerTrigger
from functions_host.host_json import HostConfig, read_config
from functions_host.host_mode import AS_IN_AZURE, HostMode
from functions_host.invoker import Counts, FunctionInvoker
from functions_host.queue_listener import DRAINING, ListenerPace, QueueListener
from functions_host.storage_retry import HOST_RETRIES, PATIENT_RETRIES, QueueStorageFailed
from functions_host.timer_listener import TimerListener, timer_payload
from functions_host.timer_lock import TimerLock
from functions_host.timer_status import NoStatuses, TimerStatuses
from functions_host.worker import Engine, InvocationResult
from functions_host.worker_messages import TypedData
from functions_host.worker_pool import PoolConfig, WorkerPool
from shared.storage.base import QueueItem, Storage

if TYPE_CHECKING:
    from functions_host.http_server import HttpConfig, HttpServer

log = logging.getLogger("mailroom.host")

GRACE = 10.0
"""Seconds that running functions have to finish when the host stops, as in the Functions host."""

CUT_OFF = 1.0
"""Seconds that a check of a queue, which is under way when the host stops, has to end; then it is cut off."""

PROGRESS_INTERVAL = 0.1
"""Seconds between two reports of the progress of draining, at least."""

HTTP_THREADS = 8
"""HTTP functions that may run at once in addition to full queues."""


@dataclass(frozen=True, slots=True)
class DrainResult:
    """The result of draining the queues.

    Attributes:
        functions: counts by function since the host was started.
        hidden: number of remaining messages by queue, without empty queues. These messages are delayed, or another
            host is running them.
    """

    functions: Mapping[str, Counts] = field(default_factory=dict)
    hidden: Mapping[str, int] = field(default_factory=dict)


class Host:
    """The triggers of an app. Create it with `started`; a process has one app (see `worker`).

    Args:
        engine: the engine that has loaded the app.
        storage: the app's own storage.
        config: the settings of host.json.
        statuses: keeps the timers' status across restarts.
        mode: deviations from the Functions host.

    Raises:
        AppNotLoaded: a function names a queue that the storage does not have, or whose poison queue it does not have.
        ConfigurationError: a schedule is invalid.
    """

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        config: HostConfig,
        statuses: TimerStatuses | None = None,
        mode: HostMode = AS_IN_AZURE,
    ) -> None:
        self.engine = engine
        self.config = config
        self._mode = mode
        self._failure: QueueStorageFailed | None = None
        self._failed = asyncio.Event()
        self._drain_changed = asyncio.Event()
        self.pool = WorkerPool(engine, mode.pool) if mode.pool is not None else None
        self.invoker = FunctionInvoker(engine, storage, config, self.pool)
        statuses = statuses or NoStatuses()
        self._queues = [
            QueueListener(f, self.invoker, _config_for(f.trigger.queue, config, mode.pool), self._fail)
            for f in engine.functions
            if isinstance(f.trigger, QueueTrigger)
        ]
        self._timers = [
            TimerListener(f, self.invoker, statuses, TimerLock(storage.leases, f.name, self.invoker))
            for f in engine.functions
            if isinstance(f.trigger, TimerTrigger)
        ]
        for function in engine.functions:
            for output in function.outputs:
                self.invoker.queue(function, output.queue)
        for queue in self._queues:
            queue.on_empty = self._drain_changed.set
        self.invoker.on_put = self._poll_queue
        self.invoker.on_end = self._poll_soon
        http = any(isinstance(f.trigger, HttpTrigger) for f in engine.functions)
        self.threads = len(self._queues) * config.concurrency + len(self._timers) + HTTP_THREADS * http
        engine.use_threads(max(self.threads, 1))

    @classmethod
    @asynccontextmanager
    async def started(
        cls,
        app_dir: Path,
        storage: Storage,
        config: HostConfig | None = None,
        statuses: TimerStatuses | None = None,
        mode: HostMode = AS_IN_AZURE,
    ) -> AsyncIterator[Self]:
        """Load the app and yield its host; no trigger is running yet.

        Args:
            app_dir: folder of `function_app.py` and `host.json`.
            storage: the app's own storage.
            config: the host's settings; None reads host.json and the environment.
            statuses: keeps the timers' status across restarts; None keeps none.
            mode: deviations from the Functions host.

        Raises:
            AppNotLoaded: the app cannot be indexed, or needs a binding that the local host does not support.
            ConfigurationError: host.json, a schedule or a setting that a binding names is invalid.
        """
        config = config or read_config(app_dir, os.environ)
        host = cls(await Engine.start(app_dir), storage, config, statuses, mode)
        try:
            yield host
        finally:
            if host.pool is not None:
                await host.pool.close()
            host.invoker.close()

    async def serve(
        self, stop: asyncio.Event, http: HttpConfig | None = None, ready: Callable[[int], None] | None = None
    ) -> int:
        """Run all triggers until `stop` is set, then wait for running functions.

        Args:
            stop: ends the host when it is set.
            http: address and keys of the HTTP server; None serves no HTTP.
            ready: called with the HTTP port (0 without HTTP) once all triggers are running.

        Returns:
            The number of functions that still ran after the grace period. Their messages become visible again when
            their ten minutes are over.

        Raises:
            ConfigurationError: HTTP cannot listen on its address.
            QueueStorageFailed: queue storage failed in a way that ends the Functions host; `mode` may prevent it.
        """
        retries = PATIENT_RETRIES if self._mode.stay_up else HOST_RETRIES
        pace = ListenerPace(wakes=self._mode.fast_hops, stays_up=self._mode.stay_up, retries=retries)
        server = self._http_server(http) if http is not None else None
        try:
            port = await server.open() if server is not None else 0
            async with _raise_first_error(asyncio.TaskGroup()) as group:
                timer_tasks = [group.create_task(timer.run(stop)) for timer in self._timers]
                queue_tasks = [group.create_task(queue.run(stop.is_set, group, pace)) for queue in self._queues]
                if ready is not None:
                    ready(port)
                await self._wait_for(stop)
                log.info("stopping: %d functions are running", self.invoker.active)
                for queue in self._queues:
                    queue.stop()
                abandoned = await self._finish(timer_tasks, queue_tasks, server)
            if self._failure is not None:
                self._failure.abandoned = abandoned
                raise self._failure
            return abandoned
        finally:
            if server is not None:
                await server.close()

    async def drain(
        self, progress: Callable[[Mapping[str, Counts]], None] | None = None, *, pace: ListenerPace = DRAINING
    ) -> DrainResult:
        """Run the queue functions until no function is running and no queue has a visible message.

        Timers and HTTP functions do not run.

        Args:
            progress: called several times a second, while the counts by function change, with these counts.
            pace: how fast to drain, and how often to retry when the storage fails.

        Raises:
            QueueStorageFailed: the storage failed at every try.
        """
        done = False
        reported = -1
        async with _raise_first_error(asyncio.TaskGroup()) as group:
            for queue in self._queues:
                queue.empty_at = -1
                group.create_task(queue.run(lambda: done, group, pace))
            while not self._idle() and self._failure is None:
                # Only a check of a queue, or a failure, ends the draining.
                self._drain_changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._drain_changed.wait(), PROGRESS_INTERVAL if progress else None)
                if progress is not None and reported != self.invoker.revision:
                    reported = self.invoker.revision
                    progress(self.invoker.counts)
            done = True
            for queue in self._queues:
                queue.stop()
        if self._failure is not None:
            raise self._failure
        hidden = {queue.name: await self.invoker.call_in_thread(queue.queue.length) for queue in self._queues}
        counts = {name: replace(count) for name, count in self.invoker.counts.items()}
        return DrainResult(counts, {name: number for name, number in hidden.items() if number})

    async def run_function(self, name: str, *, body: str = "", past_due: bool = False) -> InvocationResult:
        """Run a timer or queue function once, whether or not it is due, and store its outputs.

        Args:
            name: the function's name.
            body: message body for a queue function.
            past_due: whether a timer function sees this run as past due.

        Raises:
            KeyError: the app has no such function.
            ValueError: it is an HTTP function; call it over HTTP.
        """
        function = self.engine.function(name)
        trigger = function.trigger
        if isinstance(trigger, TimerTrigger):
            timer = next(timer for timer in self._timers if timer.name == name)
            payload = timer_payload(await timer.read_status(), past_due=past_due)
            return await self.invoker.invoke(function, {trigger.name: payload}, log_suffix=", run manually")
        if isinstance(trigger, QueueTrigger):
            item = QueueItem("manual", "", body, 1, datetime.now(UTC))
            queue = next(queue for queue in self._queues if queue.function is function)
            inputs = {trigger.name: TypedData(string=body)}
            return await self.invoker.invoke(function, inputs, queue.runner.metadata(item), log_suffix=", run manually")
        raise ValueError(f"function {name} has an HTTP trigger: call it over HTTP")

    def _http_server(self, http: HttpConfig) -> HttpServer:
        from functions_host.http_server import HttpServer  # noqa: PLC0415  aiohttp is slow to load; draining needs none

        return HttpServer(self.engine.functions, self.invoker, http, self.config.route_prefix)

    def _fail(self, error: QueueStorageFailed) -> None:
        """End the host because of an error; the first one counts."""
        if self._failure is None:
            log.error("the host ends: %s", error)
            self._failure = error
            self._failed.set()
            self._drain_changed.set()

    async def _wait_for(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set, or set it when the host fails."""
        waiting = [asyncio.create_task(event.wait()) for event in (stop, self._failed)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        stop.set()

    async def _finish(
        self, timer_tasks: list[asyncio.Task[None]], queue_tasks: list[asyncio.Task[None]], server: HttpServer | None
    ) -> int:
        """Wait up to `GRACE` seconds for running functions, and return how many are abandoned."""
        ends_at = asyncio.get_running_loop().time() + GRACE
        if queue_tasks:
            _, polling = await asyncio.wait(queue_tasks, timeout=CUT_OFF)
            for task in polling:
                task.cancel()
        functions = [*timer_tasks, *(item for queue in self._queues for item in queue.items)]
        if server is not None:
            functions.append(asyncio.create_task(server.close()))
        late: set[asyncio.Task[None]] = set()
        if functions:
            _, late = await asyncio.wait(functions, timeout=ends_at - asyncio.get_running_loop().time())
        for task in late:
            task.cancel()
        if late:
            log.warning("%d functions still run after %d s and are abandoned", len(late), GRACE)
        return len(late)

    def _idle(self) -> bool:
        return self.invoker.active == 0 and all(queue.empty_at == self.invoker.revision for queue in self._queues)

    def _poll_queue(self, name: str) -> None:
        for queue in self._queues:
            if queue.name == name:
                queue.poll_within(0)

    def _poll_soon(self) -> None:
        for queue in self._queues:
            queue.poll_soon()


def _config_for(queue: str, config: HostConfig, pool: PoolConfig | None) -> HostConfig:
    """Return the settings of a queue. A pool has one message in each place, and the next one waiting for it."""
    if pool is None or queue not in pool.queues:
        return config
    return replace(config, batch_size=pool.processes, new_batch_threshold=pool.processes)


@asynccontextmanager
async def _raise_first_error(group: asyncio.TaskGroup) -> AsyncIterator[asyncio.TaskGroup]:
    """Run the task group and raise its first error instead of an exception group: all have the same cause here."""
    try:
        async with group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
