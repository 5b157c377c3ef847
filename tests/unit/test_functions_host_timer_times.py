"""The timer trigger's times and inputs are those measured with the WebJobs SDK (docs/reference/host.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import pytest

from functions_host.function_index import Function, TimerTrigger
from functions_host.host_json import HostConfig
from functions_host.invoker import FunctionInvoker
from functions_host.timer_listener import TimerListener
from functions_host.timer_lock import TimerLock
from functions_host.timer_status import NEVER, TimerStatus
from functions_host.worker import Engine, InvocationError, InvocationResult
from shared.errors import ServiceUnavailable
from tests.memory_queue import MemoryLeases, storage_with_queues
from tests.unit.virtual_host import START, FakeEngine, in_virtual_time, now, seconds, succeed, takes

EVERY_MINUTE = "0 * * * * *"
EVERY_SECOND = "* * * * * *"
HOURLY = "0 0 * * * *"

Body = Callable[[str], Awaitable[InvocationResult]]


class Statuses:
    """The status of timers in memory, with the history of the writes."""

    def __init__(self, **status: TimerStatus) -> None:
        self.kept: dict[str, TimerStatus] = dict(status)
        self.written: list[tuple[float, TimerStatus]] = []

    def read(self, timer: str) -> TimerStatus | None:
        return self.kept.get(timer)

    def write(self, timer: str, status: TimerStatus) -> None:
        self.kept[timer] = status
        self.written.append((seconds(), status))


class VirtualTimer:
    """A timer listener on virtual time, as one of several hosts may run it."""

    def __init__(
        self,
        schedule: str,
        body: Body = succeed,
        *,
        statuses: Statuses | None = None,
        leases: MemoryLeases | None = None,
        on_startup: bool = False,
        use_monitor: bool = True,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.engine = FakeEngine({schedule: body})
        self.statuses = statuses or Statuses()
        self.leases = leases or MemoryLeases(loop.time)
        self.stop = asyncio.Event()
        invoker = FunctionInvoker(cast("Engine", self.engine), storage_with_queues({}), HostConfig())
        function = Function(schedule, schedule, TimerTrigger("item", schedule, on_startup, use_monitor))
        lock = TimerLock(self.leases, "tick", invoker)
        self.listener = TimerListener(function, invoker, self.statuses, lock, now)
        self.task = asyncio.create_task(self.listener.run(self.stop))

    async def end(self) -> None:
        """Stop the host, as SIGTERM does."""
        self.stop.set()
        await self.task

    async def kill(self) -> None:
        """End the host without a release of its lock, as kill -9 does."""
        self.task.cancel()
        await asyncio.wait([self.task])

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The inputs of the runs."""
        return [json.loads(text) for _, text, _ in self.engine.calls]

    @property
    def times(self) -> list[float]:
        """The times of the runs."""
        return [at for _, _, at in self.engine.calls]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def _run_for(duration: float, schedule: str, body: Body = succeed, **options: Any) -> VirtualTimer:
    timer = VirtualTimer(schedule, body, **options)
    await asyncio.sleep(duration)
    await timer.end()
    return timer


def test_a_new_timer_first_runs_at_its_next_due_time_and_its_status_is_written_at_once() -> None:
    timer = in_virtual_time(lambda: _run_for(3600 * 2.5, HOURLY))
    assert timer.times == pytest.approx([3600, 7200], abs=0.005)
    assert timer.statuses.written[0] == (0, TimerStatus(NEVER, START + timedelta(hours=1), START))
    assert [at for at, _ in timer.statuses.written[1:]] == timer.times  # after each run
    first, second = timer.inputs
    assert first["IsPastDue"] is second["IsPastDue"] is False
    assert _time(first["ScheduleStatus"]["Last"]).year == 1
    assert _time(first["ScheduleStatus"]["Next"]) == START + timedelta(hours=1), "this run's due time, not the next"
    assert _time(second["ScheduleStatus"]["Last"]) == START + timedelta(hours=1), "when the run before began"
    assert _time(second["ScheduleStatus"]["Next"]) == START + timedelta(hours=2)


def test_a_run_longer_than_its_interval_is_followed_by_one_run_that_is_not_past_due() -> None:
    timer = in_virtual_time(lambda: _run_for(500, EVERY_MINUTE, takes(150)))
    assert timer.times == pytest.approx([60, 210, 360], abs=0.02)  # measured: 11 to 13 ms after the end
    assert [run["IsPastDue"] for run in timer.inputs] == [False, False, False]


