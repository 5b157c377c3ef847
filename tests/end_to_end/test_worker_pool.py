"""Functions that run one at a time in several processes, with the worker engine in each."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from functions_host.host import DrainResult, Host
from functions_host.host_mode import HostMode
from functions_host.invoker import TIMED_OUT
from functions_host.worker_pool import WORKER_DIED, PoolConfig
from shared.errors import ServiceUnavailable
from tests.end_to_end.own_process import APPS, in_own_process
from tests.end_to_end.queue_lab import QUICK, QueueLab

WORD = "WORD_OF_THE_TEST"
"""An environment variable that only the host's process has."""


@contextmanager
def unprepared() -> Iterator[None]:
    """Prepare nothing in a worker process."""
    yield


@contextmanager
def storage_is_down() -> Iterator[None]:
    """Fail, as a worker process does that cannot open the storage."""
    raise ServiceUnavailable("the storage folder is not mounted")
    yield


POOL = PoolConfig({"work"}, processes=2, setup=unprepared, busy_seconds=0)
START = "until the processes have started"

QUIET = replace(POOL, busy_seconds=1000)
"""A pool that starts no processes."""


@dataclass
class Run:
    """The result of a scenario, without the functions that ran until the processes had started.

    Attributes:
        host: the id of the host's process.
        drained: the result of draining the queues.
        seen: what the functions returned.
        children: the processes that existed at the end.
        log: the host's log lines.
    """

    host: int
    drained: DrainResult
    seen: list[dict[str, Any]]
    children: list[int]
    log: list[str] = field(default_factory=list)

    @property
    def pids(self) -> Counter[int]:
        """How often the pool's function ran, by process."""
        return Counter(call["pid"] for call in self.seen if "try" in call)


async def _drain(
    bodies: list[str], pool: PoolConfig = POOL, *, processes: bool = True, limit: float = 60, pause: float = 0
) -> Run:
    """Drain messages, once the pool's processes run; twice if there is a pause."""
    os.environ[WORD] = "brillig"
    lab = QueueLab()
    config = replace(QUICK, function_timeout=limit, max_dequeue_count=3)
    with lab.logging():
        async with Host.started(APPS / "processes", lab.stores, config, mode=HostMode(pool=pool)) as host:
            started = 0
            for _ in range(2 if pause else 1):
                started += await _start_processes(host, lab) if processes else 0
                lab.queues["work"].put_many(bodies)
                lab.queues["many"].put_many(["elsewhere"])
                drained = await host.drain()
                await asyncio.sleep(pause)
            if pause:
                lab.queues["work"].put_many(["last"])
                drained = await host.drain()
    seen = [json.loads(message.body) for message in lab.queues["single"]._messages.values()]
    seen = [call for call in seen if not call["body"].endswith(START)]
    drained.functions["work"].succeeded -= started
    return Run(os.getpid(), drained, seen, _children(), lab.log)


async def _start_processes(host: Host, lab: QueueLab) -> int:
    """Run functions until the pool has started its processes. Return how many were run."""
    assert host.pool is not None
    count = 0
    while host.pool.process_count < POOL.processes:
        lab.queues["work"].put_many([f"sleep 0.2 {START}"])
        await host.drain()
        count += 1
    return count


def _children() -> list[int]:
    """Return the worker processes that exist."""
    import multiprocessing  # noqa: PLC0415

    return [process.pid or 0 for process in multiprocessing.active_children()]


def _overlaps(calls: list[dict[str, Any]]) -> bool:
    ordered = sorted(calls, key=lambda call: float(call["began"]))
    return any(before["ended"] > after["began"] for before, after in pairwise(ordered))


def test_processes_share_the_messages_and_run_one_at_a_time() -> None:
    run = in_own_process(_drain, [f"sleep 0.05 {n}" for n in range(60)])
    assert Counter(call["body"] for call in run.seen) == Counter(["elsewhere", *(f"sleep 0.05 {n}" for n in range(60))])
    assert run.drained.functions["work"].succeeded == 60
    others = set(run.pids) - {run.host}
    assert len(others) == 2
    assert all(run.pids[pid] >= 10 for pid in others)
    for pid in run.pids:
        assert not _overlaps([call for call in run.seen if call["pid"] == pid and "try" in call])
    assert _overlaps([call for call in run.seen if call["pid"] in others])
    assert {call["setting"] for call in run.seen if "try" in call} == {"brillig"}
    (elsewhere,) = [call for call in run.seen if call["body"] == "elsewhere"]
    assert elsewhere["pid"] == run.host, "only the pool's functions run in other processes"
    assert run.children == []


