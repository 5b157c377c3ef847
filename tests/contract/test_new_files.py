"""Storage in a folder: new files, which have a name or none until they are complete."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shared.errors import ServiceUnavailable
from shared.storage.base import NewBlob
from shared.storage.folder import blobs as blobs_module
from shared.storage.folder.blobs import HIDDEN, FolderBlobs
from shared.storage.folder.fsync import file_system_of
from tests.contract.test_folder_durability import Flushes

TYPE = "application/octet-stream"


@pytest.fixture(params=["files without names", "named files", "no /proc", "btrfs"])
def new_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the kind of new files; make the system have them."""
    if request.param == "named files":
        monkeypatch.delattr(os, "O_TMPFILE")
    elif request.param == "no /proc":
        monkeypatch.setattr(blobs_module, "_DESCRIPTORS", "/nowhere/")
    elif request.param == "btrfs":
        monkeypatch.setattr(blobs_module, "file_system_of", lambda _folder: "btrfs")
    return str(request.param)


@pytest.fixture
def blobs(tmp_path: Path, new_files: str) -> FolderBlobs:
    created = FolderBlobs(tmp_path / "mail")
    assert created._has_unnamed_files == (new_files == "files without names"), "the file system of the tests has them"
    return created


def letters(count: int) -> list[NewBlob]:
    return [NewBlob(f"messages/{n % 7}/{n}/message.json", str(n).encode() * n, TYPE) for n in range(count)]


def test_many_files_are_created_as_one(blobs: FolderBlobs) -> None:
    count = 2 * blobs_module.OPEN_FILES + 5
    assert blobs.create("messages/3/3/message.json", b"first", content_type=TYPE)
    assert blobs.create_many(letters(count)) == [n != 3 for n in range(count)]
    for blob in letters(count):
        assert blobs.read(blob.path) == (b"first" if blob.path == "messages/3/3/message.json" else blob.data)
    assert blobs.create_many([]) == []


def test_nothing_is_left_of_new_files(tmp_path: Path, blobs: FolderBlobs) -> None:
    descriptors = Path("/proc/self/fd")
    open_before = len(list(descriptors.iterdir()))
    blobs.create_many([*letters(9), *letters(3)])
    assert list((tmp_path / "mail" / HIDDEN / "writing").iterdir()) == []
    assert len(list(descriptors.iterdir())) == open_before


def test_all_files_are_synced_before_the_first_has_its_name(
    tmp_path: Path, blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = Flushes(monkeypatch)
    named: list[int] = []
    link = os.link

    def counting_link(source: str, target: str, **options: bool) -> None:
        named.append(len(flushes.flushed))
        link(source, target, **options)

    monkeypatch.setattr(os, "link", counting_link)
    blobs.create_many(letters(12))
    assert flushes.linked_before_flush == []
    assert named == [12] * 12
    paths = [tmp_path / "mail" / blob.path for blob in letters(12)]
    assert flushes.missing(*paths) == []


def test_an_error_leaves_complete_files_only(
    tmp_path: Path, blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link
    linked: list[str] = []

    def failing_link(source: str, target: str, **options: bool) -> None:
        if len(linked) == 4:
            raise OSError(28, "No space left on device")
        linked.append(target)
        link(source, target, **options)

    monkeypatch.setattr(os, "link", failing_link)
    with pytest.raises(ServiceUnavailable, match=r"messages/4/4/message\.json failed: No space left"):
        blobs.create_many(letters(9))
    assert list(blobs.list()) == sorted(blob.path for blob in letters(4))
    assert list((tmp_path / "mail" / HIDDEN / "writing").iterdir()) == []
    monkeypatch.setattr(os, "link", link)
    assert blobs.create_many(letters(9)) == [False] * 4 + [True] * 5
    assert [blobs.read(blob.path) for blob in letters(9)] == [blob.data for blob in letters(9)]


def test_a_missing_source_creates_nothing(tmp_path: Path, blobs: FolderBlobs) -> None:
    with pytest.raises(ServiceUnavailable, match="No such file"):
        blobs.create_many([*letters(3), NewBlob("a/b", tmp_path / "missing", TYPE)])
    assert list(blobs.list()) == []


def test_files_have_the_mode_of_the_store_whatever_the_umask_of_the_process(tmp_path: Path, blobs: FolderBlobs) -> None:
    before = os.umask(0o777)
    try:
        blobs = FolderBlobs(tmp_path / "mail")
        blobs.create("a", b"x", content_type=TYPE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "mail" / "a").stat().st_mode) == 0o600


def test_a_system_without_advice_for_files_writes_them_as_well(
    blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fadvise")
    assert blobs.create_many(letters(3)) == [True] * 3


def test_a_file_system_that_refuses_the_advice_writes_files_as_well(
    blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    assert blobs.create_many(letters(3)) == [True] * 3


def test_few_files_are_open_at_once(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    most = 0
    fdatasync = os.fdatasync

    def counting_sync(handle: int) -> None:
        nonlocal most
        most = max(most, len(list(Path("/proc/self/fd").iterdir())))
        fdatasync(handle)

    monkeypatch.setattr(os, "fdatasync", counting_sync)
    blobs.create_many(letters(100))
    assert most - open_before <= blobs_module.OPEN_FILES + 1


def test_a_large_file_that_exists_is_not_copied_and_its_folders_are_synced(
    tmp_path: Path, blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    assert blobs.create("a/b", source, content_type=TYPE)
    flushes = Flushes(monkeypatch)
    monkeypatch.setattr(os, "write", pytest.fail)
    other = FolderBlobs(tmp_path / "mail")
    assert not other.create("a/b", source, content_type=TYPE)
    other.flush()
    assert flushes.missing(tmp_path / "mail", tmp_path / "mail/a") == []


def test_the_type_of_a_file_system() -> None:
    assert file_system_of(Path("/proc")) == "proc"
    assert file_system_of(Path("/dev/shm")) == "tmpfs"


def test_a_relative_folder_is_a_store_as_well(tmp_path: Path, new_files: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = FolderBlobs(Path("relative"))
    assert relative.create("a/b", new_files.encode(), content_type=TYPE)
    assert (tmp_path / "relative/a/b").read_bytes() == new_files.encode()
    assert list(relative.list()) == ["a/b"]
    relative.delete_many(["a/b"])
    assert [path.name for path in (tmp_path / "relative").iterdir()] == [HIDDEN]
