"""The next start and `sweep` remove the files that killed processes left, but no files of running processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from functions_host.host import Host
from mailroom_cli.app_context import open_app
from shared.temporary_files import LEFTOVER_SECONDS
from tests.end_to_end.command import ROOT, command, identity, mailboxes, mailroom, opened, settings_file
from tests.end_to_end.own_process import in_own_process
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail
from tests.servers.memory_app import let_time_pass

KILLED_IN_FSYNC = """
import os, signal, sys
del os.O_TMPFILE  # as where files need names
from shared.storage.folder import fsync
fsync.os.fdatasync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
sys.argv[0] = "mailroom"
from mailroom_cli.main import main
main()
"""


def left_in(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.iterdir())


def make_old(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() - LEFTOVER_SECONDS - 1,) * 2)


def test_8_1_leftover_files_of_a_killed_run_are_removed_at_start_and_by_sweep(dovecot: Dovecot, tmp_path: Path) -> None:
    """The run is killed while a spooled message and its incomplete copy are on disk."""
    user = dovecot.user()
    large = plain_mail(1, size=6_000_000, to=user.address)
    user.deliver([large])
    settings = settings_file(tmp_path, "folder:mail", mailboxes(dovecot, support=user))
    temporary, writing = tmp_path / "temporary", tmp_path / "mail/.mailroom/writing"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary)}
    for by in ("start", "sweep"):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED_IN_FSYNC, *command("run-once", settings=settings)[-3:]],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=False,
        )
        assert ran.returncode == -signal.SIGKILL
        left = left_in(temporary, writing)
        assert len(left) == 2, "a spooled message and a file that is being written"
        assert all(path.stat().st_size >= 6_000_000 for path in left)
        assert {stat.S_IMODE(path.stat().st_mode) for path in left} == {0o600}
        for path in left:
            os.utime(path)
        if by == "start":
            assert mailroom("status", settings=settings, environment=environment).returncode == 0
            assert left_in(temporary, writing) == left, "they are newer than a lease"
            make_old(*left)
            assert mailroom("status", settings=settings, environment=environment).returncode == 0
        else:
            # At the app's start, the files were too new.
            in_own_process(_swept_later, settings, str(temporary), left)
        assert left_in(temporary, writing) == []
        let_time_pass(tmp_path / "mail")
    assert mailroom("run-once", settings=settings, environment=environment).returncode == 0
    assert user.left() == []
    stores = opened(f"folder:{tmp_path / 'mail'}")
    assert stores.blobs.read(f"messages/{identity(large)[:2]}/{identity(large)}.eml") == large
    stores.close()


async def _swept_later(settings: Path, temporary: str, left: list[Path]) -> None:
    tempfile.tempdir = temporary
    with open_app(settings) as app:
        async with Host.started(ROOT, app.storage) as host:
            assert all(path.exists() for path in left)
            make_old(*left)
            result = await host.run_function("sweep")
            assert result.error is None, result.error
