"""Storage in a folder: several processes, and killed processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.storage.base import QueueName, Storage
from shared.storage.folder.blobs import HIDDEN, FolderBlobs
from shared.temporary_files import LEFTOVER_SECONDS
from tests.contract.folders import NAMED_FILES, OPEN, ROOT, opened_at, run_processes


def test_4_4_one_of_several_processes_creates_each_blob_and_record(folder: Path) -> None:
    program = """
blobs = sum(storage.blobs.create(f"a/{n}/message.json", b"x" * 9999, content_type="text/plain") for n in range(100))
storage.blobs.flush()
records = sum(storage.records.create(Table.CLAIMS, digest(str(n)), {"n": n}) for n in range(100))
print(blobs, records, storage.leases.acquire("support", 60) is not None)
storage.close()
"""
    outputs = [line.split() for line in run_processes(program, folder, 4)]
    assert sum(int(blobs) for blobs, _, _ in outputs) == 100
    assert sum(int(records) for _, records, _ in outputs) == 100
    assert [acquired for _, _, acquired in outputs].count("True") == 1


def test_4_4_one_of_several_processes_receives_each_message(folder: Path, folder_storage: Storage) -> None:
    queue = folder_storage.queues[QueueName.ROUTE_REQUESTS]
    queue.put_many(str(number) for number in range(300))
    program = """
queue = storage.queues[QueueName.ROUTE_REQUESTS]
while items := queue.receive(7, hidden_for=60):
    for item in items:
        print(item.body)
        queue.delete(item)
storage.close()
"""
    received = [body for output in run_processes(program, folder, 3) for body in output.split()]
    assert sorted(received, key=int) == [str(number) for number in range(300)]
    assert queue.length() == 0


@pytest.mark.parametrize("before", ["", NAMED_FILES], ids=["files without names", "named files"])
def test_8_1_a_kill_during_a_write_leaves_no_blob(folder: Path, tmp_path: Path, before: str) -> None:
    """The writer reads from a pipe that stays open, so that it is certainly killed during its write."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = """
storage.blobs.create("messages/ab/abc.eml", Path(sys.argv[3]), content_type="message/rfc822")
"""
    command = [sys.executable, "-c", before + OPEN + program, str(folder), "0", str(pipe)]
    with subprocess.Popen(command, cwd=ROOT) as writer, pipe.open("wb") as pipe_end:
        # A pipe holds 64 KiB at first (pipe(7)), so the writer has read most of it by then.
        pipe_end.write(b"x" * 3_000_000)
        pipe_end.flush()
        assert written_files(writer.pid, folder) == [2]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    left = list((folder / HIDDEN / "writing").iterdir())
    assert len(left) == (1 if before else 0)
    storage = opened_at(folder)
    assert list(storage.blobs.list()) == []
    assert [path.name for path in folder.iterdir()] == [HIDDEN]
    assert storage.blobs.create("messages/ab/abc.eml", b"whole", content_type="message/rfc822")
    assert storage.blobs.read("messages/ab/abc.eml") == b"whole"
    storage.close()


def written_files(process: int, folder: Path) -> list[int]:
    """Return the whole megabytes of each file that a process has open in the folder of new files (proc(5))."""
    entries = Path(f"/proc/{process}/fd").iterdir()
    writing = f"{folder / HIDDEN / 'writing'}/"
    return [entry.stat().st_size // 2**20 for entry in entries if str(entry.readlink()).startswith(writing)]


def test_8_1_a_kill_between_link_and_unlink_leaves_the_blob_intact(folder: Path) -> None:
    """The leftover file is a second name of the blob, so no later writer may write to it."""
    program = """
