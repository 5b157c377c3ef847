"""Progress of long work: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_EVERY = 5.0
"""Seconds between two plain lines about the same."""

LEASE_EVERY = 15.0
"""Seconds between two lines about the same lease."""


class ProgressReporter:
    """Shows what it is told of work that takes its time. Called from several threads.

    Args:
        console: where; a terminal gets bars.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._bars = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Take the bars away. May be called twice."""
        if self._bars is not None:
            self._bars.stop()

    def collected(self, mailbox: str, done: int, listed: int) -> None:
        """Told by the intake after each batch."""
        self._done(f"mailbox {mailbox}", done, listed)

    def records(self, done: int, found: int) -> None:
        """Told by a replay after each batch."""
        self._done("records", done, found)

    def forgotten(self, done: int, found: int) -> None:
        """Told by forgetting after each batch."""
        self._done("messages", done, found)

    def held_up(self, mailbox: str) -> None:
        """Told, again and again, of a mailbox that is being drained and has to be waited for."""
        with self._lock:
            if time.monotonic() - self._said.get("held up", 0) >= PLAIN_EVERY:
                self._said["held up"] = time.monotonic()
                self._console.print(f"mailbox {mailbox} is being drained; waiting until it is done", highlight=False)

    def leased(self, mailbox: str, longest: float) -> None:
        """Show, again and again, that a mailbox has to be waited for because another worker has leased it."""
        key = f"lease {mailbox}"
        with self._lock:
            if key not in self._said or time.monotonic() - self._said[key] >= LEASE_EVERY:
                self._said[key] = time.monotonic()
                self._console.print(
                    f"mailbox {mailbox}: another worker, which may have been killed, holds its lease; waiting up to "
                    f"{longest:.0f} s for it",
                    highlight=False,
                    soft_wrap=True,
                )

    def _done(self, what: str, done: int, total: int) -> None:
        if not total:
            return
        with self._lock:
            if self._bars is not None:
                if what not in self._tasks:
                    self._tasks[what] = self._bars.add_task(what, total=total)
                self._bars.update(self._tasks[what], completed=done, total=total)
            elif done >= total or time.monotonic() - self._said.get(what, 0) >= PLAIN_EVERY:
                self._said[what] = time.monotonic()
                self._console.print(f"{what}: {done} of {total}", highlight=False)

    def waiting(self, messages: int) -> None:
        """Told how many stored messages wait to be routed."""
        with self._lock:
            if self._bars is not None:
                if "" not in self._tasks:
                    self._tasks[""] = self._bars.add_task("stored, to be routed", total=messages)
                total = max(self._bars.tasks[self._tasks[""]].total or 0, messages)
                self._bars.update(self._tasks[""], completed=total - messages, total=total)
            elif messages and time.monotonic() - self._said.get("", 0) >= PLAIN_EVERY:
                self._said[""] = time.monotonic()
                self._console.print(f"{messages} stored messages wait to be routed", highlight=False)
