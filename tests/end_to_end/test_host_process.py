"""The local host as a separate process: signals and the messages that remain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from functions_host.host import GRACE
from shared.storage.folder.database import Database
from shared.storage.folder.queues import FolderQueue
from tests.end_to_end.own_process import APPS

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from functions_host.process import run_host
from functions_host.host import GRACE
from shared.storage.folder.database import Database
from shared.storage.folder.queues import FolderQueue
from tests.end_to_end.queue_lab import QUEUES
from tests.memory_queue import storage_with_queues

if __name__ == "__main__":
    database = Database(Path(sys.argv[1]))
    queues = {name: FolderQueue(database, name) for name in QUEUES}
    run_host(Path(sys.argv[2]), storage_with_queues(queues), ready=lambda port: print("ready", flush=True))
    print("ended in order", flush=True)
"""


@contextmanager
def _host(database: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(database), str(APPS / "queues")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.stderr.read() if process.stderr else ""
            yield process
        finally:
            process.kill()


def _queue(path: Path) -> tuple[Database, FolderQueue]:
    database = Database(path)
    return database, FolderQueue(database, "work")


def _wait_until_taken(database: Database) -> None:
    for _ in range(600):
        with database.reading() as connection:
            if connection.execute("SELECT MAX(dequeued) FROM messages").fetchone()[0]:
                return
        time.sleep(0.05)
    raise AssertionError("the message was not taken")


def test_sigterm_lets_a_running_function_finish(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    database, queue = _queue(path)
    with _host(path) as process:
        queue.put_many(["sleep 1.5"])
        _wait_until_taken(database)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "ended in order\n"), err
    assert queue.length() == 0  # the function finished, and its message was deleted
    database.close()


def test_a_second_signal_ends_the_process_and_keeps_the_message(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    database, queue = _queue(path)
    with _host(path) as process:
        queue.put_many(["sleep 60"])
        _wait_until_taken(database)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert time.monotonic() - began < 30, "the process waited for the function or the grace period"
    assert queue.length() == 1
    database.close()


def test_an_idle_host_stops_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    Database(path).close()
    with _host(path) as process:
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=GRACE)
    assert (process.returncode, out) == (0, "ended in order\n"), err
    assert time.monotonic() - began < GRACE / 2
