"""The contract of `Blobs`, tested with every storage."""

from __future__ import annotations

import io
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import WriteConflict
from shared.storage.base import BlobVersion, NewBlob, Storage

TYPE = "application/octet-stream"
MB = 1024 * 1024


def test_a_blob_is_created_once(stores: Storage) -> None:
    assert stores.blobs.read("a/b.txt") is None
    assert not stores.blobs.exists("a/b.txt")
    assert stores.blobs.create("a/b.txt", b"first", content_type=TYPE)
    assert not stores.blobs.create("a/b.txt", b"second", content_type=TYPE)
    stores.blobs.flush()
    assert stores.blobs.read("a/b.txt") == b"first"
    assert stores.blobs.exists("a/b.txt")


def test_many_blobs_are_created_once(stores: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"large" * MB)
    blobs = [NewBlob(f"m/{n}", str(n).encode(), TYPE, download_name=f"{n}.bin") for n in range(40)]
    blobs.append(NewBlob("m/large", source, TYPE))
    assert stores.blobs.create("m/7", b"first", content_type=TYPE)
    assert stores.blobs.create_many(blobs) == [n != 7 for n in range(41)]
    assert stores.blobs.create_many(blobs) == [False] * 41
    stores.blobs.flush()
    assert stores.blobs.read("m/large") == source.read_bytes()
    assert [stores.blobs.read(f"m/{n}") for n in range(40)] == [b"first" if n == 7 else b"%d" % n for n in range(40)]
    assert stores.blobs.create_many([]) == []


def test_a_folder_of_blobs_is_not_a_blob(stores: Storage) -> None:
    stores.blobs.create("a/b/c", b"x", content_type=TYPE)
    for path in ("a", "a/b", "a/b/c/d"):
        assert not stores.blobs.exists(path)
        assert stores.blobs.read(path) is None
        assert not stores.blobs.download(path, io.BytesIO())


@pytest.mark.parametrize("size", [1000, 9 * MB], ids=["small", "large"])
def test_one_of_sixteen_threads_creates_a_blob(stores: Storage, tmp_path: Path, size: int) -> None:
    barrier = threading.Barrier(16)
    sources = []
    for number in range(16):
        sources.append(tmp_path / f"source-{number}")
        sources[-1].write_bytes(bytes([number]) * size)

    def create(source: Path) -> bool:
        barrier.wait()
        return stores.blobs.create("x/raced", source, content_type=TYPE)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(create, sources))
    assert results.count(True) == 1
    assert stores.blobs.read("x/raced") == sources[results.index(True)].read_bytes()


def test_threads_create_blobs_and_flush(stores: Storage) -> None:
    def create(number: int) -> bool:
        created = stores.blobs.create(f"m/{number % 40}/message.json", str(number % 40).encode(), content_type=TYPE)
        stores.blobs.flush()
        return created

    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(create, range(80)))
    assert created.count(True) == 40
    assert len(list(stores.blobs.list("m/"))) == 40


def test_a_large_file_is_streamed_and_created_once(stores: Storage, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(range(256)) * 4096 * 11)
    assert stores.blobs.create("big/one", source, content_type=TYPE, download_name="größe.bin")
    assert not stores.blobs.create("big/one", source, content_type=TYPE)
    target = io.BytesIO()
    assert stores.blobs.download("big/one", target)
    assert target.getvalue() == source.read_bytes()
    assert not stores.blobs.download("big/none", io.BytesIO())


