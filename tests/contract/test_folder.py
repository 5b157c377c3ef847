"""A folder alone: several processes on it, kills, and disks that are full or ill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ServiceUnavailable
from shared.keys import digest
from shared.storage.addresses import StorageAddress
from shared.storage.folder import blobs as blobs_module
from shared.storage.folder import database as database_module
from shared.storage.folder.blobs import HIDDEN, LEFT_OVER, FolderBlobs
from shared.storage.opening import open_stores
from shared.storage.protocol import QueueName, Stores, Table

ROOT = Path(__file__).resolve().parents[2]

OPEN = """
import sys, time
from pathlib import Path
from shared.keys import digest
from shared.storage.addresses import StorageAddress
from shared.storage.opening import open_stores
from shared.storage.protocol import QueueName, Table

address = StorageAddress.parse(f"folder:{sys.argv[1]}", setting="TEST")
until = float(sys.argv[2])
time.sleep(max(0, until - time.time()))
stores = open_stores(address, address, "mail")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mail"


@pytest.fixture
def stores(folder: Path) -> Iterator[Stores]:
    opened = opened_at(folder)
    yield opened
    opened.close()


def opened_at(folder: Path) -> Stores:
    address = StorageAddress.parse(f"folder:{folder}", setting="TEST")
    return open_stores(address, address, "mail")


def processes(program: str, folder: Path, count: int) -> list[str]:
    """Run a program in several processes at the same moment: what each printed."""
    at = time.time() + 1
    command = [sys.executable, "-W", "error", "-c", OPEN + program, str(folder), str(at)]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    printed = [one.communicate(timeout=100) for one in running]
    assert [errors for _, errors in printed] == [""] * count
    return [output for output, _ in printed]


def test_4_4_of_several_processes_one_creates_each_blob_and_record(folder: Path) -> None:
    program = """
blobs = sum(stores.blobs.create(f"a/{n}/raw.eml", b"x" * 9999, content_type="text/plain") for n in range(100))
stores.blobs.settle()
records = sum(stores.records.create(Table.CLAIMS, digest(str(n)), {"n": n}) for n in range(100))
print(blobs, records, stores.leases.acquire("support", 60) is not None)
stores.close()
"""
    told = [line.split() for line in processes(program, folder, 4)]
    assert sum(int(blobs) for blobs, _, _ in told) == 100
    assert sum(int(records) for _, records, _ in told) == 100
    assert [held for _, _, held in told].count("True") == 1


def test_4_4_a_message_is_received_by_one_of_several_processes(folder: Path, stores: Stores) -> None:
    queue = stores.queues[QueueName.ARRIVALS]
    queue.put_many(str(number) for number in range(300))
    program = """
queue = stores.queues[QueueName.ARRIVALS]
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


def test_what_killed_writers_left_is_removed_after_a_day(folder: Path, stores: Stores) -> None:
    writing = folder / HIDDEN / "writing"
    for name, age in (("old", LEFT_OVER + 60), ("new", LEFT_OVER - 60)):
        (writing / name).write_bytes(b"half")
        os.utime(writing / name, (time.time() - age,) * 2)
    FolderBlobs(folder)
    assert [path.name for path in writing.iterdir()] == ["new"]


def test_nothing_temporary_stays(folder: Path, stores: Stores) -> None:
    for _ in range(2):
        stores.blobs.create("a/b", b"x", content_type="text/plain")
    assert list((folder / HIDDEN / "writing").iterdir()) == []


def test_the_storages_own_files_are_no_blobs(stores: Stores) -> None:
    assert list(stores.blobs.list()) == []
    with pytest.raises(ValueError, match="own"):
        stores.blobs.read(f"{HIDDEN}/state.sqlite3")
    with pytest.raises(ValueError, match="own"):
        list(stores.blobs.list(f"{HIDDEN}/"))
    assert stores.blobs.create(f"a/{HIDDEN}", b"x", content_type="text/plain")


def test_a_folder_that_somebody_removed_is_made_anew(folder: Path, stores: Stores) -> None:
    stores.blobs.create("a/b/c", b"x", content_type="text/plain")
    (folder / "a/b/c").unlink()
    (folder / "a/b").rmdir()
    stores.blobs.settle()
    assert stores.blobs.create("a/b/d", b"y", content_type="text/plain")
    (folder / "a/b/d").unlink()
    (folder / "a/b").rmdir()
    (folder / "a").rmdir()
    assert stores.blobs.create("a/e/f", b"y", content_type="text/plain")
    stores.blobs.settle()


def test_settle_returns_when_others_are_still_at_it(
    folder: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds that another is settling waits for it: it may be settling what we wrote."""
    inside, may_go, returned = threading.Event(), threading.Event(), threading.Event()

    def slow(_folders: object) -> None:
        inside.set()
        may_go.wait(10)

    monkeypatch.setattr(blobs_module, "sync_folders", slow)
    stores.blobs.create("a/b", b"x", content_type="text/plain")
    first = threading.Thread(target=stores.blobs.settle)
    first.start()
    inside.wait(10)

    def settle() -> None:
        stores.blobs.settle()
        returned.set()

    second = threading.Thread(target=settle)
    second.start()
    assert not returned.wait(0.2)
    may_go.set()
    first.join()
    second.join()
    assert returned.is_set()


