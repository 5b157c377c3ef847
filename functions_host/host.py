"""The local host: an app on the worker engine, its triggers, and their start and end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from functions_host.function_index import HttpTrigger, QueueTrigger, TimerTrigger
from functions_host.host_json import HostConfig, read_config
from functions_host.http_server import HttpConfig, HttpServer
from functions_host.invoker import Counts, FunctionInvoker
from functions_host.queue_listener import QueueListener
from functions_host.timer_listener import LastRuns, NoLastRuns, TimerListener, timer_payload
from functions_host.worker import Engine, InvocationResult
from functions_host.worker_messages import TypedData
from shared.storage.base import QueueItem, Storage

log = logging.getLogger("mailroom.host")

GRACE = 30.0
"""Seconds that running functions are waited for when the host stops."""

HTTP_THREADS = 8
"""HTTP functions that may run at once beside the full queues."""

DRAIN_LOOK = 0.1
"""Seconds between two looks at an empty queue while draining."""

DRAIN_PATIENCE = 7
"""Failed looks at a queue in a row after which draining gives up: a dozen seconds of them."""


@dataclass(frozen=True, slots=True)
class DrainResult:
    """What draining came to.

    Attributes:
        functions: counts by function; all since the host was started.
        hidden: messages left by queue: put or released with a delay that is not over, or taken by another host.
            Queues without any are left out.
    """

    functions: Mapping[str, Counts] = field(default_factory=dict)
    hidden: Mapping[str, int] = field(default_factory=dict)


class Host:
    """The triggers of one app. Made by `started`; one app a process (`functions_host`).

    Args:
        engine: with the app.
        stores: the app's own storage.
        config: as host.json has it.
        last_runs: when timers ran, across restarts.

    Raises:
        AppNotLoaded: a function names a queue that the storage does not have.
        ConfigurationError: a schedule is none.
    """

    def __init__(self, engine: Engine, stores: Storage, config: HostConfig, last_runs: LastRuns | None = None) -> None:
        self.engine = engine
        self.config = config
        self._last_runs = last_runs or NoLastRuns()
        self.running = FunctionInvoker(engine, stores, config)
        self._pumps = [
            QueueListener(f, self.running, config) for f in engine.functions if isinstance(f.trigger, QueueTrigger)
        ]
        self._timers = [
            TimerListener(f, self.running, self._last_runs)
            for f in engine.functions
            if isinstance(f.trigger, TimerTrigger)
        ]
        for function in engine.functions:
            for output in function.outputs:
                self.running.queue(function, output.queue)
        self.running.on_put = self._put
        self.running.on_end = self._ended
        http = any(isinstance(f.trigger, HttpTrigger) for f in engine.functions)
        self.threads = len(self._pumps) * config.concurrency + len(self._timers) + HTTP_THREADS * http
        engine.use_threads(max(self.threads, 1))

    @classmethod
    @asynccontextmanager
    async def started(
        cls, app_dir: Path, stores: Storage, config: HostConfig | None = None, last_runs: LastRuns | None = None
    ) -> AsyncIterator[Self]:
        """A host with the app loaded and no trigger running yet.

        Args:
            app_dir: where `function_app.py` and `host.json` are.
            stores: the app's own storage.
            config: None: as host.json and the environment say.
            last_runs: when timers ran, across restarts; None: nobody knows.

        Raises:
            AppNotLoaded: the app cannot be indexed, or asks for what the local host does not supply.
            ConfigurationError: host.json, a schedule or a setting that a binding names is wrong.
        """
        config = config or read_config(app_dir, os.environ)
        host = cls(await Engine.start(app_dir), stores, config, last_runs)
        try:
            yield host
        finally:
            host.running.close()

    async def serve(
        self, stop: asyncio.Event, http: HttpConfig | None = None, ready: Callable[[int], None] | None = None
    ) -> int:
        """Run all triggers until `stop` is set, then wait for what is running.

        Args:
            stop: set it to end.
            http: where HTTP functions are served; None: not at all.
            ready: called with the HTTP port (0 without HTTP) once everything is running.

        Returns:
            How many functions still ran when the grace was over; their messages come back after their ten minutes.

        Raises:
            ConfigurationError: HTTP cannot listen there.
        """
        server = HttpServer(self.engine.functions, self.running, http, self.config.route_prefix) if http else None
        try:
            port = await server.open() if server is not None else 0
            async with _flat(asyncio.TaskGroup()) as group:
                clocks = [group.create_task(timer.run(stop.is_set, stop)) for timer in self._timers]
                takers = [group.create_task(pump.run(stop.is_set, group)) for pump in self._pumps]
                if ready is not None:
                    ready(port)
                await stop.wait()
                log.info("stopping: %d functions are running", self.running.now)
                self._look_now()
                await asyncio.gather(*takers)
                return await self._finish(clocks, server)
        finally:
            if server is not None:
                await server.close()

    async def drain(
        self, progress: Callable[[Mapping[str, Counts]], None] | None = None, *, patience: int = DRAIN_PATIENCE
    ) -> DrainResult:
        """Pump all queues until nothing is running and no queue has a visible message. No timers, no HTTP.

        Args:
            progress: told the counts by function, some times a second, while they change.
            patience: after how many failed looks at one queue, in a row, to give up.

        Raises:
            TransientError: a queue cannot be read, and patience is over.
        """
        done = False
        told = -1
        async with _flat(asyncio.TaskGroup()) as group:
            for pump in self._pumps:
                pump.found_empty_at = -1
                group.create_task(pump.run(lambda: done, group, longest_wait=DRAIN_LOOK, patience=patience))
            while not self._idle():
                await asyncio.sleep(DRAIN_LOOK / 5)
                if progress is not None and told != self.running.stamp:
                    told = self.running.stamp
                    progress(self.running.counts)
            done = True
            self._look_now()
        left = {pump.name: await self.running.off_loop(pump.queue.length) for pump in self._pumps}
        counts = {name: replace(count) for name, count in self.running.counts.items()}
        return DrainResult(counts, {name: number for name, number in left.items() if number})

    async def run_function(self, name: str, *, body: str = "", past_due: bool = False) -> InvocationResult:
        """Run a timer or queue function once, by hand, and put its outputs.

        Args:
            name: which.
            body: what a queue function is handed.
            past_due: what a timer function is told.

        Raises:
            KeyError: there is no such function.
            ValueError: it is an HTTP function: those are called over HTTP.
        """
        function = self.engine.function(name)
        trigger = function.trigger
        if isinstance(trigger, TimerTrigger):
            timer = next(timer for timer in self._timers if timer.name == name)
            last = await self.running.off_loop(self._last_runs.read, name)
            payload = timer_payload(timer.schedule, last, past_due=past_due)
            return await self.running.invoke(function, {trigger.name: payload}, about=", by hand")
        if isinstance(trigger, QueueTrigger):
            item = QueueItem("by-hand", "", body, 1, datetime.now(UTC))
            pump = next(pump for pump in self._pumps if pump.function is function)
            inputs = {trigger.name: TypedData(string=body)}
            return await self.running.invoke(function, inputs, pump.metadata(item), about=", by hand")
        raise ValueError(f"function {name} has an HTTP trigger: call it over HTTP")

    async def _finish(self, clocks: list[asyncio.Task[None]], server: HttpServer | None) -> int:
        """Wait for what is running, a bounded time, and give up on the rest: how many those are."""
        tasks = [*clocks, *(item for pump in self._pumps for item in pump.items)]
        if server is not None:
            tasks.append(asyncio.create_task(server.close()))
        late: set[asyncio.Task[None]] = set()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE)
        for task in late:
            task.cancel()
        if late:
            log.warning("%d functions still run after %d s and are left behind", len(late), GRACE)
        return len(late)

    def _idle(self) -> bool:
        return self.running.now == 0 and all(pump.found_empty_at == self.running.stamp for pump in self._pumps)

    def _look_now(self) -> None:
        for pump in self._pumps:
            pump.poll_within(0)

    def _put(self, queue: str) -> None:
        for pump in self._pumps:
            if pump.name == queue:
                pump.poll_within(0)

    def _ended(self) -> None:
        for pump in self._pumps:
            pump.poll_within(DRAIN_LOOK)


@asynccontextmanager
async def _flat(group: asyncio.TaskGroup) -> AsyncIterator[asyncio.TaskGroup]:
    """The task group, raising its first error as it is: what fails together here fails of one cause."""
    try:
        async with group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
