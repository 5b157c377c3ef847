"""`mailroom serve` as a process on its own storage, and the times at which results appear in that storage."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.child import ROOT
from bench.running import write_settings
from shared.config import load_settings
from shared.documents.blob_paths import RESULTS_PREFIX, message_in_path
from shared.errors import TransientError
from shared.mailbox_health import HealthRecords, MailboxHealth
from shared.storage.base import Storage
from shared.storage.factory import open_storage

WATCH_INTERVAL = 0.05
"""Seconds between two listings of a few results."""

LONGER_PER_RESULT = 0.0005
"""Seconds that each result lengthens this interval, since a long listing takes work from the measured process."""


@dataclass
class Served:
    """A running `mailroom serve`, and its storage.

    Attributes:
        storage: the storage, opened by this process as well.
        log: the file with its log lines.
        started: when the process was started, in seconds since 1970.
        seen: when each result was first seen, in seconds since 1970, by message id.
    """

    storage: Storage
    log: Path
    started: float
    seen: dict[str, float] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, message: str, seconds: float) -> float:
        """Return when the result of a message was first seen.

        Raises:
            SystemExit: there is no result within `seconds`.
        """
        self.wait_until(lambda: message in self.seen, seconds)
        return self.seen[message]

    def wait_until(self, met: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition on the results is met.

        Raises:
            SystemExit: it is not met within `seconds`.
        """
        with self._changed:
            if not self._changed.wait_for(met, seconds):
                raise SystemExit(f"benchmark: after {seconds:.0f} s, {len(self.seen)} messages have a result")

    def health(self, mailbox: str) -> MailboxHealth:
        """Return the record of a mailbox's health."""
        return HealthRecords(self.storage.records).get(mailbox)

    def transient_errors(self) -> int:
        """Return how many transient errors were logged; each delays its message by 30 s or more."""
        return self.log.read_text().count("transient error")

    def watch(self, stop: threading.Event) -> None:
        """List the results repeatedly until `stop` is set."""
        while not stop.is_set():
            try:
                messages = {message_in_path(path) for path in self.storage.blobs.list(RESULTS_PREFIX)}
            except TransientError:
                messages = set()  # the container does not exist yet
            listed = time.time()
            with self._changed:
                for message in messages - self.seen.keys():
                    self.seen[message] = listed
                self._changed.notify_all()
            stop.wait(WATCH_INTERVAL + LONGER_PER_RESULT * len(messages))


@contextmanager
def served(folder: Path, values: Mapping[str, str], port: int = 0) -> Iterator[Served]:
    """Run `mailroom serve` with its defaults: as in Azure, no message wakes a listener.

    Args:
        folder: an existing folder for the settings and the log.
        values: the app settings.
        port: HTTP port on the loopback address; 0 takes a free one.
    """
    settings = load_settings(dict(values))
    file, stop = write_settings(folder, dict(values)), threading.Event()
    command = [sys.executable, "-m", "mailroom_cli", "serve", "--settings", str(file), "--port", str(port)]
    started = time.time()
    log = folder / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    if not lines[-1].startswith("Serving"):
        process.kill()
        raise SystemExit(f"benchmark: mailroom serve did not start:\n{log.read_text()[-3_000:]}")
    storage = open_storage(settings.app_storage, settings.mail_storage, settings.mail_container)
    serving = Served(storage, log, started)
    watcher = threading.Thread(target=serving.watch, args=(stop,))
    watcher.start()
    try:
        yield serving
    finally:
        stop.set()
        watcher.join()
        process.terminate()
        process.wait(60)
        process.stdout.close()
        storage.close()