def test_after_a_long_run_the_schedule_counts_again() -> None:
    async def once(body: str) -> InvocationResult:
        del body
        await asyncio.sleep(130 if seconds() < 100 else 1)
        return InvocationResult()

    timer = in_virtual_time(lambda: _run_for(400, EVERY_MINUTE, once))
    assert timer.times == pytest.approx([60, 190, 240, 300, 360], abs=0.02)


async def _after_downtime(hours: float) -> VirtualTimer:
    last = START - timedelta(hours=hours)
    status = TimerStatus(last, last + timedelta(hours=1), last)
    return await _run_for(3601, HOURLY, statuses=Statuses(**{HOURLY: status}))


def test_one_run_replaces_the_times_that_were_missed_while_no_host_ran_and_it_alone_is_past_due() -> None:
    timer = in_virtual_time(lambda: _after_downtime(26))
    assert timer.times == pytest.approx([0, 3600], abs=0.005)
    assert [run["IsPastDue"] for run in timer.inputs] == [True, False]
    assert _time(timer.inputs[0]["ScheduleStatus"]["Last"]) == START - timedelta(hours=26)
    assert _time(timer.inputs[0]["ScheduleStatus"]["Next"]) == START - timedelta(hours=25)


def test_a_short_downtime_misses_nothing() -> None:
    timer = in_virtual_time(lambda: _after_downtime(0))
    assert timer.times == pytest.approx([3600], abs=0.005)
    assert not timer.inputs[0]["IsPastDue"]


def test_a_changed_schedule_discards_the_old_due_time() -> None:
    status = TimerStatus(START - timedelta(minutes=5), START + timedelta(days=300), START - timedelta(minutes=5))
    timer = in_virtual_time(lambda: _run_for(3700, HOURLY, statuses=Statuses(**{HOURLY: status})))
    assert timer.times == pytest.approx([0, 3600], abs=0.005)


def test_schedules_under_a_minute_have_no_status_and_are_never_past_due() -> None:
    last = START - timedelta(hours=1)
    statuses = Statuses(**{EVERY_SECOND: TimerStatus(last, last, last)})
    timer = in_virtual_time(lambda: _run_for(3.5, EVERY_SECOND, statuses=statuses))
    assert timer.times == pytest.approx([1, 2, 3], abs=0.005)
    assert all(run["ScheduleStatus"] is None and run["IsPastDue"] is False for run in timer.inputs)
    assert statuses.written == []


@pytest.mark.parametrize(
    ("schedule", "monitored"),
    [(EVERY_MINUTE, True), ("*/30 * * * * *", False), ("0,30 */5 * * * *", False), (HOURLY, True)],
)
def test_every_minute_is_monitored(schedule: str, monitored: bool) -> None:
    timer = in_virtual_time(lambda: _run_for(400, schedule))
    assert bool(timer.statuses.written) is monitored


def test_a_timer_whose_monitor_is_off_has_no_status() -> None:
    timer = in_virtual_time(lambda: _run_for(130, EVERY_MINUTE, use_monitor=False))
    assert timer.times == pytest.approx([60, 120], abs=0.005)
    assert timer.statuses.written == []
    assert timer.inputs[0]["ScheduleStatus"] is None


def test_a_failed_run_is_not_tried_again() -> None:
    async def fail(body: str) -> InvocationResult:
        del body
        return InvocationResult(error=InvocationError("RuntimeError", "it fails"))

    timer = in_virtual_time(lambda: _run_for(200, EVERY_MINUTE, fail))
    assert timer.times == pytest.approx([60, 120, 180], abs=0.005)


def test_run_on_startup_is_not_past_due() -> None:
    timer = in_virtual_time(lambda: _run_for(10, HOURLY, on_startup=True))
    assert timer.times == [0]
    assert timer.inputs[0]["IsPastDue"] is False


async def _take_over(offset: float, *, killed: bool) -> tuple[float, list[float]]:
    """Run a timer on two hosts, end the holder of the lock, and return when the other's lock was acquired."""
    holder = VirtualTimer(EVERY_SECOND)
    await asyncio.sleep(offset)
    other = VirtualTimer(EVERY_SECOND, leases=holder.leases)
    await asyncio.sleep(80)
    ended = seconds()
    assert other.times == [], "one host runs a timer"
    await (holder.kill() if killed else holder.end())
    await asyncio.sleep(180)
    await other.end()
    return other.times[0] - ended, holder.times


