"""Run a function for many items in a few threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

Item = TypeVar("Item")


def run_each(executor: Executor, threads: int, function: Callable[[Item], object], items: Sequence[Item]) -> None:
    """Call a function for each item, several at once, and return when all calls have ended.

    To hand a job to another thread takes as long as many a job, so each thread takes items until none is left.

    Args:
        executor: has the threads.
        threads: the number of calls at once; 1: the calling thread makes them.
        function: called with each item.
        items: the items.

    Raises:
        Exception: an error of the function. Some items may not have been passed, and other calls may still run.
    """
    rest = iter(items)  # Shared by the threads. The global interpreter lock gives each item to one of them.

    def run(_thread: int) -> None:
        for item in rest:
            function(item)

    threads = min(threads, len(items))
    if threads <= 1:
        run(0)
        return
    for _ in executor.map(run, range(threads)):
        pass
