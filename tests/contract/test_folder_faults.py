"""Storage in a folder: flushes, and disks and databases that are full, locked or corrupt."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from shared.errors import ConfigurationError, ServiceUnavailable
from shared.keys import digest
from shared.storage.base import Storage, Table
from shared.storage.folder import blobs as blobs_module
from shared.storage.folder import database as database_module
from shared.storage.folder.blobs import HIDDEN
from tests.contract.folders import opened_at, run_processes


def test_flush_waits_for_a_flush_in_another_thread(
    folder: Path, folder_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other flush may be syncing folders that this thread changed."""
    entered, may_return, returned = threading.Event(), threading.Event(), threading.Event()

    def slow(_folders: object) -> None:
        entered.set()
        may_return.wait(10)

    monkeypatch.setattr(blobs_module, "sync_folders", slow)
    folder_storage.blobs.create("a/b", b"x", content_type="text/plain")
    first = threading.Thread(target=folder_storage.blobs.flush)
    first.start()
    entered.wait(10)

    def flush() -> None:
        folder_storage.blobs.flush()
        returned.set()

    second = threading.Thread(target=flush)
    second.start()
    assert not returned.wait(0.2)
    may_return.set()
    first.join()
    second.join()
    assert returned.is_set()


def test_a_failed_flush_is_repeated(folder: Path, folder_storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def failing(_folders: object) -> None:
        raise OSError(5, "Input/output error")

    folder_storage.blobs.create("a/b", b"x", content_type="text/plain")
    monkeypatch.setattr(blobs_module, "sync_folders", failing)
    with pytest.raises(ServiceUnavailable, match="Input/output error"):
        folder_storage.blobs.flush()
    monkeypatch.setattr(blobs_module, "sync_folders", synced.extend)
    folder_storage.blobs.flush()
    assert set(synced) == {str(folder), str(folder / "a")}


def test_an_error_does_not_show_the_name_of_an_attachment(
    folder: Path, folder_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_path: str, _data: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blobs_module, "_write", failing)
    path = "messages/ab/abcd/attachments/01-notice of dismissal.pdf"
    with pytest.raises(ServiceUnavailable, match="attachments/01-… failed: No space left") as caught:
        folder_storage.blobs.create(path, b"x", content_type="application/pdf")
    assert "dismissal" not in str(caught.value)


def test_a_full_disk_raises_service_unavailable_and_leaves_no_file(folder: Path) -> None:
    program = """
import resource
from shared.errors import ServiceUnavailable
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    storage.blobs.create("a/b", b"x" * 100_000, content_type="text/plain")
except ServiceUnavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
storage.close()
"""
    (output,) = run_processes(program.replace("(-1, -1)", "(50_000, 50_000)"), folder, 1)
    assert "File too large" in output
    assert list(paths_in(folder)) == []
    assert list((folder / HIDDEN / "writing").iterdir()) == []


def paths_in(folder: Path) -> list[str]:
    storage = opened_at(folder)
    paths = list(storage.blobs.list())
    storage.close()
    return paths


def test_a_full_database_raises_service_unavailable_and_recovers(folder: Path) -> None:
    database = database_module.Database(folder / "state.sqlite3")

    def limit(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO records VALUES ('claims', ?, 1, ?)", ("a", json.dumps({"text": "x" * 100_000})))

    database.write(limit)
    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match="full"):
            database.write(fill)
    database.write(lambda connection: connection.execute("PRAGMA max_page_count = 100000"))
    database.write(fill)
    database.close()


def test_a_locked_database_raises_service_unavailable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_MS", 50)
    storage, other = opened_at(folder), database_module.Database(folder / HIDDEN / "state.sqlite3")

    def use(_connection: sqlite3.Connection) -> None:
        assert storage.records.get(Table.CLAIMS, digest("x")) is None
        with pytest.raises(ServiceUnavailable, match="locked"):
            storage.records.create(Table.CLAIMS, digest("x"), {"a": 1})

    other.write(use)
    assert storage.records.create(Table.CLAIMS, digest("x"), {"a": 1})
    storage.close()
    other.close()


def test_a_corrupt_database_raises_service_unavailable(folder: Path) -> None:
    (folder / HIDDEN).mkdir(parents=True)
    (folder / HIDDEN / "state.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(ServiceUnavailable, match="not a database"):
        opened_at(folder)


def test_a_file_in_place_of_a_folder_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is a file and not a folder"):
        opened_at(tmp_path / "file" / "mail")


def test_a_closed_database_stays_closed(folder: Path) -> None:
    storage = opened_at(folder)
    storage.close()
    with pytest.raises(ServiceUnavailable, match="closed"):
        storage.records.get(Table.CLAIMS, digest("x"))


def test_short_lived_threads_share_a_connection(folder: Path) -> None:
    database = database_module.Database(folder / "state.sqlite3")

    def write() -> None:
        database.write(lambda connection: connection.execute("DELETE FROM leases"))

    for _ in range(50):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(database._idle) == 1
    database.close()
