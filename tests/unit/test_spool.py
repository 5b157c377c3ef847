"""Spooling of messages to memory and disk (rule 1.7)."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.lease import LEASE_SECONDS
from shared.mailboxes.spool import MEMORY_LIMIT, Content, DiskBudget, Spool, remove_leftover_files
from shared.temporary_files import LEFTOVER_SECONDS, LockedFile

ROOT = Path(__file__).resolve().parents[2]

NO_LIMIT = 1 << 40


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the process's temporary folder, and check that the test left nothing in it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


class BlockedReservation:
    """A reservation in a background thread that may wait for the budget."""

    def __init__(self, budget: DiskBudget, size: int) -> None:
        self._thread = threading.Thread(target=budget.reserve, args=(size,), daemon=True)
        self._thread.start()
        self._thread.join(0.1)

    @property
    def is_waiting(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> bool:
        self._thread.join(5)
        return not self._thread.is_alive()


@pytest.mark.parametrize("pieces", [[], [b"one"], [b"one", b"two", memoryview(b"three")]])
def test_1_7_a_small_message_stays_in_memory(pieces: list[bytes], temporary_folder: Path) -> None:
    spool = Spool(11, NO_LIMIT)
    for piece in pieces:
        spool.write(piece)
    content = spool.finish()
    expected = b"".join(pieces)
    assert content is not None
    assert content.data == expected
    assert (content.size, content.sha256) == (len(expected), hashlib.sha256(expected).hexdigest())
    assert list(temporary_folder.iterdir()) == []
    content.close()
    content.close()


def test_1_7_a_message_of_exactly_the_limit_stays_in_memory() -> None:
    budget = DiskBudget(1)
    spool = Spool(MEMORY_LIMIT, NO_LIMIT, budget=budget)
    spool.write(b"x" * MEMORY_LIMIT)
    content = spool.finish()
    assert content is not None
    assert isinstance(content.data, bytes)


@pytest.mark.parametrize("reported", [0, MEMORY_LIMIT * 2], ids=["the server reported less", "as the server reported"])
def test_1_7_a_large_message_is_spooled_to_disk(reported: int, temporary_folder: Path) -> None:
    piece = bytes(range(256)) * 4096
    spool = Spool(reported, NO_LIMIT)
    for _ in range(8):
        spool.write(piece)
    content = spool.finish()
    assert content is not None
    assert isinstance(content.data, Path)
    assert content.data.read_bytes() == piece * 8
    assert (content.size, content.sha256) == (len(piece) * 8, hashlib.sha256(piece * 8).hexdigest())
    assert list(temporary_folder.iterdir()) == [content.data]
    content.close()
    content.close()


def test_1_7_a_message_reported_as_large_uses_no_memory(temporary_folder: Path) -> None:
    spool = Spool(MEMORY_LIMIT + 1, NO_LIMIT)
    assert len(list(temporary_folder.iterdir())) == 1
    spool.discard()


@pytest.mark.parametrize("reported", [10, MEMORY_LIMIT * 3])
def test_1_7_an_overflowing_message_is_dropped(reported: int, temporary_folder: Path) -> None:
    limit = MEMORY_LIMIT * 2
    budget = DiskBudget(limit)
    spool = Spool(reported, limit, budget=budget)
    for _ in range(3):
        spool.write(b"x" * MEMORY_LIMIT)
        spool.write(b"y")
    assert spool.overflowed
    assert spool.finish() is None
    assert list(temporary_folder.iterdir()) == []
    assert not BlockedReservation(budget, limit).is_waiting, "overflow gives the budget back"


def test_1_7_a_message_of_exactly_the_limit_does_not_overflow() -> None:
    spool = Spool(0, 3)
    spool.write(b"abc")
    content = spool.finish()
    assert content is not None
    assert content.data == b"abc"


def test_1_7_the_budget_is_released_when_the_content_is_closed() -> None:
    size = MEMORY_LIMIT + 1
    budget = DiskBudget(size + 10)
    spool = Spool(size, NO_LIMIT, budget=budget)
    spool.write(b"x" * size)
    content = spool.finish()
    assert content is not None
    waiting = BlockedReservation(budget, 11)
    assert waiting.is_waiting
    content.close()
    assert waiting.join()
    budget.release(11)
    content.close()
    assert not BlockedReservation(budget, size + 10).is_waiting


def test_1_7_a_discarded_spool_releases_the_budget() -> None:
    size = MEMORY_LIMIT + 1
    budget = DiskBudget(size)
    spool = Spool(size, NO_LIMIT, budget=budget)
    waiting = BlockedReservation(budget, 1)
    assert waiting.is_waiting
    spool.discard()
    spool.discard()
    assert waiting.join()


def test_1_7_a_message_larger_than_the_whole_budget_waits_until_it_is_alone() -> None:
    budget = DiskBudget(10)
    budget.reserve(1)
    waiting = BlockedReservation(budget, 100)
    assert waiting.is_waiting
    budget.release(1)
    assert waiting.join()


def test_1_7_a_message_larger_than_reported_counts_with_its_true_size() -> None:
    size = MEMORY_LIMIT + 2_000_000
    budget = DiskBudget(size)
    spool = Spool(MEMORY_LIMIT + 1, NO_LIMIT, budget=budget)
    spool.write(b"x" * size)
    content = spool.finish()
    assert content is not None
    waiting = BlockedReservation(budget, 1_000_000)
    waited = waiting.is_waiting
    content.close()
    assert waiting.join()
    assert waited, "the disk holds more than the budget knows of"


def test_content_from_bytes() -> None:
    content = Content.from_bytes(b"abc")
    assert (content.data, content.size, content.sha256) == (b"abc", 3, hashlib.sha256(b"abc").hexdigest())
    content.close()


SPOOLING = """
import sys
from shared.mailboxes.spool import MEMORY_LIMIT, Spool
spool = Spool(MEMORY_LIMIT * 2, 1 << 40)
spool.write(b"x" * MEMORY_LIMIT)
if sys.argv[1] == "finished":
    content = spool.finish()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["writing", "finished"])
