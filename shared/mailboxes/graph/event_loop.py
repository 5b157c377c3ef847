"""An event loop in its own thread, for synchronous callers of asynchronous code.

Everything that belongs to the loop ends with it. A client that outlived it would fail with "Event loop is closed".
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

T = TypeVar("T")

CLOSE_TIMEOUT: Final = 10.0
"""Seconds allowed for ending the tasks, and again for ending the thread."""


class LoopThread:
    """A running event loop.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Schedule a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        """Cancel the running tasks, run `cleanup` and stop the loop. Never raises; may be called twice."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(Exception):
            self.start(self._shut_down(cleanup)).result(CLOSE_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_TIMEOUT)
        if not self._thread.is_alive():
            self._loop.close()

    async def _shut_down(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        await self._cancel_tasks()
        await cleanup()
        # A response body that was interrupted is still being closed.
        await self._loop.shutdown_asyncgens()
        await self._cancel_tasks()

    async def _cancel_tasks(self) -> None:
        current = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
