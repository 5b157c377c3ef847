"""The listeners of the local host on virtual time: hours pass in milliseconds, to the exact second.

The listeners, the invoker and the retries are those of the host. The storage is in memory, and the functions are
coroutines of the test instead of an app on the worker engine.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from functions_host.function_index import Function, QueueTrigger, TimerTrigger
from functions_host.host import Host
from functions_host.host_json import HostConfig
from functions_host.host_mode import AS_IN_AZURE, HostMode
from functions_host.worker import Engine, InvocationError, InvocationResult
from functions_host.worker_messages import TypedData
from tests.memory_queue import MemoryLeases, MemoryQueue, storage_with_queues

T = TypeVar("T")

START = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)
"""The virtual time at which a scenario begins."""

MEASURED = HostConfig(
    batch_size=4, new_batch_threshold=2, max_dequeue_count=5, visibility_timeout=60, max_polling_interval=5
)
"""The settings with which the figures of the Functions host were measured (docs/reference/host.md)."""

Body = Callable[[str], Awaitable[InvocationResult]]


MIN_STEP = 1e-6
"""Seconds by which the virtual time advances at least: less could be lost in rounding, so that time would stop."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that does not wait: the virtual time advances instead."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Advance the time by `timeout`."""
        if timeout is None:
            raise AssertionError("every task waits for something that will not happen")
        if timeout > 0:
            self.now += max(timeout, MIN_STEP)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. Calls in threads are made at once and take no time."""

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual.now

    def run_in_executor(  # type: ignore[override]  # the arguments' types are those of a generic function
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call a function in this thread."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  raised where the result is awaited
            future.set_exception(error)
        return future


def in_virtual_time(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function on virtual time, and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(scenario())


def seconds() -> float:
    """Return the virtual time in seconds since the start of the scenario."""
    return asyncio.get_running_loop().time() - 1000.0


def now() -> datetime:
    """Return the virtual time."""
    return START + timedelta(seconds=seconds())


async def succeed(body: str) -> InvocationResult:
    """Do nothing."""
    del body
    return InvocationResult()


def takes(duration: float) -> Body:
    """Return a function that takes `duration` seconds."""

    async def wait(body: str) -> InvocationResult:
        del body
        await asyncio.sleep(duration)
        return InvocationResult()

    return wait


async def fail(body: str) -> InvocationResult:
    """Fail."""
    del body
    return InvocationResult(error=InvocationError("RuntimeError", "it always fails"))


class FakeEngine:
    """Functions of a test in place of an app on the worker engine.

    Args:
        functions: the functions, by the name of the queue that each reads or by the schedule of its timer.

    Attributes:
        calls: function, body or timer input, and virtual time of each call.
    """

    def __init__(self, functions: Mapping[str, Body]) -> None:
        self._bodies = functions
        self.functions = tuple(
            Function(name, name, TimerTrigger("item", name, run_on_startup=False))
            if " " in name
            else Function(name, name, QueueTrigger("item", name))
            for name in functions
        )
        self.calls: list[tuple[str, str, float]] = []
        self.tries: list[int] = []
        self.running = 0
        self.most_running = 0

    def use_threads(self, count: int) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    async def invoke(
        self, function: Function, inputs: Mapping[str, TypedData], metadata: Any, *, traceparent: str | None
    ) -> InvocationResult:
        """Call the test's function."""
        del traceparent
        data = inputs["item"]
        text = str(data.string if data.json is None else data.json)
        self.calls.append((function.name, text, seconds()))
        self.tries.append(int(metadata["DequeueCount"].json) if metadata else 0)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._bodies[function.name](text)
        finally:
            self.running -= 1

    def times(self, name: str) -> list[float]:
        """Return the times of a function's calls."""
        return [at for function, _, at in self.calls if function == name]


class VirtualHost:
    """A host on virtual time. Create it inside a scenario.

    Args:
        functions: see `FakeEngine`.
        mode: deviations from the Functions host.
        config: the settings of host.json.
        queues: the queues; None: new ones for the functions, with their poison queues.

    Attributes:
        engine: the functions.
        queues: the queues by name.
        stop: stops the host.
    """

    def __init__(
        self,
        functions: Mapping[str, Body],
        *,
        mode: HostMode = AS_IN_AZURE,
        config: HostConfig = MEASURED,
        queues: dict[str, MemoryQueue] | None = None,
    ) -> None:
        time = asyncio.get_running_loop().time
        names = [name for name in functions if " " not in name]
        self.queues = queues or {
            name: MemoryQueue(time) for queue in names for name in (queue, f"{queue.removesuffix('-poison')}-poison")
        }
        self.engine = FakeEngine(functions)
        self.stop = asyncio.Event()
        storage = storage_with_queues(self.queues, MemoryLeases(time))
        self.host = Host(cast("Engine", self.engine), storage, config, mode=mode)
        self._serving: asyncio.Task[int] | None = None

    def start(self) -> asyncio.Task[int]:
        """Start serving, and return the task."""
        self._serving = asyncio.create_task(self.host.serve(self.stop))
        return self._serving

    async def serve_for(self, duration: float) -> int:
        """Serve for a number of seconds, and return the number of abandoned functions."""
        serving = self._serving or self.start()
        done, _ = await asyncio.wait([serving], timeout=duration)
        if not done:
            self.stop.set()
        return await serving

    def close(self) -> None:
        """Release the host's threads."""
        self.host.invoker.close()
