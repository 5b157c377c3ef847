"""The modes of files and folders in a store do not depend on the umask."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from shared.storage.factory import open_storage
from shared.storage.folder.blobs import HIDDEN
from shared.storage.location import StorageLocation
from tests.contract.folders import OPEN, ROOT, opened_at

FILL = """
import os
from dataclasses import replace
from shared.mailboxes.spool import Spool
os.umask(int(sys.argv[3], 8))
location = replace(location, file_mode=int(sys.argv[4], 8))
folder = Path(sys.argv[1])
modes = {}

def record_modes(path):
    for entry in [path, *path.rglob("*")]:
        modes[str(entry.relative_to(path))] = entry.stat()

fdatasync = os.fdatasync

def observed_sync(handle):
    record_modes(folder)
    modes[".mailroom/writing/new"] = os.fstat(handle)
    fdatasync(handle)

os.fdatasync = observed_sync
spool = Spool(5_000_000, 10**9)
spool.write(b"x" * 5_000_000)
content = spool.finish()
storage = open_storage(location, location, "mail")
storage.blobs.create("messages/ab/abc.eml", content.data, content_type="message/rfc822")
storage.blobs.create("unhandled/a/1.json", b"1", content_type="application/json")
version = storage.blobs.read_version("unhandled/a/1.json")
storage.blobs.replace("unhandled/a/1.json", b"2", etag=version.etag, content_type="application/json")
storage.records.create(Table.CLAIMS, digest("x"), {"n": 1})
storage.queues[QueueName.POLLS].put_many(["x"])
record_modes(folder)
print(oct(content.data.stat().st_mode & 0o7777))
content.close()
import stat
for name, entry in sorted(modes.items()):
    print("folder" if stat.S_ISDIR(entry.st_mode) else "file", oct(stat.S_IMODE(entry.st_mode)), name)
"""


@pytest.fixture
def restored_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("umask", ["000", "022", "077"])
@pytest.mark.parametrize(("mode", "folder_mode"), [("0600", "0o700"), ("0640", "0o750"), ("0664", "0o775")])
def test_files_and_folders_have_the_configured_mode(tmp_path: Path, umask: str, mode: str, folder_mode: str) -> None:
    (tmp_path / "temporary").mkdir()
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            OPEN.replace("storage = open_storage", "\n# ") + FILL,
            str(tmp_path / "new" / "mail"),
            "0",
            umask,
            mode,
        ],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        check=True,
        capture_output=True,
        text=True,
    )
    spooled, *lines = ran.stdout.splitlines()
    assert spooled == "0o600", "only this process may read a spooled message"
    entries = {name: (kind, mode_text) for kind, mode_text, name in map(str.split, lines)}
    assert {
        *(".", ".mailroom", ".mailroom/state.sqlite3", ".mailroom/state.sqlite3-wal", ".mailroom/state.sqlite3-shm"),
        *(".mailroom/in-use.lock", ".mailroom/replacing.lock", "messages/ab/abc.eml", "unhandled/a/1.json"),
    } <= entries.keys()
    assert any(name.startswith(".mailroom/writing/") for name in entries), "a temporary file was seen"
    expected = {"file": oct(int(mode, 8)), "folder": folder_mode}
    assert {name: entry for name, entry in entries.items() if entry[1] != expected[entry[0]]} == {}
    assert oct(stat.S_IMODE((tmp_path / "new").stat().st_mode)) == folder_mode


def test_an_existing_stores_folder_gets_the_mode_and_its_content_keeps_its_own(
    tmp_path: Path, restored_umask: None
) -> None:
    folder = tmp_path / "mail"
    (folder / "messages/ab").mkdir(parents=True)
    (folder / "messages/ab/old").write_bytes(b"x")
    with closing(opened_at(folder)):
        assert mode_of(folder) == 0o700
    assert (mode_of(folder / "messages"), mode_of(folder / "messages/ab/old")) == (0o755, 0o644)
    location = replace(StorageLocation.parse(f"folder:{folder}", setting="TEST"), file_mode=0o640)
    with closing(open_storage(location, location, "mail")) as storage:
        assert mode_of(folder) == 0o750
        storage.blobs.create("messages/ab/new", b"x", content_type="text/plain")
        assert mode_of(folder / "messages/ab/new") == 0o640
    assert mode_of(folder / HIDDEN) == 0o700, "created with the first mode"


def test_a_shared_folder_with_the_sticky_bit_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    with closing(opened_at(folder)):
        assert mode_of(folder) == 0o1777
        assert mode_of(folder / HIDDEN) == 0o700


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