@pytest.mark.parametrize("offset", [1, 13, 27, 31, 44, 59])
def test_another_host_takes_over_a_killed_hosts_timer_after_30_to_120_seconds(offset: float) -> None:
    waited, holder_times = in_virtual_time(lambda: _take_over(offset, killed=True))
    assert 30 <= waited <= 121  # measured: 55 to 116 s
    assert all(later - earlier == pytest.approx(1) for earlier, later in pairwise(holder_times))


@pytest.mark.parametrize("offset", [1, 13, 27, 31, 44, 59])
def test_another_host_takes_over_a_stopped_hosts_timer_at_its_next_try(offset: float) -> None:
    waited, _ = in_virtual_time(lambda: _take_over(offset, killed=False))
    assert waited == pytest.approx(40, abs=1.01)  # its tries are 60 s apart, and the holder ended 20 s after one


def test_a_host_that_is_killed_and_started_at_once_waits_for_its_own_lock() -> None:
    async def restart() -> float:
        killed = VirtualTimer(EVERY_SECOND)
        await asyncio.sleep(45)
        await killed.kill()
        again = VirtualTimer(EVERY_SECOND, leases=killed.leases)
        began = seconds()
        await asyncio.sleep(90)
        await again.end()
        return again.times[0] - began

    assert in_virtual_time(restart) == pytest.approx(60, abs=1)


def test_a_missed_time_is_past_due_for_the_host_that_takes_over() -> None:
    async def take_over() -> list[bool]:
        holder = VirtualTimer(EVERY_MINUTE)
        await asyncio.sleep(50)
        other = VirtualTimer(EVERY_MINUTE, leases=holder.leases, statuses=holder.statuses)
        await asyncio.sleep(5)
        await holder.kill()
        await asyncio.sleep(200)
        await other.end()
        return [run["IsPastDue"] for run in other.inputs]

    past_due = in_virtual_time(take_over)
    assert past_due[0] is True
    assert not any(past_due[1:])


def test_a_stop_waits_for_the_run_and_then_releases_the_lock() -> None:
    async def stop_during_a_run() -> tuple[float, str | None]:
        timer = VirtualTimer(EVERY_MINUTE, takes(5))
        await asyncio.sleep(61)
        held = timer.leases.acquire("tick.Listener", 60)
        assert held is None
        await timer.end()
        return seconds(), timer.leases.acquire("tick.Listener", 60)

    ended, token = in_virtual_time(stop_during_a_run)
    assert ended == pytest.approx(65)
    assert token is not None


class _CutOff(MemoryLeases):
    """Another host's leases, which cannot be reached for a while."""

    def __init__(self, leases: MemoryLeases, until: float) -> None:
        self._held = leases._held
        self._monotonic = leases._monotonic
        self._numbers = leases._numbers
        self._until = until

    def _check(self) -> None:
        if 40 < seconds() < self._until:
            raise ServiceUnavailable("503")

    def acquire(self, name: str, seconds: int) -> str | None:
        self._check()
        return super().acquire(name, seconds)

    def renew(self, name: str, token: str) -> None:
        self._check()
        super().renew(name, token)


def test_a_host_that_cannot_renew_its_lock_stops_before_another_one_begins() -> None:
    async def lose() -> tuple[list[float], list[float]]:
        leases = MemoryLeases(asyncio.get_running_loop().time)
        holder = VirtualTimer(EVERY_SECOND, leases=_CutOff(leases, 400))
        await asyncio.sleep(20)
        other = VirtualTimer(EVERY_SECOND, leases=leases)
        await asyncio.sleep(600)
        await holder.end()
        await other.end()
        return holder.times, other.times

    holder_times, other_times = in_virtual_time(lose)
    assert holder_times[-1] == pytest.approx(90, abs=1.1)
    assert 90 < other_times[0] <= 151
    assert other_times[-1] == pytest.approx(619, abs=1.1)


def test_a_host_that_can_renew_its_lock_again_in_time_keeps_it() -> None:
    async def keep() -> tuple[list[float], list[float]]:
        leases = MemoryLeases(asyncio.get_running_loop().time)
        holder = VirtualTimer(EVERY_SECOND, leases=_CutOff(leases, 75))
        await asyncio.sleep(20)
        other = VirtualTimer(EVERY_SECOND, leases=leases)
        await asyncio.sleep(600)
        await holder.end()
        await other.end()
        return holder.times, other.times

    holder_times, other_times = in_virtual_time(keep)
    assert len(holder_times) == pytest.approx(619, abs=1)
    assert other_times == []