def test_a_settling_that_failed_is_done_again(folder: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[str] = []

    def failing(_folders: object) -> None:
        raise OSError(5, "Input/output error")

    stores.blobs.create("a/b", b"x", content_type="text/plain")
    monkeypatch.setattr(blobs_module, "sync_folders", failing)
    with pytest.raises(ServiceUnavailable, match="Input/output error"):
        stores.blobs.settle()
    monkeypatch.setattr(blobs_module, "sync_folders", settled.extend)
    stores.blobs.settle()
    assert set(settled) == {str(folder), str(folder / "a")}


def test_a_full_disk_is_an_ill_service_and_leaves_nothing(folder: Path) -> None:
    program = """
import resource
from shared.errors import ServiceUnavailable
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    stores.blobs.create("a/b", b"x" * 100_000, content_type="text/plain")
except ServiceUnavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
stores.close()
"""
    (told,) = processes(program.replace("(-1, -1)", "(50_000, 50_000)"), folder, 1)
    assert "File too large" in told
    assert list(opened_and_closed(folder)) == []
    assert list((folder / HIDDEN / "writing").iterdir()) == []


def opened_and_closed(folder: Path) -> list[str]:
    stores = opened_at(folder)
    found = list(stores.blobs.list())
    stores.close()
    return found


def test_a_full_database_is_an_ill_service_and_recovers(folder: Path) -> None:
    database = database_module.Database(folder / "state.sqlite3")
    with database.writing() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    row = "INSERT INTO records VALUES ('claims', ?, 1, ?)"
    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match="full"), database.writing() as connection:
            connection.execute(row, ("a", "x" * 100_000))
    with database.writing() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
        connection.execute(row, ("a", "x" * 100_000))
    database.close()


def test_a_locked_database_is_an_ill_service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_MS", 50)
    stores, other = opened_at(folder), database_module.Database(folder / HIDDEN / "state.sqlite3")
    with other.writing():
        assert stores.records.get(Table.CLAIMS, digest("x")) is None
        with pytest.raises(ServiceUnavailable, match="locked"):
            stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})
    assert stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})
    stores.close()
    other.close()


def test_what_is_no_database_is_an_ill_service(folder: Path) -> None:
    (folder / HIDDEN).mkdir(parents=True)
    (folder / HIDDEN / "state.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(ServiceUnavailable, match="not a database"):
        opened_at(folder)


def test_a_place_where_no_folder_can_be_is_an_ill_service(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ServiceUnavailable, match="file"):
        opened_at(tmp_path / "file" / "mail")


def test_a_closed_database_is_closed_for_good(folder: Path) -> None:
    stores = opened_at(folder)
    stores.close()
    with pytest.raises(ServiceUnavailable, match="closed"):
        stores.records.get(Table.CLAIMS, digest("x"))


def test_threads_that_come_and_go_leave_no_connections(folder: Path) -> None:
    database = database_module.Database(folder / "state.sqlite3")

    def write() -> None:
        with database.writing() as connection:
            connection.execute("DELETE FROM leases")

    for _ in range(50):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(database._idle) == 1
    database.close()
