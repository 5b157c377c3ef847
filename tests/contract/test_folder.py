"""A folder alone: several processes on it, and kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.storage.base import QueueName, Storage
from shared.storage.folder.blobs import HIDDEN, FolderBlobs
from shared.temporary_files import LEFTOVER_SECONDS
from tests.contract.folders import OPEN, ROOT, opened_at, processes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mail"


@pytest.fixture
def stores(folder: Path) -> Iterator[Storage]:
    opened = opened_at(folder)
    yield opened
    opened.close()


def test_4_4_of_several_processes_one_creates_each_blob_and_record(folder: Path) -> None:
    program = """
blobs = sum(stores.blobs.create(f"a/{n}/raw.eml", b"x" * 9999, content_type="text/plain") for n in range(100))
stores.blobs.flush()
records = sum(stores.records.create(Table.CLAIMS, digest(str(n)), {"n": n}) for n in range(100))
print(blobs, records, stores.leases.acquire("support", 60) is not None)
stores.close()
"""
    told = [line.split() for line in processes(program, folder, 4)]
    assert sum(int(blobs) for blobs, _, _ in told) == 100
    assert sum(int(records) for _, records, _ in told) == 100
    assert [held for _, _, held in told].count("True") == 1


def test_4_4_a_message_is_received_by_one_of_several_processes(folder: Path, stores: Storage) -> None:
    queue = stores.queues[QueueName.ROUTE_REQUESTS]
    queue.put_many(str(number) for number in range(300))
    program = """
queue = stores.queues[QueueName.ROUTE_REQUESTS]
while items := queue.receive(7, hidden_for=60):
    for item in items:
        print(item.body)
        queue.delete(item)
stores.close()
"""
    received = [body for output in processes(program, folder, 3) for body in output.split()]
    assert sorted(received, key=int) == [str(number) for number in range(300)]
    assert queue.length() == 0


def test_8_1_a_kill_inside_a_write_leaves_nothing_that_looks_like_mail(folder: Path, tmp_path: Path) -> None:
    """The bytes come through a pipe, which stays open: the writer is in the middle of its write for certain."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = """
stores.blobs.create("messages/ab/abc/raw.eml", Path(sys.argv[3]), content_type="message/rfc822")
"""
    command = [sys.executable, "-c", OPEN + program, str(folder), "0", str(pipe)]
    with subprocess.Popen(command, cwd=ROOT) as writer, pipe.open("wb") as into:
        into.write(b"x" * 3_000_000)
        into.flush()
        left = folder / HIDDEN / "writing"
        until = time.monotonic() + 20
        while not sum(path.stat().st_size for path in left.iterdir()) > 1_000_000:
            assert time.monotonic() < until
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    stores = opened_at(folder)
    assert list(stores.blobs.list()) == []
    assert [path.name for path in folder.iterdir()] == [HIDDEN]
    assert stores.blobs.create("messages/ab/abc/raw.eml", b"whole", content_type="message/rfc822")
    assert stores.blobs.read("messages/ab/abc/raw.eml") == b"whole"
    stores.close()


def test_8_1_a_kill_between_link_and_unlink_harms_nothing_later(folder: Path) -> None:
    """What is left is a second name of the mail itself: no later writer may write to it."""
    program = """
