"""Servers, mailboxes and processes for the benchmarks."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.child import ROOT, Measurement
from bench.mix import RECIPIENT
from bench.peers import HOST
from tests.servers.certificates import Ca
from tests.servers.dovecot import Dovecot, User
from tests.servers.maildir import nobody


class Bench:
    """The environment of all parts: a Dovecot server, a temporary folder, and the arguments.

    Args:
        messages: number of messages in a drained mailbox.
        whole_messages: number of messages drained and routed to a folder.
        azure_messages: number of messages drained into Azurite.
        runs: number of runs of each drain.
        arrivals: number of arrivals in the store of `growth`.
        tables: whether this store is in tables; otherwise in a folder.
    """

    def __init__(
        self, messages: int, whole_messages: int, azure_messages: int, runs: int, *, arrivals: int, tables: bool
    ) -> None:
        self.messages = messages
        self.whole_messages = whole_messages
        self.azure_messages = azure_messages
        self.runs = runs
        self.arrivals = arrivals
        self.tables = tables
        self.dovecot = Dovecot(Ca())
        self.folder = Path(tempfile.mkdtemp(prefix="mailroom-bench-"))

    def close(self) -> None:
        """Stop the server and remove all files."""
        self.dovecot.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def create_user(self, mails: Iterable[bytes]) -> User:
        """Return a user whose mailbox has these messages."""
        user = self.dovecot.user()
        user.deliver(mails)
        return user

    def copy_user(self, source: User) -> User:
        """Return another user with the same messages, as hard links, so that nothing is written to disk."""
        user = self.dovecot.user()
        for part in ("cur", "tmp", "new"):
            (user.home / part).mkdir()
            os.chown(user.home / part, *nobody())
        for file in source.files():
            os.link(file, user.home / "new" / file.name)
        return user

    def values(self, user: User, storage: str, *, protocol: str = "imap") -> dict[str, str]:
        """Return settings for a mailbox without TLS and a route."""
        return {
            "AzureWebJobsStorage": storage,
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "POLL_SCHEDULE": "0 * * * * *",
            "MAILBOXES__support__PROTOCOL": protocol,
            "MAILBOXES__support__HOST": HOST,
            "MAILBOXES__support__PORT": str(self.dovecot.imap if protocol == "imap" else self.dovecot.pop3),
            "MAILBOXES__support__TLS": "none",
            "MAILBOXES__support__ADDRESS": user.address,
            "MAILBOXES__support__USERNAME": user.name,
            "MAILBOXES__support__PASSWORD": user.password,
            "ROUTES__sales__ADDRESS": RECIPIENT,
        }

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """Yield the path of a folder for a run, which does not exist yet. Earlier writes are synced to disk first.

        It is removed at the end: for minutes after files were deleted, ext4 does not reuse their inodes, and searches
        longer for free ones.
        """
        parent = tempfile.mkdtemp(dir=self.folder)
        os.sync()
        yield Path(parent) / "mail"


def in_child(job: str, **arguments: object) -> Measurement:
    """Run a job of `child` in a separate process."""
    command = [sys.executable, "-m", "bench.child", job]
    ran = subprocess.run(command, cwd=ROOT, input=json.dumps(arguments), capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SystemExit(f"benchmark: the job {job} failed:\n{ran.stderr[-3_000:]}")
    measurement: Measurement = json.loads(ran.stdout.splitlines()[-1])
    return measurement


def once(folder: Path, values: dict[str, str], messages: int) -> Measurement:
    """Measure `mailroom run-once` as a process, including its start and end, and its worker processes."""
    return in_child("command", settings=str(write_settings(folder, values)), messages=messages)


def write_settings(folder: Path, values: dict[str, str]) -> Path:
    """Write a settings file, and return its path."""
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    return settings


def machine() -> str:
    """Return a description of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} cores ({model}), {platform.system()}, Python {platform.python_version()}"
