"""Who may read what is stored in a folder, whatever the umask."""

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
address = replace(address, file_mode=int(sys.argv[4], 8))
folder = Path(sys.argv[1])
modes = {}

def see(path):
    for one in [path, *path.rglob("*")]:
        modes[str(one.relative_to(path))] = one.stat()

fdatasync = os.fdatasync
os.fdatasync = lambda handle: (see(folder), fdatasync(handle))
spool = Spool(5_000_000, 10**9)
spool.write(b"x" * 5_000_000)
content = spool.finish()
stores = open_storage(address, address, "mail")
stores.blobs.create("messages/ab/abc/raw.eml", content.data, content_type="message/rfc822")
stores.blobs.create("unhandled/a/1.json", b"1", content_type="application/json")
version = stores.blobs.read_version("unhandled/a/1.json")
stores.blobs.replace("unhandled/a/1.json", b"2", etag=version.etag, content_type="application/json")
stores.records.create(Table.CLAIMS, digest("x"), {"n": 1})
stores.queues[QueueName.POLLS].put_many(["x"])
see(folder)
print(oct(content.data.stat().st_mode & 0o7777))
content.close()
import stat
for name, one in sorted(modes.items()):
    print("folder" if stat.S_ISDIR(one.st_mode) else "file", oct(stat.S_IMODE(one.st_mode)), name)
"""


@pytest.fixture
def restored_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("umask", ["000", "022", "077"])
@pytest.mark.parametrize(("mode", "folder_mode"), [("0600", "0o700"), ("0640", "0o750"), ("0664", "0o775")])
def test_files_and_folders_have_the_mode_that_is_set(tmp_path: Path, umask: str, mode: str, folder_mode: str) -> None:
    (tmp_path / "temporary").mkdir()
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            OPEN.replace("stores = open_storage", "\n# ") + FILL,
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
    assert spooled == "0o600", "a spooled message is this process's alone"
    seen = {name: (kind, shown) for kind, shown, name in map(str.split, lines)}
    assert {
        *(".", ".mailroom", ".mailroom/state.sqlite3", ".mailroom/state.sqlite3-wal", ".mailroom/state.sqlite3-shm"),
        *(".mailroom/in-use.lock", ".mailroom/replacing.lock", "messages/ab/abc/raw.eml", "unhandled/a/1.json"),
    } <= seen.keys()
    assert any(name.startswith(".mailroom/writing/") for name in seen), "a file that is being written was seen"
    expected = {"file": oct(int(mode, 8)), "folder": folder_mode}
    assert {name: one for name, one in seen.items() if one[1] != expected[one[0]]} == {}
    assert oct(stat.S_IMODE((tmp_path / "new").stat().st_mode)) == folder_mode


def test_an_existing_stores_own_folder_gets_its_mode_and_what_is_in_it_stays(
    tmp_path: Path, restored_umask: None
) -> None:
    folder = tmp_path / "mail"
    (folder / "messages/ab").mkdir(parents=True)
    (folder / "messages/ab/old").write_bytes(b"x")
    with closing(opened_at(folder)):
        assert mode_of(folder) == 0o700
    assert (mode_of(folder / "messages"), mode_of(folder / "messages/ab/old")) == (0o755, 0o644)
    address = replace(StorageLocation.parse(f"folder:{folder}", setting="TEST"), file_mode=0o640)
    with closing(open_storage(address, address, "mail")) as stores:
        assert mode_of(folder) == 0o750
        stores.blobs.create("messages/ab/new", b"x", content_type="text/plain")
        assert mode_of(folder / "messages/ab/new") == 0o640
    assert mode_of(folder / HIDDEN) == 0o700, "made by the first"


def test_a_folder_that_is_shared_on_purpose_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    with closing(opened_at(folder)):
        assert mode_of(folder) == 0o1777
        assert mode_of(folder / HIDDEN) == 0o700


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
