"""A folder alone: what is durable when, and disks that are full, locked or ill."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ServiceUnavailable
from shared.keys import digest
from shared.storage.base import Storage, Table
from shared.storage.folder import blobs as blobs_module
from shared.storage.folder import database as database_module
from shared.storage.folder.blobs import HIDDEN
from tests.contract.folders import opened_at, processes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mail"


@pytest.fixture
def stores(folder: Path) -> Iterator[Storage]:
    opened = opened_at(folder)
    yield opened
    opened.close()


def test_settle_returns_when_others_are_still_at_it(
    folder: Path, stores: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds that another is settling waits for it: it may be settling what we wrote."""
    inside, may_go, returned = threading.Event(), threading.Event(), threading.Event()

    def slow(_folders: object) -> None:
        inside.set()
        may_go.wait(10)

    monkeypatch.setattr(blobs_module, "sync_folders", slow)
    stores.blobs.create("a/b", b"x", content_type="text/plain")
    first = threading.Thread(target=stores.blobs.flush)
    first.start()
    inside.wait(10)

    def settle() -> None:
        stores.blobs.flush()
        returned.set()

    second = threading.Thread(target=settle)
    second.start()
    assert not returned.wait(0.2)
    may_go.set()
    first.join()
    second.join()
    assert returned.is_set()


def test_a_settling_that_failed_is_done_again(folder: Path, stores: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[str] = []

    def failing(_folders: object) -> None:
        raise OSError(5, "Input/output error")

    stores.blobs.create("a/b", b"x", content_type="text/plain")
    monkeypatch.setattr(blobs_module, "sync_folders", failing)
    with pytest.raises(ServiceUnavailable, match="Input/output error"):
        stores.blobs.flush()
    monkeypatch.setattr(blobs_module, "sync_folders", settled.extend)
    stores.blobs.flush()
    assert set(settled) == {str(folder), str(folder / "a")}


def test_an_error_does_not_tell_an_attachments_name(
    folder: Path, stores: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_path: str, _data: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blobs_module, "_write", failing)
    path = "messages/ab/abcd/attachments/01-notice of dismissal.pdf"
    with pytest.raises(ServiceUnavailable, match="attachments/01-… failed: No space left") as caught:
        stores.blobs.create(path, b"x", content_type="application/pdf")
    assert "dismissal" not in str(caught.value)


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
