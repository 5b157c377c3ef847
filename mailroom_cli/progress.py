"""Progress of long operations: bars on a terminal, occasional plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mailroom_cli.terminal import is_quiet, quantity

PLAIN_INTERVAL = 5.0
"""Seconds between two plain lines about the same operation."""

LEASE_INTERVAL = 15.0
"""Seconds between two lines about the same lease."""

_UNROUTED = "stored, not yet routed"
_DRAIN = "waiting for drain"


class ProgressReporter:
    """Shows the progress of long operations, unless `--quiet` is set. Its methods may be called from several threads.

    Args:
        console: output; a terminal gets bars.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._printed_at: dict[str, float] = {}
        self._bars = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            if console.is_terminal and not is_quiet()
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
        """Remove the bars. It may be called twice."""
        if self._bars is not None:
            self._bars.stop()

    def drained(self, mailbox: str, done: int, listed: int) -> None:
        """Show how many of a mailbox's messages are drained; called after each batch."""
        self._show(f"mailbox {mailbox}", done, listed)

    def replayed(self, done: int, total: int) -> None:
        """Show how many records are replayed; called after each batch."""
        self._show("records", done, total)

    def copied(self, done: int) -> None:
        """Show how many records are exported or imported; called after each batch."""
        with self._lock:
            if self._bars is not None:
                if "records" not in self._tasks:
                    self._tasks["records"] = self._bars.add_task("records", total=None)
                self._bars.update(self._tasks["records"], completed=done)
            elif self._is_due("records", PLAIN_INTERVAL):
                self._console.print(f"{done} records", highlight=False)

    def erased(self, done: int, total: int) -> None:
        """Show how many messages are erased; called after each batch."""
        self._show("messages", done, total)

    def unrouted(self, messages: int) -> None:
        """Show how many stored messages are not yet routed."""
        with self._lock:
            if self._bars is not None:
                if _UNROUTED not in self._tasks:
                    self._tasks[_UNROUTED] = self._bars.add_task(_UNROUTED, total=messages)
                task = self._tasks[_UNROUTED]
                total = max(self._bars.tasks[task].total or 0, messages)
                self._bars.update(task, completed=total - messages, total=total)
            elif messages and self._is_due(_UNROUTED, PLAIN_INTERVAL):
                self._console.print(f"{quantity(messages, 'stored message')} not yet routed", highlight=False)

    def waiting_for_drain(self, mailbox: str) -> None:
        """Show that the command waits until a mailbox has been drained; called repeatedly."""
        with self._lock:
            if self._is_due(_DRAIN, PLAIN_INTERVAL):
                self._console.print(f"mailbox {mailbox} is being drained; waiting until it is done", highlight=False)

    def waiting_for_lease(self, mailbox: str, longest: float) -> None:
        """Show that the command waits, at most `longest` seconds, for a mailbox's lease; called repeatedly."""
        with self._lock:
            if self._is_due(f"lease {mailbox}", LEASE_INTERVAL):
                self._console.print(
                    f"mailbox {mailbox}: another worker, which may have been killed, holds its lease; waiting up to "
                    f"{longest:.0f} s for it",
                    highlight=False,
                    soft_wrap=True,
                )

    def _show(self, subject: str, done: int, total: int) -> None:
        if not total:
            return
        with self._lock:
            if self._bars is not None:
                if subject not in self._tasks:
                    self._tasks[subject] = self._bars.add_task(subject, total=total)
                self._bars.update(self._tasks[subject], completed=done, total=total)
            elif self._is_due(subject, PLAIN_INTERVAL, always=done >= total):
                self._console.print(f"{subject}: {done} of {total}", highlight=False)

    def _is_due(self, subject: str, interval: float, *, always: bool = False) -> bool:
        """Return whether a line about `subject` is due, and record that it is printed now."""
        now = time.monotonic()
        if is_quiet():
            return False
        if not always and now - self._printed_at.get(subject, -interval) < interval:
            return False
        self._printed_at[subject] = now
        return True
