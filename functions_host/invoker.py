"""What the host is at: the running functions, their outputs, their failures, and how many there were of each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from functions_host.function_index import AppNotLoaded, Function
from functions_host.host_json import HostConfig
from functions_host.output_bindings import by_queue
from functions_host.worker import Engine, InvocationError, InvocationResult
from functions_host.worker_messages import TypedData
from shared.errors import MailroomError
from shared.storage.base import Queue, Storage

log = logging.getLogger("mailroom.host")

P = ParamSpec("P")
T = TypeVar("T")

STORE_THREADS = 16
"""Calls to the storage that the host itself has under way at once."""

TIMED_OUT = "FunctionTimeout"
"""The `InvocationError.kind` of a function that ran too long. Its thread cannot be ended and goes on."""


@dataclass(slots=True)
class Counts:
    """What came of one function's invocations since the host was started.

    Attributes:
        succeeded: that ended well.
        failed: that raised, or whose outputs could not be put; each try counts.
        poisoned: queue messages given up on.
    """

    succeeded: int = 0
    failed: int = 0
    poisoned: int = 0


class FunctionInvoker:
    """Runs functions, and knows how many are under way.

    Args:
        engine: with the app.
        stores: where outputs go.
        config: the time a function may take.
    """

    def __init__(self, engine: Engine, stores: Storage, config: HostConfig) -> None:
        self._engine = engine
        self._stores = stores
        self._timeout = config.function_timeout
        self._pool = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="host-store")
        self.counts = {function.name: Counts() for function in engine.functions}
        self.now = 0
        self.stamp = 0
        self.on_put: Callable[[str], None] = lambda _: None
        self.on_end: Callable[[], None] = lambda: None

    def queue(self, function: Function, name: str) -> Queue:
        """One of the storage's queues.

        Raises:
            AppNotLoaded: the storage has none of that name.
        """
        try:
            return self._stores.queues[name]
        except KeyError:
            raise AppNotLoaded(
                f"function {function.name} names the queue {name}, which the storage does not have"
            ) from None

    def poison_queue(self, name: str) -> Queue | None:
        """The queue for what the queue `name` is given up on; a poison queue has none."""
        if name.endswith("-poison"):
            return None
        try:
            return self._stores.queues[f"{name}-poison"]
        except KeyError:
            return None

    @contextmanager
    def work(self) -> Iterator[None]:
        """Something is under way. `now` counts it; `stamp` changes as it begins and ends."""
        self.now += 1
        self.stamp += 1
        try:
            yield
        finally:
            self.now -= 1
            self.stamp += 1
            self.on_end()

    async def off_loop(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A blocking call to the storage, in a thread of the host's own."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(call, *args, **kwargs))

    async def invoke(
        self,
        function: Function,
        inputs: Mapping[str, TypedData],
        metadata: Mapping[str, TypedData] | None = None,
        *,
        about: str = "",
        traceparent: str | None = None,
    ) -> InvocationResult:
        """Run a function and put its outputs. What goes wrong is counted, logged on one line, and in the result.

        Args:
            function: which.
            inputs: its input parameters.
            metadata: what the trigger tells besides.
            about: what the log line says besides: which message, which try. Never a message's content.
            traceparent: the trace that it belongs to.
        """
        began = time.monotonic()
        with self.work():
            result = await self._run(function, inputs, metadata, traceparent)
        counts = self.counts[function.name]
        if result.error is None:
            counts.succeeded += 1
            log.debug("function %s%s: done in %.3f s", function.name, about, time.monotonic() - began)
        else:
            counts.failed += 1
            log.error("function %s%s failed: %s", function.name, about, " ".join(str(result.error).split()))
            log.debug("%s", result.error.trace)
        return result

    async def _run(
        self,
        function: Function,
        inputs: Mapping[str, TypedData],
        metadata: Mapping[str, TypedData] | None,
        traceparent: str | None,
    ) -> InvocationResult:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                result = await self._engine.invoke(function, inputs, metadata, traceparent=traceparent)
        except TimeoutError:
            if not limit.expired():
                raise
            return InvocationResult(error=InvocationError(TIMED_OUT, f"it ran longer than {self._timeout:g} s"))
        if result.error is not None:
            return result
        try:
            for name, messages in by_queue(function, result.outputs, result.return_value).items():
                await self.off_loop(self.queue(function, name).put_many, messages)
                self.on_put(name)
        except (MailroomError, ValueError) as error:
            return InvocationResult(
                error=InvocationError(type(error).__name__, f"its output could not be put: {error}")
            )
        return result

    def close(self) -> None:
        """Start no more threads. What runs in one goes on to its end."""
        self._engine.stop()
        self._pool.shutdown(wait=False)