import os, signal
from shared.storage.folder import blobs
blobs.os.unlink = lambda path: os.kill(os.getpid(), signal.SIGKILL)
stores.blobs.create("a/raw.eml", b"precious", content_type="message/rfc822")
"""
    command = [sys.executable, "-c", OPEN + program, str(folder), "0"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    (left,) = (folder / HIDDEN / "writing").iterdir()
    assert left.samefile(folder / "a/raw.eml")
    for number in range(3):
        blobs = FolderBlobs(folder)
        assert blobs.create(f"b/{number}", b"other", content_type="message/rfc822")
        assert not blobs.create("a/raw.eml", b"other", content_type="message/rfc822")
    assert (folder / "a/raw.eml").read_bytes() == b"precious"


WRITING = """
stores.blobs.create("messages/ab/abc/raw.eml", Path(sys.argv[3]), content_type="message/rfc822")
"""

WRITTEN = """
from shared.storage.folder import blobs
link = blobs.os.link
blobs.os.link = lambda *names: (Path(sys.argv[3]).open("rb").read(), link(*names))
stores.blobs.create("messages/ab/abc/raw.eml", b"x" * 3_000_000, content_type="message/rfc822")
"""


@pytest.mark.parametrize("program", [WRITING, WRITTEN], ids=["while it writes", "before it links"])
@pytest.mark.parametrize("by", ["opening", "sweeping"])
def test_8_1_only_a_killed_writers_file_is_removed(
    folder: Path, stores: Storage, tmp_path: Path, program: str, by: str
) -> None:
    """The writer waits for a pipe: it is in the middle of its work for certain, however old its file is."""
    writing = folder / HIDDEN / "writing"

    def tidied() -> list[str]:
        if by == "opening":
            opened_at(folder).close()
        else:
            stores.remove_leftover_files()
        return [path.name for path in writing.iterdir()]

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", OPEN + program, str(folder), "0", str(pipe)]
    with subprocess.Popen(command, cwd=ROOT) as writer, pipe.open("wb") as into:
        if program is WRITING:
            into.write(b"x" * 3_000_000)
            into.flush()
        until = time.monotonic() + 20
        while not sum(path.stat().st_size for path in writing.iterdir()) > 1_000_000:
            assert time.monotonic() < until
            time.sleep(0.01)
        (left,) = writing.iterdir()
        make_old(left)
        assert tidied() == [left.name]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    os.utime(left)
    assert tidied() == [left.name], "it is not older than a lease"
    make_old(left)
    assert tidied() == []
    assert list(stores.blobs.list()) == []


def make_old(path: Path) -> None:
    """Make a file a little older than a lease."""
    os.utime(path, (time.time() - LEFTOVER_SECONDS - 1,) * 2)


def test_what_is_not_a_file_of_a_writer_stays(folder: Path, stores: Storage) -> None:
    writing = folder / HIDDEN / "writing"
    (writing / "folder").mkdir()
    (writing / "link").symlink_to(folder / HIDDEN / "state.sqlite3")
    assert stores.remove_leftover_files() == 0
    assert {path.name for path in writing.iterdir()} == {"folder", "link"}
    assert (folder / HIDDEN / "state.sqlite3").is_file()


def test_nothing_temporary_stays(folder: Path, stores: Storage) -> None:
    for _ in range(2):
        stores.blobs.create("a/b", b"x", content_type="text/plain")
    assert list((folder / HIDDEN / "writing").iterdir()) == []


def test_the_storages_own_files_are_no_blobs(stores: Storage) -> None:
    assert list(stores.blobs.list()) == []
    with pytest.raises(ValueError, match="reserved"):
        stores.blobs.read(f"{HIDDEN}/state.sqlite3")
    with pytest.raises(ValueError, match="reserved"):
        list(stores.blobs.list(f"{HIDDEN}/"))
    assert stores.blobs.create(f"a/{HIDDEN}", b"x", content_type="text/plain")


def test_a_folder_that_somebody_removed_is_made_anew(folder: Path, stores: Storage) -> None:
    stores.blobs.create("a/b/c", b"x", content_type="text/plain")
    (folder / "a/b/c").unlink()
    (folder / "a/b").rmdir()
    stores.blobs.flush()
    assert stores.blobs.create("a/b/d", b"y", content_type="text/plain")
    (folder / "a/b/d").unlink()
    (folder / "a/b").rmdir()
    (folder / "a").rmdir()
    assert stores.blobs.create("a/e/f", b"y", content_type="text/plain")
    stores.blobs.flush()
