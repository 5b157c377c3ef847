"""`mailroom run-once` with several worker processes, some of which are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.documents.blob_paths import RESULTS_PREFIX
from tests.end_to_end.command import (
    ROOT,
    assert_all_stored,
    command,
    identity,
    mailboxes,
    mailroom,
    opened,
    results,
    settings_file,
)
from tests.servers.dovecot import Dovecot, User
from tests.servers.mail import plain_mail
from tests.servers.memory_app import let_time_pass
from tests.sizes import size

MESSAGES = size(700, soak=5_000)
"""Messages that one process routes for several seconds: the worker processes are started after half a second."""

SECONDS = 60.0
"""Seconds that a state may take to occur."""


class MailroomFixture:
    """A mailbox, a folder for its mail, and the processes of runs that drain it."""

    def __init__(self, dovecot: Dovecot, folder: Path) -> None:
        self.user: User = dovecot.user()
        self.mail = [plain_mail(n, to="sales@example.com") for n in range(MESSAGES)]
        self.user.deliver(self.mail)
        self.folder = folder / "mail"
        values = {
            **mailboxes(dovecot, support=self.user),
            "ROUTES__sales__ADDRESS": "sales@example.com",
            "FUNCTIONS_WORKER_PROCESS_COUNT": "2",
        }
        self.settings = settings_file(folder, f"folder:{self.folder}", values)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Run the command in a process while the context lasts."""
        process = subprocess.Popen(
            command("run-once", settings=self.settings),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()  # closes the pipes

    def wait_for_workers(self, process: subprocess.Popen[str]) -> list[int]:
        """Return the process ids of the workers once they have routed messages."""
        until = time.monotonic() + SECONDS
        while len(workers := _workers(process.pid)) < 2:
            assert process.poll() is None, "the run ended before it had two worker processes"
            assert time.monotonic() < until
            time.sleep(0.02)
        routed = self.count_results()
        while self.count_results() < routed + 20:
            assert process.poll() is None, "the run ended before its worker processes routed anything"
            time.sleep(0.02)
        return workers

    def count_results(self) -> int:
        """Return the number of results that exist."""
        return sum(1 for _ in self.folder.glob(f"{RESULTS_PREFIX}**/*.json"))

    def assert_each_routed_once(self) -> None:
        """Compare the stored messages and the results with the mail."""
        assert self.user.left() == []
        stores = opened(f"folder:{self.folder}")
        try:
            assert_all_stored(stores, self.mail)
            expected = Counter(("sales", "sales@example.com", identity(data)) for data in self.mail)
            assert results(stores) == expected
            assert not list(stores.blobs.list("duplicates/"))
            assert not list(stores.blobs.list("failed/"))
        finally:
            stores.close()


@pytest.fixture
def fixture(dovecot: Dovecot, tmp_path: Path) -> MailroomFixture:
    return MailroomFixture(dovecot, tmp_path)


def _children(pid: int) -> list[int]:
    try:
        tasks = [path.read_text("ascii") for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for text in tasks for child in text.split()]


def _workers(pid: int) -> list[int]:
    """Return the worker processes of a run: forks of one of its children."""
    return [worker for child in _children(pid) for worker in _children(child)]


def _is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_8_1_a_killed_worker_process_costs_no_message(fixture: MailroomFixture) -> None:
    with fixture.running() as process:
        os.kill(fixture.wait_for_workers(process)[0], signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "the worker process ended with exit code -9" in stderr
    assert re.match(rf"1 mailbox polled: {MESSAGES} collected, {MESSAGES} routed, 0 duplicate", stdout), stdout
    fixture.assert_each_routed_once()


def test_8_1_a_killed_run_leaves_no_process_and_the_next_run_resumes(fixture: MailroomFixture) -> None:
    with fixture.running() as process:
        workers = fixture.wait_for_workers(process)
        process.kill()
        process.wait()
    until = time.monotonic() + SECONDS
    while any(map(_is_running, workers)):
        assert time.monotonic() < until, "a worker process outlives the run"
        time.sleep(0.05)
    let_time_pass(fixture.folder)
    ran = mailroom("run-once", settings=fixture.settings)
    assert ran.returncode == 0, ran.stderr
    fixture.assert_each_routed_once()


@pytest.mark.parametrize("count", ["0", "11", "two", "1.5", "-1", "²"])
def test_an_invalid_number_of_processes_is_refused(dovecot: Dovecot, tmp_path: Path, count: str) -> None:
    values = {**mailboxes(dovecot, support=dovecot.user()), "FUNCTIONS_WORKER_PROCESS_COUNT": count}
    ran = mailroom("run-once", settings=settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values))
    assert ran.returncode == 2
    assert "FUNCTIONS_WORKER_PROCESS_COUNT is invalid: set a whole number from 1 to 10" in ran.stderr
    assert "Traceback" not in ran.stderr
