"""An event loop in a thread of its own, for what is asynchronous and used by what is not.

Whatever belongs to the loop ends with it: a client that outlived its loop would fail with "Event loop is closed".
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

T = TypeVar("T")

CLOSING: Final = 10.0
"""Seconds that ending everything may take."""


class LoopThread:
    """A running loop.

    Args:
        name: the thread's.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Let a coroutine run."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """End what is under way, do a last thing, and end the loop. Never raises; may be called twice."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(Exception):
            self.start(self._end(last)).result(CLOSING)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSING)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self, last: Callable[[], Awaitable[None]]) -> None:
        await self._end_tasks()
        await last()
        # What was cut off in the middle of a body is still being closed.
        await self._loop.shutdown_asyncgens()
        await self._end_tasks()

    async def _end_tasks(self) -> None:
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
