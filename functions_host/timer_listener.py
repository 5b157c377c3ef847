"""The timer trigger: a function by the clock, never two runs at once, and one run for all that were missed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from functions_host.function_index import Function, TimerTrigger
from functions_host.invoker import FunctionInvoker
from functions_host.ncrontab import Schedule
from functions_host.worker_messages import TypedData

log = logging.getLogger("mailroom.host")

LATE = timedelta(seconds=1)
"""From how far behind its time a run is told that it is late."""

LONGEST_SLEEP = 30.0
"""Seconds after which a sleeper looks at the clock again: it may have been set, or the machine may have slept."""


class LastRuns(Protocol):
    """Remembers, across restarts, when each timer ran."""

    def read(self, timer: str) -> datetime | None:
        """When it ran last, or None."""

    def write(self, timer: str, when: datetime) -> None:
        """It ran."""


class NoLastRuns:
    """Remembers nothing: a host that starts begins with the next time due."""

    def read(self, timer: str) -> datetime | None:
        """None."""
        del timer
        return None

    def write(self, timer: str, when: datetime) -> None:
        """Nothing."""


class LastRunsFile:
    """A small JSON file, replaced as a whole. One that cannot be read is taken for an empty one.

    Args:
        path: its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self, timer: str) -> datetime | None:
        """When it ran last, or None."""
        try:
            when = datetime.fromisoformat(self._read()[timer])
        except (KeyError, TypeError, ValueError):
            return None
        return when if when.tzinfo is not None else None

    def write(self, timer: str, when: datetime) -> None:
        """It ran. A file that cannot be written is a warning: the timer goes on."""
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        with self._lock:
            runs = {**self._read(), timer: when.isoformat()}
            try:
                beside.write_text(json.dumps(runs), "utf-8")
                beside.replace(self._path)
            except OSError as error:
                log.warning("timer %s: its last run cannot be written to %s: %s", timer, self._path, error.strerror)

    def _read(self) -> dict[str, str]:
        try:
            runs = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return runs if isinstance(runs, dict) else {}


def timer_payload(schedule: Schedule, last: datetime | None, *, past_due: bool) -> TypedData:
    """What a timer function is handed.

    Args:
        schedule: its schedule.
        last: when it ran before this, if it is known.
        past_due: whether this run is late.
    """
    now = datetime.now(UTC)
    known = (last or datetime.min.replace(tzinfo=UTC)).isoformat()
    status = {"Last": known, "Next": schedule.after(now).isoformat(), "LastUpdated": known}
    return TypedData(
        json=json.dumps({"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": past_due})
    )


class TimerListener:
    """One timer function's clock.

    Args:
        function: with a timer trigger.
        running: runs it.
        last_runs: what it remembers.

    Raises:
        ConfigurationError: its schedule is none.
    """

    def __init__(self, function: Function, running: FunctionInvoker, last_runs: LastRuns) -> None:
        trigger = function.trigger
        assert isinstance(trigger, TimerTrigger)
        self.schedule = Schedule(trigger.schedule)
        self._trigger = trigger
        self._function = function
        self.name = function.name
        self._running = running
        self._last_runs = last_runs

    async def run(self, stopping: Callable[[], bool], stopped: asyncio.Event) -> None:
        """Run the function whenever it is due, until stopped."""
        last = await self._running.off_loop(self._last_runs.read, self.name)
        now = datetime.now(UTC)
        due = self.schedule.after(min(last, now) if last is not None else now)
        if self._trigger.run_on_startup:
            due = min(due, now)
        while not stopping():
            wait = (due - datetime.now(UTC)).total_seconds()
            if wait > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), min(wait, LONGEST_SLEEP))
                continue
            began = datetime.now(UTC)
            payload = timer_payload(self.schedule, last, past_due=began - due > LATE)
            await self._running.invoke(self._function, {self._trigger.name: payload})
            await self._running.off_loop(self._last_runs.write, self.name, began)
            last = began
            due = self.schedule.after(began)  # in the past if times went by meanwhile: one run is for all of them
