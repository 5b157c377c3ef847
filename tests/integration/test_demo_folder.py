"""The demonstration clears what a demonstration left, and never anything else."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mailroom_cli.demo.folder import MARK, SETTINGS, prepare, write_settings
from shared.documents.blob_paths import raw_path
from shared.errors import ConfigurationError
from shared.keys import digest
from shared.storage.base import Storage, Table
from shared.storage.folder.blobs import HIDDEN
from tests.contract.folders import opened_at

SAMPLE, REAL = b"Subject: sample\r\n\r\n", b"Subject: an order\r\n\r\n"
MAILBOXES = ("support", "office")


def id_of(message: bytes) -> str:
    return hashlib.sha256(message).hexdigest()


def store(stores: Storage, message: bytes) -> None:
    stores.blobs.create(raw_path(id_of(message)), message, content_type="message/rfc822")


def demonstrated(folder: Path) -> None:
    """Leave what a demonstration leaves."""
    prepare(folder, [SAMPLE], MAILBOXES)
    with closing(opened_at(folder)) as stores:
        store(stores, SAMPLE)
        stores.records.create(Table.RECEIPTS, digest("1"), {"mailbox": "support", "message": id_of(SAMPLE)})
        stores.records.create(Table.RECEIPTS, digest("2"), {"mailbox": "office", "message": ""})
        stores.records.create(Table.MAILBOXES, digest("3"), {"name": "support"})
        stores.records.create(Table.MAILBOXES, digest("4"), {"upto": "9"})
    write_settings(folder, '{"Values": {}}')


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the database's and the lock, which opening the store may write to."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != HIDDEN)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


def test_a_missing_and_an_empty_folder_are_marked(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for item in (folder, tmp_path / "empty", tmp_path / "a" / "b"):
        prepare(item, [SAMPLE], MAILBOXES)
        assert json.loads((item / MARK).read_bytes()) == {
            "messages": [id_of(SAMPLE)],
            "mailboxes": ["office", "support"],
        }


def test_what_a_demonstration_left_is_cleared(folder: Path) -> None:
    demonstrated(folder)
    prepare(folder, [REAL], ["other"])
    assert {path.name for path in folder.iterdir()} == {HIDDEN, MARK}
    assert json.loads((folder / MARK).read_bytes())["messages"] == [id_of(REAL)]
    with closing(opened_at(folder)) as stores:
        assert not list(stores.records.scan(Table.RECEIPTS))
        assert not list(stores.records.scan(Table.MAILBOXES))


def _collected_mail(folder: Path) -> None:
    with closing(opened_at(folder)) as stores:
        store(stores, REAL)


def _a_receipt(folder: Path) -> None:
    with closing(opened_at(folder)) as stores:
        stores.records.create(Table.RECEIPTS, digest("5"), {"mailbox": "support", "message": id_of(REAL)})


def _another_mailboxs_receipt(folder: Path) -> None:
    with closing(opened_at(folder)) as stores:
        stores.records.create(Table.RECEIPTS, digest("5"), {"mailbox": "sales", "message": ""})


def _another_mailbox(folder: Path) -> None:
    with closing(opened_at(folder)) as stores:
        stores.records.create(Table.MAILBOXES, digest("5"), {"name": "sales"})


def _a_routes_file(folder: Path) -> None:
    (folder / "config").mkdir()
    (folder / "config/routes.json").write_text("{}")


def _a_link_to_mail(folder: Path) -> None:
    real = folder.parent / "real"
    (real / "ab").mkdir(parents=True)
    (real / "ab/abc.eml").write_bytes(REAL)
    (folder / "failed").symlink_to(real)


def _no_mark(folder: Path) -> None:
    (folder / MARK).unlink()


def _a_mark_that_is_a_folder(folder: Path) -> None:
    (folder / MARK).unlink()
    (folder / MARK).mkdir()


def _a_mark_of_another_kind(folder: Path) -> None:
    (folder / MARK).write_text('["messages"]')


def _a_mark_that_is_a_link(folder: Path) -> None:
    (folder / MARK).rename(folder.parent / "mark")
    (folder / MARK).symlink_to(folder.parent / "mark")


def _changed_settings(folder: Path) -> None:
    (folder / SETTINGS).write_text('{"Values": {"MAILBOXES__real__PASSWORD": "secret"}}')


def _settings_that_are_a_link(folder: Path) -> None:
    (folder / SETTINGS).rename(folder.parent / "settings")
    (folder / SETTINGS).symlink_to(folder.parent / "settings")


def _a_file(folder: Path) -> None:
    (folder / "blocked").write_text("a file where a folder is expected")


@pytest.mark.parametrize(
    "change",
    [
        *(_collected_mail, _a_receipt, _another_mailboxs_receipt, _another_mailbox, _a_routes_file, _a_link_to_mail),
        *(_no_mark, _a_mark_that_is_a_folder, _a_mark_of_another_kind, _a_mark_that_is_a_link, _a_file),
        *(_changed_settings, _settings_that_are_a_link),
    ],
    ids=lambda change: change.__name__.strip("_"),
)
def test_a_folder_that_holds_anything_else_is_left_as_it_is(folder: Path, change: Callable[[Path], None]) -> None:
    demonstrated(folder)
    change(folder)
    before = content(folder.parent)
    assert any(path.endswith(".eml") for path in before)
    with pytest.raises(ConfigurationError, match=r"nothing was removed.*--into") as caught:
        prepare(folder, [SAMPLE], MAILBOXES)
    assert str(folder) in str(caught.value)
    assert content(folder.parent) == before


def test_a_real_store_is_left_as_it_is(folder: Path) -> None:
    with closing(opened_at(folder)) as stores:
        store(stores, REAL)
    before = content(folder)
    with pytest.raises(ConfigurationError, match=rf"{folder} is not empty .*--into"):
        prepare(folder, [SAMPLE, REAL], MAILBOXES)
    assert content(folder) == before


def test_a_folder_that_another_process_uses_is_left_as_it_is(folder: Path) -> None:
    demonstrated(folder)
    with closing(opened_at(folder)), pytest.raises(ConfigurationError, match="in use"):
        prepare(folder, [SAMPLE], MAILBOXES)
    assert (folder / raw_path(id_of(SAMPLE))).is_file()
    prepare(folder, [SAMPLE], MAILBOXES)


def test_a_link_to_a_demonstrations_folder_is_followed_and_kept(folder: Path, tmp_path: Path) -> None:
    demonstrated(folder)
    link = tmp_path / "link"
    link.symlink_to(folder)
    prepare(link, [SAMPLE], MAILBOXES)
    assert link.is_symlink()
    assert {path.name for path in folder.iterdir()} == {HIDDEN, MARK}


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_what_is_not_a_folder_is_refused(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=rf"{place} .*--into"):
        prepare(place, [SAMPLE], MAILBOXES)
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize("step", ["rmtree", "unlink", "replace"])
def test_a_killed_preparation_is_finished_by_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    demonstrated(folder)
    done = []

    def killed(*_: object, **__: object) -> None:
        done.append(step)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil if step == "rmtree" else Path, step, killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, [SAMPLE], MAILBOXES)
    assert done == [step]
    prepare(folder, [SAMPLE], MAILBOXES)
    assert {path.name for path in folder.iterdir()} == {HIDDEN, MARK}
