"""`mailroom run-once` and a mailbox that another worker has leased; that worker was killed or is still running."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from mailroom_cli.app_context import open_app
from mailroom_cli.commands.run_once import WaitLimits, drain_once
from mailroom_cli.progress import ProgressReporter
from shared.bootstrap import App
from shared.errors import ConnectFailed
from shared.lease import LEASE_SECONDS
from shared.mailbox_health import HealthRecords
from tests.end_to_end.command import ROOT, command, mailboxes, opened, settings_file
from tests.end_to_end.own_process import in_own_process
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail
from tests.servers.memory_app import let_time_pass


@dataclass
class Time:
    """A simulated time that only `sleep` advances.

    Attributes:
        at: time of the event in seconds.
        happens: the event.
    """

    at: float
    happens: Callable[[], object]
    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        if self.now - seconds < self.at <= self.now:
            self.happens()


def nothing() -> None:
    """Do nothing: the lease stays held."""


async def drained(settings: Path, at: float, event: str) -> tuple[list[str], str, float]:
    """Drain while another worker holds the lease on `support`; after `at` seconds, `event` happens to the lease.

    Returns:
        The failures, the printed text, and the seconds waited.
    """
    printed = io.StringIO()
    progress = ProgressReporter(Console(file=printed, width=200))
    with open_app(settings, progress.drained) as app:
        # The run polls the mailbox although the backoff of an earlier failure is not over.
        HealthRecords(app.storage.records).record_failure(
            app.settings.mailboxes["support"], ConnectFailed("no route to host")
        )
        token = app.storage.leases.acquire("support", LEASE_SECONDS)
        assert token is not None
        happens = {"expires": lambda: _expire(app), "is released": lambda: _finish(app, token), "stays": nothing}
        time_ = Time(at, happens[event])
        summary = await drain_once(app, progress, WaitLimits(monotonic=time_.clock, sleep=time_.sleep))
    return list(summary.failures), printed.getvalue(), time_.now


def _expire(app: App) -> None:
    folder = app.settings.mail_storage.folder
    assert folder is not None
    let_time_pass(folder)


def _finish(app: App, token: str) -> None:
    """Do what a worker does after it has drained the mailbox."""
    HealthRecords(app.storage.records).record_success(app.settings.mailboxes["support"], collected=1, left=0)
    app.storage.leases.release("support", token)


@pytest.fixture
def world(dovecot: Dovecot, tmp_path: Path) -> tuple[Path, Callable[[], int]]:
    user = dovecot.user()
    user.deliver([plain_mail(1, to=user.address)])
    return settings_file(tmp_path, "folder:mail", mailboxes(dovecot, support=user)), lambda: len(user.left())


def test_the_run_waits_for_the_lease_of_a_killed_worker(world: tuple[Path, Callable[[], int]]) -> None:
    settings, left = world
    failures, printed, waited = in_own_process(drained, settings, 60, "expires")
    assert failures == []
    assert left() == 0
    assert 60 <= waited < 90
    assert "mailbox support: another worker" in printed
    assert "waiting up to 90 s" in printed


def test_a_mailbox_that_stays_leased_is_reported_as_a_failure(world: tuple[Path, Callable[[], int]]) -> None:
    settings, left = world
    failures, _, waited = in_own_process(drained, settings, 0, "stays")
    assert left() == 1
    (failure,) = failures
    assert failure.startswith("mailbox support: not drained, since another worker has held its lease for 90 s")
    assert 90 <= waited < 92


def test_a_mailbox_that_another_worker_drains_meanwhile_counts_as_drained(
    world: tuple[Path, Callable[[], int]],
) -> None:
    settings, left = world
    failures, _, waited = in_own_process(drained, settings, 5, "is released")
    assert failures == []
    assert left() == 1, "the mailbox is not drained again"
    assert 5 <= waited < 7


def test_the_command_waits_for_the_lease_and_then_drains(dovecot: Dovecot, tmp_path: Path) -> None:
    user = dovecot.user()
    user.deliver([plain_mail(1, to=user.address)])
    settings = settings_file(tmp_path, "folder:mail", mailboxes(dovecot, support=user))
    stores = opened(f"folder:{tmp_path / 'mail'}")
    token = stores.leases.acquire("support", LEASE_SECONDS)
    assert token is not None
    with subprocess.Popen(
        command("run-once", settings=settings), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        began = time.monotonic()
        line = process.stderr.readline()
        assert line.startswith("mailbox support: another worker, which may have been killed, holds its lease"), line
        assert len(user.left()) == 1
        stores.leases.release("support", token)
        process.stderr.read()
        assert process.wait(60) == 0
        assert time.monotonic() - began < LEASE_SECONDS
    stores.close()
    assert user.left() == []
