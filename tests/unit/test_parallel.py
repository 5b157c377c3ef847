"""Calls in several threads: each item once, as many at once as requested."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.parallel import run_each

THREADS = 4


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2 * THREADS) as pool:
        yield pool


def test_each_item_is_passed_once(pool: ThreadPoolExecutor) -> None:
    called: list[int] = []
    run_each(pool, THREADS, called.append, range(10_000))
    assert sorted(called) == list(range(10_000))


def test_calls_run_at_once_in_the_requested_number_of_threads(pool: ThreadPoolExecutor) -> None:
    together = threading.Barrier(THREADS, timeout=10)
    running: list[int] = []
    most = 0

    def call(_item: int) -> None:
        nonlocal most
        together.wait()
        running.append(1)
        most = max(most, len(running))
        together.wait()
        running.pop()

    run_each(pool, THREADS, call, range(3 * THREADS))
    assert most == THREADS


def test_a_thread_takes_the_next_item_while_another_call_runs(pool: ThreadPoolExecutor) -> None:
    others_done = threading.Event()
    called: list[int] = []

    def call(item: int) -> None:
        if item == 0:
            assert others_done.wait(10)
        called.append(item)
        if len(called) == 9:
            others_done.set()

    run_each(pool, 2, call, range(10))
    assert called[-1] == 0


@pytest.mark.parametrize(("threads", "items"), [(1, range(3)), (THREADS, range(1))])
def test_calls_that_cannot_overlap_are_made_by_the_caller(pool: ThreadPoolExecutor, threads: int, items: range) -> None:
    callers: set[int] = set()
    run_each(pool, threads, lambda _item: callers.add(threading.get_ident()), items)
    assert callers == {threading.get_ident()}


def test_without_items_nothing_is_called(pool: ThreadPoolExecutor) -> None:
    run_each(pool, THREADS, pytest.fail, [])


def test_an_error_is_raised_when_no_call_is_running_and_no_further_calls_are_made(pool: ThreadPoolExecutor) -> None:
    slow_began, failed, slow_ended = threading.Event(), threading.Event(), threading.Event()
    called: list[int] = []

    def call(item: int) -> None:
        called.append(item)
        if item == 0:
            assert slow_began.wait(10)
            failed.set()
            raise ValueError(item)
        slow_began.set()
        assert failed.wait(10)
        time.sleep(0.1)
        slow_ended.set()

    with pytest.raises(ValueError, match="0"):
        run_each(pool, 2, call, range(1_000))
    assert slow_ended.is_set()
    assert sorted(called) == [0, 1]


def test_no_call_is_running_after_the_system_had_no_further_thread(pool: ThreadPoolExecutor) -> None:
    began, calls = threading.Event(), []

    def call(item: int) -> None:
        began.set()
        time.sleep(0.1)
        calls.append(item)

    class Exhausted(ThreadPoolExecutor):
        """Has one thread."""

        def submit(self, *arguments: Any, **options: Any) -> Any:
            if began.is_set():
                raise RuntimeError("can't start new thread")
            submitted = pool.submit(*arguments, **options)
            assert began.wait(10)
            return submitted

    with Exhausted(1) as exhausted, pytest.raises(RuntimeError, match="new thread"):
        run_each(exhausted, THREADS, call, range(10))
    assert calls == [0]


def test_an_error_is_raised(pool: ThreadPoolExecutor) -> None:
    def call(item: int) -> None:
        if item == 7:
            raise ValueError(item)

    with pytest.raises(ValueError, match="7"):
        run_each(pool, THREADS, call, range(10))
