"""Messages and leases that a killed process held in a folder are released; those of a live process are not."""

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
queue = storage.queues[QueueName.ROUTE_REQUESTS]
held, paused = queue.receive(2, hidden_for=600)
queue.release(paused, delay=600)
assert storage.leases.acquire("support", 60)
print("holds", flush=True)
sys.stdin.read()
storage.close()
"""


@pytest.fixture
def folder_storage(folder_storage: Storage) -> Storage:
    """Return a storage in a folder, with two messages on a queue."""
    folder_storage.queues[QueueName.ROUTE_REQUESTS].put_many(["held", "paused"])
    return folder_storage


@pytest.fixture
def process(folder: Path, folder_storage: Storage) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OPEN + HOLD, str(folder), "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as marker:
        assert marker.stdout is not None
        assert marker.stdout.readline() == "holds\n"
        yield marker
        marker.kill()


def receive_visible(folder_storage: Storage) -> list[str]:
    return [item.body for item in folder_storage.queues[QueueName.ROUTE_REQUESTS].receive(32, hidden_for=60)]


def test_8_1_messages_and_leases_of_a_killed_process_are_released(
    folder_storage: Storage, process: subprocess.Popen[str], folder: Path
) -> None:
    assert (receive_visible(folder_storage), folder_storage.leases.acquire("support", 60)) == ([], None)
    process.kill()
    process.wait()
    assert (receive_visible(folder_storage), folder_storage.leases.acquire("support", 60)) == ([], None)
    assert folder_storage.release_dead() == 2
    assert receive_visible(folder_storage) == ["held"], "the delay of a released message continues"
    assert folder_storage.leases.acquire("support", 60) is not None
    assert len(list((folder / HIDDEN / FOLDER).iterdir())) == 1
    assert folder_storage.release_dead() == 0


def test_8_1_messages_and_leases_of_a_live_process_stay_held(
    folder_storage: Storage, process: subprocess.Popen[str]
) -> None:
    del process
    assert folder_storage.release_dead() == 0
    assert (receive_visible(folder_storage), folder_storage.leases.acquire("support", 60)) == ([], None)


def test_8_1_messages_of_this_process_stay_held(folder_storage: Storage, folder: Path) -> None:
    assert receive_visible(folder_storage) == ["held", "paused"]
    other = opened_at(folder)
    assert (folder_storage.release_dead(), other.release_dead()) == (0, 0)
    assert receive_visible(other) == []
    other.close()


def test_8_1_without_locks_no_process_is_taken_for_dead(
    folder_storage: Storage, process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process.kill()
    process.wait()

    def fail_unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("shared.storage.folder.holders.fcntl.flock", fail_unsupported)
    assert folder_storage.release_dead() == 0
    assert receive_visible(folder_storage) == []


def test_8_1_a_process_that_could_not_lock_its_file_is_not_taken_for_dead(
    folder_storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """flock(2) may fail with ENOLCK when the kernel lacks memory, and succeed for the next process."""

    def fail_no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr("shared.temporary_files.fcntl", SimpleNamespace(flock=fail_no_locks, LOCK_EX=2))
        other = opened_at(folder)
    assert receive_visible(other) == ["held", "paused"]
    assert other.leases.acquire("support", 60) is not None
    assert folder_storage.release_dead() == 0
    assert (receive_visible(folder_storage), folder_storage.leases.acquire("support", 60)) == ([], None)
    other.close()


def test_8_1_a_process_that_starts_during_the_search_is_not_taken_for_dead(
    folder_storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new file is unlocked for a moment. If the searching process removes the file, it creates another one."""
    del folder_storage
    searcher = ProcessMarker(folder / HIDDEN)
    timers: list[threading.Timer] = []

    def flock(handle: int, operation: int) -> None:
        if not timers:
            stack = ExitStack()
            assert len(stack.enter_context(searcher.dead_marks())) == 1
            timers.append(threading.Timer(0.2, stack.close))
            timers[0].start()
        fcntl.flock(handle, operation)

    with monkeypatch.context() as patch:
        patch.setattr("shared.temporary_files.fcntl", SimpleNamespace(flock=flock, LOCK_EX=fcntl.LOCK_EX))
        marker = ProcessMarker(folder / HIDDEN)
    timers[0].join()
    assert (folder / HIDDEN / FOLDER / marker.mark).exists()
    with searcher.dead_marks() as marks:
        assert marks == []
    marker.close()
    searcher.close()


def test_8_1_a_forked_child_does_not_release_its_parents_messages(folder_storage: Storage) -> None:
    """The child shares the parent's open file and its lock, so the exit of one does not release the lock."""
    assert receive_visible(folder_storage) == ["held", "paused"]
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert folder_storage.release_dead() == 0
    assert receive_visible(folder_storage) == []


def test_the_cache_of_folders_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "MAX_CACHED_FOLDERS", 50)
    storage = FolderBlobs(tmp_path)
    for number in range(200):
        assert storage.create(f"messages/{number % 7}/{number}/message.json", b"x", content_type="message/rfc822")
        assert len(storage._existing) <= 50
    storage.flush()
    assert len(list(storage.list("messages/"))) == 200
