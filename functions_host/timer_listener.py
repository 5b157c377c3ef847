"""The timer trigger: runs a function on schedule, one run at a time; one run replaces all missed runs.

The rules are those of `TimerListener` in the WebJobs SDK's timer extension, as measured (docs/reference/host.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from functions_host.function_index import Function, TimerTrigger
from functions_host.invoker import FunctionInvoker
from functions_host.ncrontab import Schedule
from functions_host.timer_lock import TimerLock
from functions_host.timer_status import NEVER, TimerStatus, TimerStatuses
from functions_host.worker_messages import TypedData

LONGEST_SLEEP = 30.0
"""Seconds after which a waiting timer reads the system time again; the time may change while the timer waits."""

MIN_MONITORED_INTERVAL = timedelta(minutes=1)
"""A schedule with shorter intervals has no status."""

_SCHEDULE_TOLERANCE = timedelta(seconds=1)
_EXAMINED_TIMES = 10


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


def timer_payload(status: TimerStatus | None, *, past_due: bool) -> TypedData:
    """Return the input of a timer function.

    Args:
        status: the timer's status before the run; None for a schedule that has none.
        past_due: whether this run replaces a run that was missed while no host ran the timer.
    """
    return TypedData(
        json=json.dumps(
            {
                "Schedule": {"AdjustForDST": True},
                "ScheduleStatus": status.to_dict() if status is not None else None,
                "IsPastDue": past_due,
            }
        )
    )


class TimerListener:
    """Runs one timer function when it is due.

    Args:
        function: a function with a timer trigger.
        invoker: runs the function.
        statuses: keeps the status.
        lock: keeps two hosts from running the function.
        now: returns the current time.

    Attributes:
        name: the function's name.
        schedule: its schedule.
        is_monitored: whether the timer has a status.
        running: whether the function is running.

    Raises:
        ConfigurationError: the schedule is invalid.
    """

    def __init__(
        self,
        function: Function,
        invoker: FunctionInvoker,
        statuses: TimerStatuses,
        lock: TimerLock,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        trigger = function.trigger
        assert isinstance(trigger, TimerTrigger)
        self.schedule = Schedule(trigger.schedule)
        self._trigger = trigger
        self._function = function
        self.name = function.name
        self._invoker = invoker
        self._statuses = statuses
        self._lock = lock
        self._now = now
        self.is_monitored = trigger.use_monitor and _is_monitored(self.schedule, now())
        self.running = False

    async def run(self, stopped: asyncio.Event) -> None:
        """Run the function whenever it is due, while this host holds the timer's lock, until `stopped` is set."""
        try:
            while not stopped.is_set() and await self._lock.acquire(stopped):
                await self._run_while_locked(stopped)
                await self._lock.release()
        finally:
            self._lock.abandon()

    async def read_status(self) -> TimerStatus | None:
        """Return the status that a run now would see; None for a schedule that has none."""
        if not self.is_monitored:
            return None
        status = await self._invoker.call_in_thread(self._statuses.read, self.name)
        now = self._now()
        return status or TimerStatus(NEVER, self.schedule.after(now), now)

    async def _run_while_locked(self, stopped: asyncio.Event) -> None:
        now = self._now()
        status = await self._read_at_start(now)
        if self.is_monitored and now > status.next:
            status = await self._run_once(status, past_due=True)
        elif self._trigger.run_on_startup:
            status = await self._run_once(status, on_startup=True)
        while not stopped.is_set() and not self._lock.lost.is_set():
            wait = (status.next - self._now()).total_seconds()
            if wait > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), min(wait, LONGEST_SLEEP))
                continue
            status = await self._run_once(status)

    async def _read_at_start(self, now: datetime) -> TimerStatus:
        """Return the timer's status; write a new one if there is none, or the schedule has changed since."""
        status = await self._invoker.call_in_thread(self._statuses.read, self.name) if self.is_monitored else None
        if status is None:
            status = TimerStatus(NEVER, self.schedule.after(now), now)
        else:
            since = status.last if status.last != NEVER else status.last_updated
            expected = self.schedule.after(min(since, now))
            if abs(expected - status.next) <= _SCHEDULE_TOLERANCE:
                return status
            status = TimerStatus(NEVER, expected, since)
        await self._write(status)
        return status

    async def _run_once(self, status: TimerStatus, *, past_due: bool = False, on_startup: bool = False) -> TimerStatus:
        """Run the function, write the new status, and return it."""
        began = self._now()
        payload = timer_payload(status if self.is_monitored else None, past_due=past_due)
        self.running = True
        try:
            await self._invoker.invoke(self._function, {self._trigger.name: payload})
        finally:
            self.running = False
        # A run that began before its time, by the system's inaccuracy, must not be followed by one at that time.
        last = began if past_due or on_startup else max(began, status.next)
        new_status = TimerStatus(last, self.schedule.after(last), last)
        await self._write(new_status)
        return new_status

    async def _write(self, status: TimerStatus) -> None:
        if self.is_monitored:
            await self._invoker.call_in_thread(self._statuses.write, self.name, status)


def _is_monitored(schedule: Schedule, now: datetime) -> bool:
    """Return whether the next due times are a minute or more apart."""
    times = [schedule.after(now)]
    while len(times) < _EXAMINED_TIMES:
        times.append(schedule.after(times[-1]))
    return all(later - earlier >= MIN_MONITORED_INTERVAL for earlier, later in pairwise(times))
