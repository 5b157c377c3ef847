"""The timer trigger: runs a function on schedule, one run at a time; one run replaces all missed runs."""

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

PAST_DUE_AFTER = timedelta(seconds=1)
"""The delay from which a run is marked as past due."""

LONGEST_SLEEP = 30.0
"""Seconds after which a waiting timer reads the system time again; the time may change while the timer waits."""


class LastRuns(Protocol):
    """Keeps the time of each timer's last run across restarts."""

    def read(self, timer: str) -> datetime | None:
        """Return the time of the timer's last run, or None if it is unknown."""

    def write(self, timer: str, when: datetime) -> None:
        """Record that the timer ran at `when`."""


class NoLastRuns:
    """Keeps no times: after a restart, a timer waits for its next due time."""

    def read(self, timer: str) -> datetime | None:
        """Return None."""
        del timer
        return None

    def write(self, timer: str, when: datetime) -> None:
        """Do nothing."""


class LastRunsFile:
    """A JSON file with the times of the timers' last runs. An unreadable file counts as empty.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self, timer: str) -> datetime | None:
        """Return the time of the timer's last run, or None if it is unknown."""
        try:
            when = datetime.fromisoformat(self._read()[timer])
        except (KeyError, TypeError, ValueError):
            return None
        return when if when.tzinfo is not None else None

    def write(self, timer: str, when: datetime) -> None:
        """Record that the timer ran at `when`. If the file cannot be written, log a warning and continue."""
        new_file = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        with self._lock:
            runs = {**self._read(), timer: when.isoformat()}
            try:
                new_file.write_text(json.dumps(runs), "utf-8")
                new_file.replace(self._path)
            except OSError as error:
                log.warning(
                    "timer %s: the time of its last run cannot be written to %s: %s", timer, self._path, error.strerror
                )

    def _read(self) -> dict[str, str]:
        try:
            runs = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return runs if isinstance(runs, dict) else {}


def timer_payload(schedule: Schedule, last: datetime | None, *, past_due: bool) -> TypedData:
    """Return the input of a timer function.

    Args:
        schedule: the timer's schedule.
        last: time of the previous run; None if it is unknown.
        past_due: whether this run is late.
    """
    now = datetime.now(UTC)
    last_run = (last or datetime.min.replace(tzinfo=UTC)).isoformat()
    status = {"Last": last_run, "Next": schedule.after(now).isoformat(), "LastUpdated": last_run}
    return TypedData(
        json=json.dumps({"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": past_due})
    )


class TimerListener:
    """Runs one timer function when it is due.

    Args:
        function: a function with a timer trigger.
        invoker: runs the function.
        last_runs: keeps the times of the last runs.

    Raises:
        ConfigurationError: the schedule is invalid.
    """

    def __init__(self, function: Function, invoker: FunctionInvoker, last_runs: LastRuns) -> None:
        trigger = function.trigger
        assert isinstance(trigger, TimerTrigger)
        self.schedule = Schedule(trigger.schedule)
        self._trigger = trigger
        self._function = function
        self.name = function.name
        self._invoker = invoker
        self._last_runs = last_runs

    async def run(self, stopping: Callable[[], bool], stopped: asyncio.Event) -> None:
        """Run the function whenever it is due.

        Args:
            stopping: ends the listener when it returns true; called before each wait and each run.
            stopped: ends a wait when it is set.
        """
        last = await self._invoker.call_in_thread(self._last_runs.read, self.name)
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
            payload = timer_payload(self.schedule, last, past_due=began - due > PAST_DUE_AFTER)
            await self._invoker.invoke(self._function, {self._trigger.name: payload})
            await self._invoker.call_in_thread(self._last_runs.write, self.name, began)
            last = began
            due = self.schedule.after(began)  # in the past if the run missed due times: one run replaces them all