def test_a_short_run_starts_no_process_and_runs_one_at_a_time() -> None:
    run = in_own_process(_drain, [f"sleep 0.02 {n}" for n in range(20)], QUIET, processes=False)
    assert run.pids == {run.host: 20}
    assert not _overlaps([call for call in run.seen if "try" in call])


def test_with_one_process_there_is_no_other() -> None:
    run = in_own_process(_drain, [f"sleep 0.02 {n}" for n in range(20)], replace(POOL, processes=1), processes=False)
    assert run.pids == {run.host: 20}


def test_a_failure_in_a_process_is_retried_and_dead_lettered() -> None:
    run = in_own_process(_drain, [*(f"sleep 0.05 {n}" for n in range(30)), "fail"])
    assert run.drained.functions["work"].succeeded == 30
    assert (run.drained.functions["work"].failed, run.drained.functions["work"].poisoned) == (3, 1)
    assert any("RuntimeError: this one always fails" in line for line in run.log)


def test_a_message_whose_process_dies_is_tried_again_and_the_process_replaced() -> None:
    run = in_own_process(_drain, ["die", *(f"sleep 0.1 {n}" for n in range(80))])
    assert run.pids.total() == 81
    (died,) = [call for call in run.seen if call["body"] == "die"]
    assert died["try"] == 2
    assert any(f"{WORKER_DIED}: the worker process ended with exit code -9" in line for line in run.log), run.log
    assert len(set(run.pids) - {run.host}) >= 2, "the one that survived, and the new one"
    assert run.children == []


def test_a_process_whose_function_takes_too_long_is_killed() -> None:
    run = in_own_process(_drain, [*(f"sleep 0.1 {n}" for n in range(15)), "sleep 30"], limit=1)
    assert run.drained.functions["work"].succeeded == 15
    assert run.drained.functions["work"].failed == 3
    assert sum(TIMED_OUT in line for line in run.log) == 3
    assert run.children == []


def test_processes_ignore_ctrl_c() -> None:
    run = in_own_process(_drain, [*(f"sleep 0.1 {n}" for n in range(15)), *(f"interrupt {n}" for n in range(4))])
    assert run.drained.functions["work"].succeeded == 19
    assert run.drained.functions["work"].failed == 0


def test_idle_processes_end_and_this_process_continues() -> None:
    run = in_own_process(_drain, [f"sleep 0.05 {n}" for n in range(30)], replace(POOL, idle_seconds=1), pause=3)
    *_, last = [call for call in run.seen if "try" in call]
    assert last["body"] == "last"
    assert last["pid"] == run.host
    assert len(set(run.pids) - {run.host}) == 4, "two for each time"


def test_a_process_that_cannot_start_is_not_needed() -> None:
    run = in_own_process(
        _drain, [f"sleep 0.1 {n}" for n in range(20)], replace(POOL, setup=storage_is_down), processes=False
    )
    assert run.pids == {run.host: 20}
    (warning, _) = [line for line in run.log if "the storage folder is not mounted" in line]
    assert warning == (
        "a worker process cannot load the app: the storage folder is not mounted; functions run in the existing "
        "processes"
    )


async def _abandoned() -> tuple[int, float, list[int]]:
    """Stop a host whose processes run long functions; return how many were abandoned, and how long that took."""
    lab = QueueLab()
    stop = asyncio.Event()
    async with Host.started(APPS / "processes", lab.stores, QUICK, mode=HostMode(pool=POOL)) as host:
        await _start_processes(host, lab)
        lab.queues["work"].put_many(["sleep 60 a", "sleep 60 b"])
        serving = asyncio.create_task(host.serve(stop))
        await asyncio.sleep(2)
        began = time.monotonic()
        stop.set()
        abandoned = await serving
    return abandoned, time.monotonic() - began, _children()


def test_a_stopped_host_leaves_no_process() -> None:
    abandoned, seconds, children = in_own_process(_abandoned)
    assert abandoned == 2
    assert 9 < seconds < 20
    assert children == []