def test_1_7_memory_does_not_grow_with_the_size_of_a_file(stores: Storage, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        for number in range(60):
            file.write(bytes([number]) * MB)
    stores.blobs.create("warm/up", b"x", content_type=TYPE)
    tracemalloc.start()
    try:
        assert stores.blobs.create("big/one", source, content_type=TYPE)
        with target.open("wb") as target_file:
            assert stores.blobs.download("big/one", target_file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert target.read_bytes() == source.read_bytes()
    assert peak < 24 * MB


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\r\n" * 3, b"x" * (4 * MB), b"y" * (4 * MB + 1)],
    ids=["empty", "nul", "lines", "4 MB", "more"],
)
def test_bytes_are_kept(stores: Storage, data: bytes, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    assert stores.blobs.create("some/bytes", data, content_type=TYPE)
    assert stores.blobs.create("some/file", source, content_type=TYPE)
    assert stores.blobs.read("some/bytes") == data
    assert stores.blobs.read("some/file") == data


@pytest.mark.parametrize(
    "name",
    [
        "mit Leerzeichen.pdf",
        "größe.txt",
        "a#b?c%20d&e+f.txt",
        "日本.eml",
        "'quoted'.txt",
        "~x;y=z,$@!()[]{}^`.t",
        "-",
        "...",
    ],
)
def test_unusual_names(stores: Storage, name: str) -> None:
    path = f"odd/{name}/{name}"
    assert stores.blobs.create(path, name.encode(), content_type=TYPE, download_name=name)
    assert not stores.blobs.create(path, b"other", content_type=TYPE)
    assert stores.blobs.read(path) == name.encode()
    assert stores.blobs.exists(path)
    assert list(stores.blobs.list("odd/")) == [path]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/./b", "a/", "a\0b"])
def test_a_path_cannot_leave_the_storage(stores: Storage, path: str) -> None:
    for operation in (
        stores.blobs.read,
        stores.blobs.exists,
        lambda path: stores.blobs.create(path, b"x", content_type=TYPE),
    ):
        with pytest.raises(ValueError, match="path"):
            operation(path)


def test_paths_are_listed_by_prefix_and_sorted(stores: Storage) -> None:
    assert list(stores.blobs.list()) == []
    for path in ("b/2", "a/1", "b/1", "bc/1", "b/1.d/x", "b/10"):
        stores.blobs.create(path, b"", content_type=TYPE)
    assert list(stores.blobs.list("b/")) == ["b/1", "b/1.d/x", "b/10", "b/2"]
    assert list(stores.blobs.list("b/1")) == ["b/1", "b/1.d/x", "b/10"]
    assert list(stores.blobs.list("b")) == ["b/1", "b/1.d/x", "b/10", "b/2", "bc/1"]
    assert list(stores.blobs.list()) == ["a/1", "b/1", "b/1.d/x", "b/10", "b/2", "bc/1"]
    assert list(stores.blobs.list("c/d/")) == []


def test_a_known_version_is_not_read_again(stores: Storage) -> None:
    assert stores.blobs.read_version("config/x.json") is None
    stores.blobs.create("config/x.json", b"one", content_type=TYPE)
    first = stores.blobs.read_version("config/x.json")
    assert first is not None
    assert first.data == b"one"
    assert stores.blobs.read_version("config/x.json", unless_etag=first.etag) == BlobVersion(None, first.etag)
    stores.blobs.replace("config/x.json", b"two", etag=first.etag, content_type=TYPE)
    second = stores.blobs.read_version("config/x.json", unless_etag=first.etag)
    assert second is not None
    assert (second.data, second.etag == first.etag) == (b"two", False)
    for max_bytes, data in ((2, b"tw"), (3, b"two"), (4, b"two")):
        assert stores.blobs.read_version("config/x.json", max_bytes=max_bytes) == BlobVersion(data, second.etag)


def test_replace_with_a_stale_etag_is_a_conflict(stores: Storage) -> None:
    stores.blobs.create("unhandled/x.json", b"one", content_type=TYPE)
    version = stores.blobs.read_version("unhandled/x.json")
    assert version is not None
    stores.blobs.replace("unhandled/x.json", b"two", etag=version.etag, content_type=TYPE)
    stores.blobs.flush()
    with pytest.raises(WriteConflict):
        stores.blobs.replace("unhandled/x.json", b"three", etag=version.etag, content_type=TYPE)
    assert stores.blobs.read("unhandled/x.json") == b"two"
    stores.blobs.delete_many(["unhandled/x.json"])
    with pytest.raises(WriteConflict):
        stores.blobs.replace("unhandled/x.json", b"four", etag=version.etag, content_type=TYPE)
    assert not stores.blobs.exists("unhandled/x.json")
    assert list(stores.blobs.list()) == []


def test_a_deleted_blob_may_be_created_again(stores: Storage) -> None:
    for path in ("m/1/message.json", "m/1/a/b.pdf", "m/2/message.json"):
        stores.blobs.create(path, b"x", content_type=TYPE)
    stores.blobs.delete_many(["m/1/message.json", "m/1/a/b.pdf", "m/1/none", "m/1"])
    assert list(stores.blobs.list()) == ["m/2/message.json"]
    assert stores.blobs.create("m/1/message.json", b"y", content_type=TYPE)
    stores.blobs.flush()
    assert stores.blobs.read("m/1/message.json") == b"y"
