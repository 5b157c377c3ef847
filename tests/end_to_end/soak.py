"""A soak of the whole path: one process drains an IMAP mailbox in portions into a folder, and routes each message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.storage.folder.blobs import HIDDEN
from shared.storage.folder.in_use import DATABASE
from tests.end_to_end.command import ROOT
from tests.servers.dovecot import User
from tests.servers.mail import plain_mail

RECIPIENT = "sales@example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """The measurements after a portion of the messages.

    Attributes:
        messages: messages that were stored.
        failures: lines that `mailroom run-once` would print.
        seconds, cpu: time, and CPU time of the process.
        memory, peak: resident memory after the portion and its peak during the portion, in bytes.
        database_files: open file descriptors of the database; each connection has two, and they share one.
        other_files: all other open file descriptors.
        blocks: memory blocks that Python has allocated, after a garbage collection.
        threads: threads of the process.
        database, wal: size of the database file and of its write-ahead log, in bytes.
        files: files in the folder.
    """

    messages: int
    failures: list[str]
    seconds: float
    cpu: float
    memory: int
    peak: int
    database_files: int
    other_files: int
    blocks: int
    threads: int
    database: int
    wal: int
    files: int

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.messages:8} {self.rate:7.0f} {self.cpu / max(self.messages, 1) * 1000:7.2f} "
            f"{self.memory / 1e6:7.1f} {self.peak / 1e6:7.1f} {self.blocks:7} {self.database_files:6} "
            f"{self.other_files:6} {self.threads:7} {self.database / 1e6:8.1f} {self.wal / 1e6:6.1f} {self.files:8}"
        )


HEADER = "messages   msg/s  CPU ms  RSS MB    peak  blocks DB fds others threads    DB MB WAL MB on disk"


def mail(number: int) -> bytes:
    """Return message `number` of 1 to 3 kB.

    Of 20 messages, 2 are replies, 1 is unhandled, and 1 is a duplicate of an older message: every second duplicate has
    the same bytes, the others were received by another server.
    """
    size = 1_000 + number * 37 % 2_000
    kind = number % 20
    if kind == 13:
        original = number // 40 * 20
        copy = mail(original)
        return copy if number % 40 == 13 else b"Received: from relay.example.net by mx2.example.com\r\n" + copy
    if kind in (7, 17):
        parent = number // 2
        headers = f"In-Reply-To: <{parent}@example.net>\r\nReferences: <{parent}@example.net>\r\n"
        return plain_mail(number, size=size, to=RECIPIENT, headers=headers)
    return plain_mail(number, size=size, to="nobody@example.com" if kind == 3 else RECIPIENT)


def outcomes(count: int) -> dict[str, int]:
    """Return the number of messages by outcome, of a multiple of 20 messages."""
    return {"routed": count * 18 // 20, "duplicate": count // 20, "unhandled": count // 20}


class Soak:
    """A process that drains a mailbox, portion by portion.

    Args:
        process: the process.
        user: the mailbox's account on the server.
        folder: the folder of the store.
    """

    def __init__(self, process: subprocess.Popen[str], user: User, folder: Path) -> None:
        self._process = process
        self._user = user
        self._folder = folder

    def drain(self, numbers: range) -> Portion:
        """Put messages into the mailbox, wait until they are drained, and return the measurements."""
        self._user.deliver(map(mail, numbers))
        os.sync()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("drain\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process ended"
        database = self._folder / HIDDEN / DATABASE
        wal = database.with_name(f"{DATABASE}-wal")
        files = sum(len(names) for path, _, names in os.walk(self._folder) if HIDDEN not in path)
        return Portion(**json.loads(line), database=database.stat().st_size, wal=wal.stat().st_size, files=files)


@contextmanager
def soak(settings: Path, user: User, folder: Path) -> Iterator[Soak]:
    """Start a process that drains the mailbox of `user` into a folder, and stop it at the end."""
    command = [sys.executable, "-m", "tests.end_to_end.soak_worker", str(settings)]
    log = settings.with_name("worker.log")
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield Soak(process, user, folder)
        process.communicate(timeout=60)
        assert process.returncode == 0, log.read_text()[-3_000:]
    except BaseException as error:
        error.add_note(log.read_text()[-3_000:])
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
