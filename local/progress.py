"""Progress of long work: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_EVERY = 5.0
"""Seconds between two plain lines about one mailbox."""


class Told:
    """Shows what it is told of mailboxes being drained. Called from several threads.

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
        if not listed:
            return
        with self._lock:
            if self._bars is not None:
                if mailbox not in self._tasks:
                    self._tasks[mailbox] = self._bars.add_task(f"mailbox {mailbox}", total=listed)
                self._bars.update(self._tasks[mailbox], completed=done, total=listed)
            elif done >= listed or time.monotonic() - self._said.get(mailbox, 0) >= PLAIN_EVERY:
                self._said[mailbox] = time.monotonic()
                self._console.print(f"mailbox {mailbox}: {done} of {listed}", highlight=False)

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
