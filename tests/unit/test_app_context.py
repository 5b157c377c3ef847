"""A settings file's values are in the environment while its app is open."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailroom_cli.app_context import open_app
from shared.errors import ConfigurationError, ServiceUnavailable
from shared.storage.base import Create, QueueName, Table


def write_settings(folder: Path, **values: str) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps({"Values": values}))
    return path


def test_the_environment_overrides_the_file_and_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("poll_schedule", "0 */2 * * * *")
    before = dict(os.environ)
    values = {
        "AzureWebJobsStorage": f"folder:{tmp_path / 'mail'}",
        "POLL_SCHEDULE": "0 * * * * *",
        "MAIL_CONTAINER": "post",
    }
    with open_app(write_settings(tmp_path, **values)) as app:
        assert (app.settings.poll_schedule, app.settings.mail_container) == ("0 */2 * * * *", "post")
        assert os.environ["MAIL_CONTAINER"] == "post"
    assert dict(os.environ) == before


def test_invalid_settings_leave_the_environment_unchanged(tmp_path: Path) -> None:
    before = dict(os.environ)
    with (
        pytest.raises(ConfigurationError),
        open_app(write_settings(tmp_path, AzureWebJobsStorage="nonsense", LOOP_LIMIT="7")),
    ):
        pytest.fail("invalid settings must not open an app")
    assert dict(os.environ) == before


def test_only_the_file_counts_without_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("mail_container", "elsewhere")
    monkeypatch.setenv("MAILBOXES__other__HOST", "imap.example.com")
    monkeypatch.setenv("MAIL_STORAGE", "folder:relative")
    before = dict(os.environ)
    file = write_settings(tmp_path, AzureWebJobsStorage="folder:mail", MAIL_CONTAINER="post")
    with open_app(file, environment=False) as app:
        assert app.settings.mail_container == "post"
        assert app.settings.mailbox_errors == {}
        assert app.settings.mail_storage.folder == tmp_path / "mail"
        assert os.environ["MAIL_CONTAINER"] == "post"
    assert dict(os.environ) == before


def test_a_missing_store_is_empty_and_refuses_writes(tmp_path: Path) -> None:
    with open_app(write_settings(tmp_path, AzureWebJobsStorage="folder:mail"), create=False) as app:
        stores = app.storage
        assert list(stores.blobs.list()) == []
        assert stores.blobs.read("a") is None
        assert stores.blobs.read_version("a") is None
        assert not stores.blobs.exists("a")
        assert not stores.blobs.download("a", io.BytesIO())
        assert stores.remove_leftover_files() == 0
        for table in Table:
            assert list(stores.records.scan(table)) == []
            assert stores.records.get(table, "a") is None
            assert stores.records.get_many(table, ["a"]) == {}
        for queue in stores.queues.values():
            assert queue.length() == 0
            assert queue.receive(1, hidden_for=1) == []
        writes: list[Callable[[], object]] = [
            lambda: stores.blobs.create("a", b"", content_type="text/plain"),
            lambda: stores.blobs.replace("a", b"", etag="", content_type="text/plain"),
            lambda: stores.records.create(Table.CLAIMS, "a", {}),
            lambda: stores.records.create_many(Table.CLAIMS, {"a": {}}),
            lambda: stores.records.commit([Create(Table.CLAIMS, "a", {})]),
            lambda: stores.records.merge(Table.CLAIMS, "a", {}),
            lambda: stores.records.merge_many(Table.CLAIMS, {"a": {}}),
            lambda: stores.records.replace(Table.CLAIMS, "a", {}, etag=""),
            lambda: stores.queues[QueueName.POLLS].put_many(["a"]),
            lambda: stores.leases.acquire("a", 60),
            lambda: stores.leases.renew("a", "token"),
        ]
        for write in writes:
            with pytest.raises(ServiceUnavailable, match=f"the store in {tmp_path / 'mail'} does not exist"):
                write()
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]
