"""`mailroom serve` as a process: what it remembers, and what ends it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from functions_host.timer_status import NEVER, StatusFolder, TimerStatus
from tests.end_to_end.command import command, mailroom, settings_file
from tests.servers.azurite import ACCOUNTS, Azurite

TIMERS = {"poll_timer", "renew_subscriptions", "sweep"}


@contextmanager
def _serving(settings: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("serve", "--port", "0", settings=settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert lines[1].startswith("Serving; "), process.stderr.read() if process.stderr else ""
        yield process
    finally:
        process.kill()
        process.communicate()


def _read_when(statuses: StatusFolder, timer: str, *, after: datetime) -> TimerStatus:
    """Return a timer's status once it was updated later than `after`."""
    for _ in range(600):
        status = statuses.read(timer)
        if status is not None and status.last_updated > after:
            return status
        time.sleep(0.05)
    raise AssertionError(f"the status of {timer} was not written")


def test_serve_remembers_timers_and_does_not_wait_for_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    settings = settings_file(tmp_path, "folder:mail", {"POLL_SCHEDULE": "0 0 * * * *"})
    statuses = StatusFolder(tmp_path / "mail/.mailroom/timers")
    started = datetime.now(UTC)
    with _serving(settings) as process:
        first = {timer: _read_when(statuses, timer, after=started) for timer in TIMERS}
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert {status.last for status in first.values()} == {NEVER}, "written at the first start, before any run"
    missed = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    statuses.write("sweep", TimerStatus(missed, missed + timedelta(minutes=5 - missed.minute % 5), missed))
    restarted = datetime.now(UTC)
    with _serving(settings) as process:
        status = _read_when(statuses, "sweep", after=restarted)
        process.terminate()
        assert process.wait(60) == 0
    assert (status.last - restarted).total_seconds() < 40, "a lock that has to end first takes a minute"
    assert status.next > status.last


def test_serve_ends_when_the_storage_refuses_access(azurite: Azurite, tmp_path: Path) -> None:
    wrong_key = azurite.connection_string(ACCOUNTS[990]).replace("AccountKey=E", "AccountKey=F")
    settings = settings_file(tmp_path, wrong_key, {"POLL_SCHEDULE": "0 0 * * * *"})
    ended = mailroom("serve", "--port", "0", settings=settings)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert re.match(
        r"queue [a-z-]+: it cannot be read: AzureWebJobsStorage: the Queue service denied access \(403", last
    )


def test_serve_keeps_the_status_in_the_apps_own_account(azure_storage: str, tmp_path: Path) -> None:

    settings = settings_file(tmp_path, azure_storage, {"POLL_SCHEDULE": "0 0 * * * *"})
    expected = {f"timers/mailroom-local/{timer}/status" for timer in TIMERS}
    with _serving(settings), BlobServiceClient.from_connection_string(azure_storage) as client:
        container = client.get_container_client("azure-webjobs-hosts")
        names: set[str] = set()
        for _ in range(600):
            if container.exists():
                names = {blob.name for blob in container.list_blobs()}
            if names == expected:
                break
            time.sleep(0.05)
        assert names == expected
        for name in names:
            assert set(json.loads(container.download_blob(name).readall())) == {"Last", "Next", "LastUpdated"}


def test_a_configuration_error_has_the_status_that_the_systemd_unit_does_not_restart(tmp_path: Path) -> None:
    settings = settings_file(tmp_path, "folder:mail", {"POLL_SCHEDULE": "never"})
    assert mailroom("serve", "--port", "0", settings=settings).returncode == 2


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_serve_stops_within_a_second_or_two(tmp_path: Path, stop: signal.Signals) -> None:
    settings = settings_file(tmp_path, "folder:mail", {"POLL_SCHEDULE": "0 0 0 1 1 *"})
    with _serving(settings) as process:
        time.sleep(0.5)
        process.send_signal(stop)
        assert process.wait(30) == 0
