"""Run a function for many items in a few threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from typing import TypeVar

Item = TypeVar("Item")


def run_each(executor: Executor, max_calls: int, function: Callable[[Item], object], items: Sequence[Item]) -> None:
    """Call a function for each item, several at once, and return when all calls have ended.

    To hand a job to another thread takes as long as many a job, so each thread takes items until none is left.

    Args:
        executor: has the threads.
        max_calls: the number of calls at once; 1: the calling thread makes them.
        function: called with each item.
        items: the items.

    Raises:
        Exception: an error of the function. Some items may not have been passed; no call is running any more.
    """
    remaining = iter(items)  # Shared by the threads. The global interpreter lock gives each item to one of them.
    has_ended = threading.Event()

    def run() -> None:
        try:
            for item in remaining:
                if has_ended.is_set():
                    return
                function(item)
        except BaseException:
            has_ended.set()
            raise

    count = min(max_calls, len(items))
    if count <= 1:
        run()
        return
    calls: list[Future[None]] = []
    try:
        calls += (executor.submit(run) for _ in range(count))
        wait(calls)
    finally:
        has_ended.set()  # if the caller was interrupted, or the system has no further thread
        wait(calls)
    for call in calls:
        call.result()
