"""Run functions, store their outputs, and count their successes and failures."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from functions_host.function_index import AppNotLoaded, Function, QueueTrigger
from functions_host.host_json import HostConfig
from functions_host.output_bindings import messages_by_queue
from functions_host.worker import Engine, InvocationError, InvocationResult
from functions_host.worker_messages import TypedData
from functions_host.worker_pool import WorkerPool
from functions_host.worker_process import Call
from shared.errors import MailroomError
from shared.storage.base import Queue, Storage

log = logging.getLogger("mailroom.host")

P = ParamSpec("P")
T = TypeVar("T")

STORAGE_THREADS = 16
"""The number of storage calls that the host itself makes at once."""

TIMED_OUT = "FunctionTimeout"
"""The `InvocationError.kind` of a function that exceeded its timeout.

Its thread cannot be stopped and continues. A further process (`worker_pool`) is killed.
"""


@dataclass(slots=True)
class Counts:
    """The numbers of one function's invocations by outcome, since the host was started.

    Attributes:
        succeeded: invocations that succeeded.
        failed: invocations that raised an exception or whose outputs could not be stored; each try counts.
        poisoned: queue messages that failed every try.
    """

    succeeded: int = 0
    failed: int = 0
    poisoned: int = 0


class FunctionInvoker:
    """Runs functions and counts them.

    Args:
        engine: the engine that has loaded the app.
        storage: stores the functions' outputs.
        config: the host's settings; the function timeout is used.
        pool: runs the functions of some queues; None: the engine runs all functions.

    Attributes:
        counts: by function.
        active: the number of operations that are in progress.
        revision: increases whenever an operation begins or ends.
        on_put: called with a queue's name after messages were put on it.
        on_end: called after an operation has ended.
    """

    def __init__(self, engine: Engine, storage: Storage, config: HostConfig, pool: WorkerPool | None = None) -> None:
        self._engine = engine
        self._worker_pool = pool
        self._storage = storage
        self._timeout = config.function_timeout
        self._pool = ThreadPoolExecutor(STORAGE_THREADS, thread_name_prefix="host-storage")
        self.counts = {function.name: Counts() for function in engine.functions}
        self.active = 0
        self.revision = 0
        self.on_put: Callable[[str], None] = lambda _: None
        self.on_end: Callable[[], None] = lambda: None

    def queue(self, function: Function, name: str) -> Queue:
        """Return the queue `name`, which `function` uses.

        Raises:
            AppNotLoaded: the storage has no such queue.
        """
        try:
            return self._storage.queues[name]
        except KeyError:
            raise AppNotLoaded(
                f"function {function.name} uses the queue {name}, which the storage does not have"
            ) from None

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Count an operation in `active` for as long as the context lasts."""
        self.active += 1
        self.revision += 1
        try:
            yield
        finally:
            self.active -= 1
            self.revision += 1
            self.on_end()

    async def call_in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a blocking storage call in one of the host's threads and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(call, *args, **kwargs))

    async def invoke(
        self,
        function: Function,
        inputs: Mapping[str, TypedData],
        metadata: Mapping[str, TypedData] | None = None,
        *,
        log_suffix: str = "",
        traceparent: str | None = None,
    ) -> InvocationResult:
        """Run a function, put its outputs on their queues, and return the result.

        An error is counted, logged on one line and returned in the result.

        Args:
            function: the function to run.
            inputs: its input parameters.
            metadata: further values that the trigger supplies.
            log_suffix: text after the function's name in the log line, such as message and try; no message content.
            traceparent: the trace that the invocation belongs to; None starts a new trace.
        """
        began = time.monotonic()
        with self.operation():
            result = await self._run(function, inputs, metadata, traceparent)
        if result.error is None:
            self.counts[function.name].succeeded += 1
            log.debug("function %s%s succeeded in %.3f s", function.name, log_suffix, time.monotonic() - began)
        else:
            self.count_failure(function, log_suffix, result.error)
        return result

    def count_failure(self, function: Function, log_suffix: str, error: InvocationError) -> None:
        """Count and log an invocation that failed, or that could not begin because its input is invalid."""
        self.counts[function.name].failed += 1
        log.error("function %s%s failed: %s", function.name, log_suffix, " ".join(str(error).split()))
        log.debug("%s", error.trace)

    async def _run(
        self,
        function: Function,
        inputs: Mapping[str, TypedData],
        metadata: Mapping[str, TypedData] | None,
        traceparent: str | None,
    ) -> InvocationResult:
        trigger = function.trigger
        pool = self._worker_pool
        if pool is not None and isinstance(trigger, QueueTrigger) and pool.has(trigger.queue):
            async with pool.place() as run:
                result = await self._in_time(run(Call(function.name, inputs, metadata, traceparent)))
        else:
            result = await self._in_time(self._engine.invoke(function, inputs, metadata, traceparent=traceparent))
        if result.error is not None:
            return result
        try:
            for name, messages in messages_by_queue(function, result.outputs, result.return_value).items():
                await self.call_in_thread(self.queue(function, name).put_many, messages)
                self.on_put(name)
        except (MailroomError, ValueError) as error:
            return InvocationResult(
                error=InvocationError(type(error).__name__, f"its output could not be stored: {error}")
            )
        return result

    async def _in_time(self, running: Awaitable[InvocationResult]) -> InvocationResult:
        """Return the result of a function that runs, or an error after its timeout."""
        try:
            async with asyncio.timeout(self._timeout) as limit:
                return await running
        except TimeoutError:
            if not limit.expired():
                raise
            return InvocationResult(error=InvocationError(TIMED_OUT, f"it exceeded its timeout of {self._timeout:g} s"))

    def close(self) -> None:
        """Close the thread pools. Calls that are running finish."""
        self._engine.stop()
        self._pool.shutdown(wait=False)
