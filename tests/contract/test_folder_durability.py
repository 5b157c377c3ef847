"""Storage in a folder: files and folders are flushed (fsync) before a call returns and before a message is removed.

The tests observe the calls. A flush does nothing on the RAM disk that has the tests' files.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.documents.blob_paths import raw_path
from shared.queue_messages import Poll, PollReason
from shared.storage.base import Storage
from shared.storage.folder import database as database_module
from shared.storage.folder.blobs import HIDDEN
from tests.contract.folders import opened_at
from tests.end_to_end.command import identity
from tests.servers.mail import plain_mail
from tests.servers.memory_app import TWO_MAILBOXES, app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer


class Flushes:
    """Records which files and folders are flushed, and to which names files are linked.

    A file is known by its inode: it has a temporary name while it is written.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flushed: set[int] = set()
        self.linked_before_flush: list[str] = []
        fsync, fdatasync, link = os.fsync, os.fdatasync, os.link

        def observed_link(source: str | Path, target: str | Path, **options: bool) -> None:
            if os.stat(source).st_ino not in self.flushed:  # noqa: PTH116  a str or a Path
                self.linked_before_flush.append(str(target))
            link(source, target, **options)

        def observed_fsync(handle: int) -> None:
            fsync(handle)
            self.flushed.add(os.fstat(handle).st_ino)

        def observed_fdatasync(handle: int) -> None:
            fdatasync(handle)
            self.flushed.add(os.fstat(handle).st_ino)

        monkeypatch.setattr(os, "fsync", observed_fsync)
        monkeypatch.setattr(os, "fdatasync", observed_fdatasync)
        monkeypatch.setattr(os, "link", observed_link)

    def missing(self, *paths: Path) -> list[Path]:
        """Return the paths that have not been flushed."""
        return [path for path in paths if path.stat().st_ino not in self.flushed]


@pytest.mark.parametrize("source", ["bytes", "file"])
def test_a_file_is_flushed_before_it_gets_its_name(
    folder: Path, folder_storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    flushes = Flushes(monkeypatch)
    data: bytes | Path = b"x" * 100
    if source == "file":
        data = tmp_path / "source"
        data.write_bytes(b"x" * 3_000_000)
    assert folder_storage.blobs.create("a/b/c", data, content_type="text/plain")
    assert flushes.linked_before_flush == []
    assert flushes.missing(folder / "a/b/c") == []


def test_flush_syncs_every_folder_with_a_new_entry(
    folder: Path, folder_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = Flushes(monkeypatch)
    for name in ("a/b/c", "a/d/e", "f", *(f"many/{number}/x" for number in range(10))):
        folder_storage.blobs.create(name, b"x", content_type="text/plain")
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and HIDDEN not in path.parts)]
    assert len(folders) == 15
    folder_storage.blobs.flush()
    assert flushes.missing(*folders) == []


def test_flush_syncs_the_folders_of_a_writer_that_was_killed(
    folder: Path, folder_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_storage.blobs.create("a/b", b"x", content_type="text/plain")
    flushes = Flushes(monkeypatch)
    other = opened_at(folder)
    assert not other.blobs.create("a/b", b"x", content_type="text/plain")
    other.blobs.flush()
    other.close()
    assert flushes.missing(folder, folder / "a") == []


def test_the_database_flushes_each_transaction(folder: Path) -> None:
    database = database_module.Database(folder / "state.sqlite3")
    assert database.write(lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (2,), "FULL"
    with database.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    database.close()


def test_1_1_a_message_is_removed_after_its_file_and_folders_are_flushed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [plain_mail(number, to="sales@example.com") for number in range(12)]
    removed: list[bytes] = []
    not_flushed: list[Path] = []
    flushes = Flushes(monkeypatch)

    def check(data: bytes) -> None:
        removed.append(data)
        path = folder / raw_path(identity(data))
        parents = [parent for parent in path.parents if parent.is_relative_to(folder)]
        not_flushed.extend(flushes.missing(path, *parents))

    server = MemoryServer(before_removal=check)
    server.deliver(*messages)
    app = app_on(settings_for(f"folder:{folder}", TWO_MAILBOXES), lambda _mailbox: server.open())
    app.poller.poll(Poll("support", PollReason.MANUAL))
    assert sorted(removed) == sorted(messages)
    assert not_flushed == []
    app.storage.close()
