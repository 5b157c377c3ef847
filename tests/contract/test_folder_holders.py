"""What a killed process held in a folder's store is free when the next one starts; what a living one holds is not."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.storage.base import QueueName, Storage
from shared.storage.folder import blobs as blobs_module
from shared.storage.folder.blobs import HIDDEN, FolderBlobs
from shared.storage.folder.holders import FOLDER, ProcessMarker
from tests.contract.folders import OPEN, ROOT, opened_at

HOLD = """
queue = stores.queues[QueueName.ROUTE_REQUESTS]
held, paused = queue.receive(2, hidden_for=600)
queue.release(paused, delay=600)
assert stores.leases.acquire("support", 60)
print("holds", flush=True)
sys.stdin.read()
stores.close()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mail"


@pytest.fixture
def stores(folder: Path) -> Iterator[Storage]:
    opened = opened_at(folder)
    opened.queues[QueueName.ROUTE_REQUESTS].put_many(["held", "paused"])
    yield opened
    opened.close()


@pytest.fixture
def process(folder: Path, stores: Storage) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OPEN + HOLD, str(folder), "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "holds\n"
        yield started
        started.kill()


def visible(stores: Storage) -> list[str]:
    return [item.body for item in stores.queues[QueueName.ROUTE_REQUESTS].receive(32, hidden_for=60)]


def test_8_1_what_a_killed_process_held_is_released(
    stores: Storage, process: subprocess.Popen[str], folder: Path
) -> None:
    assert (visible(stores), stores.leases.acquire("support", 60)) == ([], None)
    process.kill()
    process.wait()
    assert (visible(stores), stores.leases.acquire("support", 60)) == ([], None)
    assert stores.release_dead() == 2
    assert visible(stores) == ["held"], "a pause goes on"
    assert stores.leases.acquire("support", 60) is not None
    assert len(list((folder / HIDDEN / FOLDER).iterdir())) == 1
    assert stores.release_dead() == 0


def test_8_1_what_a_living_process_holds_is_not_released(stores: Storage, process: subprocess.Popen[str]) -> None:
    del process
    assert stores.release_dead() == 0
    assert (visible(stores), stores.leases.acquire("support", 60)) == ([], None)


def test_8_1_what_this_process_holds_is_not_released(stores: Storage, folder: Path) -> None:
    assert visible(stores) == ["held", "paused"]
    other = opened_at(folder)
    assert (stores.release_dead(), other.release_dead()) == (0, 0)
    assert visible(other) == []
    other.close()


def test_8_1_without_locks_nobody_is_taken_for_dead(
    stores: Storage, process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process.kill()
    process.wait()

    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("shared.storage.folder.holders.fcntl.flock", no_locks)
    assert stores.release_dead() == 0
    assert visible(stores) == []


def test_8_1_a_process_that_could_not_lock_its_file_is_not_taken_for_dead(
    stores: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """flock(2): ENOLCK, the kernel is out of memory for locks; it may have some for the next process."""

    def no_lock(*_: object) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr("shared.temporary_files.fcntl", SimpleNamespace(flock=no_lock, LOCK_EX=2))
        other = opened_at(folder)
    assert visible(other) == ["held", "paused"]
    assert other.leases.acquire("support", 60) is not None
    assert stores.release_dead() == 0
    assert (visible(stores), stores.leases.acquire("support", 60)) == ([], None)
    other.close()


def test_8_1_a_process_that_starts_while_another_looks_for_dead_ones_is_not_taken_for_dead(
    stores: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new file is not locked for a moment. The other has it then, and removes it; so it makes another."""
    del stores
    looking = ProcessMarker(folder / HIDDEN)
    timers: list[threading.Timer] = []

    def flock(handle: int, operation: int) -> None:
        if not timers:
            stack = ExitStack()
            assert len(stack.enter_context(looking.dead_marks())) == 1
            timers.append(threading.Timer(0.2, stack.close))
            timers[0].start()
        fcntl.flock(handle, operation)

    with monkeypatch.context() as patch:
        patch.setattr("shared.temporary_files.fcntl", SimpleNamespace(flock=flock, LOCK_EX=fcntl.LOCK_EX))
        started = ProcessMarker(folder / HIDDEN)
    timers[0].join()
    assert (folder / HIDDEN / FOLDER / started.mark).exists()
    with looking.dead_marks() as marks:
        assert marks == []
    started.close()
    looking.close()


def test_8_1_a_forked_child_keeps_what_its_parent_holds_and_ends_nothing(stores: Storage) -> None:
    """The child has the parent's open file, and so its lock: neither's end releases what the other holds."""
    assert visible(stores) == ["held", "paused"]
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert stores.release_dead() == 0
    assert visible(stores) == []


def test_a_storage_in_a_folder_remembers_few_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "MAX_CACHED_FOLDERS", 50)
    storage = FolderBlobs(tmp_path)
    for number in range(200):
        assert storage.create(f"messages/{number % 7}/{number}/raw.eml", b"x", content_type="message/rfc822")
        assert len(storage._existing) <= 50
    storage.flush()
    assert len(list(storage.list("messages/"))) == 200