import os, signal
from shared.storage.folder import blobs
blobs.os.unlink = lambda path: os.kill(os.getpid(), signal.SIGKILL)
storage.blobs.create("a/b.eml", b"precious", content_type="message/rfc822")
"""
    command = [sys.executable, "-c", NAMED_FILES + OPEN + program, str(folder), "0"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    (temporary,) = (folder / HIDDEN / "writing").iterdir()
    assert temporary.samefile(folder / "a/b.eml")
    for number in range(3):
        blobs = FolderBlobs(folder)
        assert blobs.create(f"b/{number}", b"other", content_type="message/rfc822")
        assert not blobs.create("a/b.eml", b"other", content_type="message/rfc822")
    assert (folder / "a/b.eml").read_bytes() == b"precious"


WRITING = """
storage.blobs.create("messages/ab/abc.eml", Path(sys.argv[3]), content_type="message/rfc822")
"""

WRITTEN = """
from shared.storage.folder import blobs
link = blobs.os.link
blobs.os.link = lambda *names, **options: (Path(sys.argv[3]).open("rb").read(), link(*names, **options))
storage.blobs.create("messages/ab/abc.eml", b"x" * 3_000_000, content_type="message/rfc822")
"""


@pytest.mark.parametrize("program", [WRITING, WRITTEN], ids=["while it writes", "before it links"])
@pytest.mark.parametrize("trigger", ["opening", "sweeping"])
def test_8_1_only_temporary_files_of_killed_writers_are_removed(
    folder: Path, folder_storage: Storage, tmp_path: Path, program: str, trigger: str
) -> None:
    """The writer waits for a pipe, so that it is certainly alive, even if its file is old."""
    writing = folder / HIDDEN / "writing"

    def remaining() -> list[str]:
        if trigger == "opening":
            opened_at(folder).close()
        else:
            folder_storage.remove_leftover_files()
        return [path.name for path in writing.iterdir()]

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", NAMED_FILES + OPEN + program, str(folder), "0", str(pipe)]
    with subprocess.Popen(command, cwd=ROOT) as writer, pipe.open("wb") as pipe_end:
        if program is WRITING:
            pipe_end.write(b"x" * 3_000_000)
            pipe_end.flush()
        deadline = time.monotonic() + 20
        while not sum(path.stat().st_size for path in writing.iterdir()) > 1_000_000:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (temporary,) = writing.iterdir()
        make_old(temporary)
        assert remaining() == [temporary.name]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    os.utime(temporary)
    assert remaining() == [temporary.name], "not older than a lease"
    make_old(temporary)
    assert remaining() == []
    assert list(folder_storage.blobs.list()) == []


def make_old(path: Path) -> None:
    """Make a file a little older than a lease."""
    os.utime(path, (time.time() - LEFTOVER_SECONDS - 1,) * 2)


def test_folders_and_links_among_temporary_files_are_kept(folder: Path, folder_storage: Storage) -> None:
    writing = folder / HIDDEN / "writing"
    (writing / "folder").mkdir()
    (writing / "link").symlink_to(folder / HIDDEN / "state.sqlite3")
    assert folder_storage.remove_leftover_files() == 0
    assert {path.name for path in writing.iterdir()} == {"folder", "link"}
    assert (folder / HIDDEN / "state.sqlite3").is_file()


@pytest.mark.parametrize("source", ["bytes", "file"])
def test_a_file_is_complete_after_incomplete_writes(
    folder_storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    content = bytes(range(256))
    data: bytes | Path = content
    if source == "file":
        data = tmp_path / "source"
        data.write_bytes(content)
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
    assert folder_storage.blobs.create("a/b", data, content_type="text/plain")
    assert folder_storage.blobs.read("a/b") == content


def test_temporary_files_are_removed_after_a_write(folder: Path, folder_storage: Storage) -> None:
    for _ in range(2):
        folder_storage.blobs.create("a/b", b"x", content_type="text/plain")
    assert list((folder / HIDDEN / "writing").iterdir()) == []


def test_the_hidden_folder_contains_no_blobs(folder_storage: Storage) -> None:
    assert list(folder_storage.blobs.list()) == []
    with pytest.raises(ValueError, match="reserved"):
        folder_storage.blobs.read(f"{HIDDEN}/state.sqlite3")
    with pytest.raises(ValueError, match="reserved"):
        list(folder_storage.blobs.list(f"{HIDDEN}/"))
    assert folder_storage.blobs.create(f"a/{HIDDEN}", b"x", content_type="text/plain")


def test_a_removed_folder_is_created_again(folder: Path, folder_storage: Storage) -> None:
    folder_storage.blobs.create("a/b/c", b"x", content_type="text/plain")
    (folder / "a/b/c").unlink()
    (folder / "a/b").rmdir()
    folder_storage.blobs.flush()
    assert folder_storage.blobs.create("a/b/d", b"y", content_type="text/plain")
    (folder / "a/b/d").unlink()
    (folder / "a/b").rmdir()
    (folder / "a").rmdir()
    assert folder_storage.blobs.create("a/e/f", b"y", content_type="text/plain")
    folder_storage.blobs.flush()
