"""Servers, mailboxes and processes for the measurements."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.child import ROOT, Told
from bench.mix import RECIPIENT
from bench.peers import HOST
from tests.servers.certificates import Ca
from tests.servers.dovecot import Dovecot, User
from tests.servers.maildir import nobody


class Bench:
    """What all parts share: a Dovecot, a folder for what is made, and the arguments.

    Args:
        messages: how many the mix has.
        whole_messages: how many are taken and sorted into a folder.
        azure_messages: how many go into Azurite.
        runs: how often each drain is repeated.
    """

    def __init__(self, messages: int, whole_messages: int, azure_messages: int, runs: int) -> None:
        self.messages = messages
        self.whole_messages = whole_messages
        self.azure_messages = azure_messages
        self.runs = runs
        self.dovecot = Dovecot(Ca())
        self.folder = Path(tempfile.mkdtemp(prefix="mailroom-bench-"))

    def close(self) -> None:
        """End the server and remove everything."""
        self.dovecot.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def delivered(self, mails: Iterable[bytes]) -> User:
        """A user with these messages."""
        user = self.dovecot.user()
        user.deliver(mails)
        return user

    def again(self, source: User) -> User:
        """Another user with the same messages, as links to the same files: nothing is written, nothing to sync."""
        user = self.dovecot.user()
        for part in ("cur", "tmp", "new"):
            (user.home / part).mkdir()
            os.chown(user.home / part, *nobody())
        for file in source.files():
            os.link(file, user.home / "new" / file.name)
        return user

    def values(self, user: User, storage: str, *, protocol: str = "imap") -> dict[str, str]:
        """Settings for one mailbox in plaintext, and one route."""
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
    def place(self) -> Iterator[Path]:
        """A folder for one run, that is not there yet. What earlier runs wrote is on the disk before it begins."""
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as made:
            os.sync()
            yield Path(made) / "mail"


def in_child(job: str, **arguments: object) -> Told:
    """Run a job of `child` in a process of its own."""
    command = [sys.executable, "-m", "bench.child", job]
    ran = subprocess.run(command, cwd=ROOT, input=json.dumps(arguments), capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SystemExit(f"benchmark: {job} came to nothing:\n{ran.stderr[-3_000:]}")
    told: Told = json.loads(ran.stdout.splitlines()[-1])
    return told


def once(folder: Path, values: dict[str, str], messages: int) -> Told:
    """`mailroom run-once` as a process: its start, the whole path, its end."""
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "mailroom_cli", "run-once", "--settings", str(settings)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode != 0:
        raise SystemExit(f"benchmark: mailroom run-once came to nothing:\n{ran.stderr[-3_000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"messages": messages, "seconds": seconds, "cpu": used}


def machine() -> str:
    """Where this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "no name given")
    return f"{os.cpu_count()} cores ({model}), {platform.system()}, Python {platform.python_version()}"
