"""The timer trigger, with real functions on the worker engine in real time."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any

from functions_host.host import Host
from functions_host.timer_status import StatusFolder, TimerStatus
from tests.end_to_end.own_process import APPS, in_own_process
from tests.memory_queue import MemoryQueue, storage_with_queues

Run = dict[str, Any]


async def _serve(
    seconds: float = 60, *, tick: str, takes: str = "0", ticks: int = 0, remembered: Path | None = None
) -> tuple[list[Run], list[Run], int]:
    """Serve the sample app `clock` for `seconds`, or until `tick` has run `ticks` times.

    Return the runs of `tick`, the runs of `at_start`, and the number of messages that `tick` put.
    """
    os.environ.update(TICK=tick, TICK_SECONDS=takes)
    polls = MemoryQueue()
    stop = asyncio.Event()
    statuses = StatusFolder(remembered) if remembered is not None else None
    async with Host.started(APPS / "clock", storage_with_queues({"polls": polls}), statuses=statuses) as host:
        runs: list[Run] = sys.modules["function_app"].RUNS
        asyncio.get_running_loop().call_later(seconds, stop.set)
        watching = asyncio.create_task(_stop_after(ticks, runs, stop))
        assert await host.serve(stop) == 0
        watching.cancel()
    return [r for r in runs if r["name"] == "tick"], [r for r in runs if r["name"] == "at_start"], polls.length()


async def _stop_after(ticks: int, runs: list[Run], stop: asyncio.Event) -> None:
    ended = 0
    while not ticks or ended < ticks:
        await asyncio.sleep(0.02)
        ended = sum(run["name"] == "tick" and run["ended"] > 0 for run in runs)
    stop.set()


def test_a_timer_runs_when_it_is_due_and_its_outputs_are_put() -> None:
    ticks, _, put = in_own_process(_serve, tick="* * * * * *", ticks=3)
    assert len(ticks) >= 3
    assert put == len(ticks)
    assert min(tick["began"] % 1 for tick in ticks) < 0.2, "at the second, not somewhere in it"
    assert len({int(tick["began"]) for tick in ticks}) == len(ticks), "once a second"
    assert not any(tick["past_due"] for tick in ticks)
    assert [tick["status"] for tick in ticks] == [{}] * len(ticks), "a schedule under a minute has no status"


def test_run_on_startup_runs_once_and_a_failure_does_not_stop_timers() -> None:
    ticks, at_start, _ = in_own_process(_serve, tick="* * * * * *", ticks=2)
    assert len(at_start) == 1
    assert not at_start[0]["past_due"]
    assert datetime.fromisoformat(at_start[0]["status"]["Last"]).year == 1
    assert datetime.fromisoformat(at_start[0]["status"]["Next"]) > datetime.now(UTC)
    assert len(ticks) >= 2


def test_runs_never_overlap_and_one_run_replaces_missed_times() -> None:
    ticks, _, _ = in_own_process(_serve, tick="* * * * * *", takes="2.1", ticks=2)
    ticks.sort(key=lambda run: float(run["began"]))
    assert all(later["began"] >= earlier["ended"] > 0 for earlier, later in pairwise(ticks))
    assert 2 <= len(ticks) <= 3  # one late run replaces the times that were missed during a run
    assert not ticks[1]["past_due"]
    assert ticks[1]["began"] < floor(ticks[0]["ended"]) + 1, "before the next time due"


def test_one_run_replaces_runs_missed_while_the_host_was_down(tmp_path: Path) -> None:
    statuses = StatusFolder(tmp_path / "timers")
    yesterday = datetime.now(UTC).replace(minute=30) - timedelta(days=1)
    due = (yesterday + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    statuses.write("tick", TimerStatus(yesterday, due, yesterday))
    ticks, _, _ = in_own_process(_serve, tick="0 0 * * * *", ticks=1, remembered=tmp_path / "timers")
    assert [run["past_due"] for run in ticks] == [True]
    assert datetime.fromisoformat(ticks[0]["status"]["Last"]) == yesterday
    assert datetime.fromisoformat(ticks[0]["status"]["Next"]) == due
    # The run was recorded: the next start has no missed run.
    ticks, at_start, _ = in_own_process(_serve, 0.5, tick="0 0 * * * *", remembered=tmp_path / "timers")
    assert ticks == []
    assert len(at_start) == 1
    assert {file.name for file in (tmp_path / "timers").iterdir()} == {"tick.json", "at_start.json"}


def test_without_a_status_the_first_run_is_at_the_next_due_time() -> None:
    ticks, _, _ = in_own_process(_serve, 0.5, tick="0 0 0 1 1 *")
    assert ticks == []


async def _run_manually() -> tuple[bool, int]:
    os.environ["TICK"] = "0 0 * * * *"
    polls = MemoryQueue()
    async with Host.started(APPS / "clock", storage_with_queues({"polls": polls})) as host:
        assert (await host.run_function("tick", past_due=True)).error is None
    return sys.modules["function_app"].RUNS[0]["past_due"], polls.length()


def test_a_timer_can_be_run_manually() -> None:
    assert in_own_process(_run_manually) == (True, 1)