def test_1_7_only_files_of_killed_workers_are_removed(temporary_folder: Path, state: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SPOOLING, state],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary_folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        (path,) = temporary_folder.iterdir()
        later = path.stat().st_mtime + LEFTOVER_SECONDS
        assert remove_leftover_files(later + 1) == 0, "a living process uses it"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert remove_leftover_files(later - 1) == 0, "it is not older than a lease"
    assert path.exists()
    assert remove_leftover_files(later + 1) == 1
    assert not path.exists()


def test_1_7_a_file_counts_as_leftover_when_a_lease_expires() -> None:
    assert LEFTOVER_SECONDS == LEASE_SECONDS


def test_1_7_files_of_other_programs_are_kept(temporary_folder: Path) -> None:
    names = ["mailroom-notes.txt", "other.eml"]
    for name in names:
        (temporary_folder / name).write_bytes(b"x")
    (temporary_folder / "mailroom-folder.eml").mkdir()
    assert remove_leftover_files(time.time() + 3600) == 0
    for name in names:
        (temporary_folder / name).unlink()
    (temporary_folder / "mailroom-folder.eml").rmdir()


def test_1_7_a_file_that_is_removed_before_it_is_locked_is_created_again(temporary_folder: Path) -> None:
    """If the system time jumps, another process may remove a file between its creation and its lock."""
    made = []

    def create() -> tuple[int, str]:
        handle, name = tempfile.mkstemp()
        made.append(name)
        if len(made) == 1:
            Path(name).unlink()
        return handle, name

    file = LockedFile(create)
    assert len(made) == 2
    assert Path(file.path).exists()
    file.remove()
    file.remove()
