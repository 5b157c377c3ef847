"""Opening a storage: files, imports, and configuration errors, without the network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.keys import digest
from shared.storage.base import QueueName, Table
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation

ROOT = Path(__file__).resolve().parents[2]


def folder_location(folder: Path) -> StorageLocation:
    return StorageLocation.parse(f"folder:{folder}", setting="TEST")


def test_a_folder_imports_no_sdk(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from shared.storage.location import StorageLocation
from shared.storage.factory import open_storage
location = StorageLocation.parse(f"folder:{sys.argv[1]}", setting="TEST")
open_storage(location, location, "mail").close()
print([name for name in sys.modules if name.split(".")[0] in {"azure", "requests", "msal"}])
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "[]\n"


def test_a_connection_string_imports_no_identity_library() -> None:
    program = """
import sys
from shared.storage.location import StorageLocation
from shared.storage.factory import open_storage
location = StorageLocation.parse("UseDevelopmentStorage=true", setting="TEST")
open_storage(location, location, "mail").close()
print([name for name in sys.modules if name in {"azure.identity", "msal"}])
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize(
    "text",
    [
        "https://nobody.blob.core.windows.net",
        "UseDevelopmentStorage=true",
        "AccountName=some;AccountKey=aHVzaA==",
        "AccountName=some;SharedAccessSignature=sv=1&sig=hush",
    ],
)
def test_opening_sends_no_request(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a request was sent")

    monkeypatch.setattr("socket.socket.connect", fail)
    monkeypatch.setattr("socket.getaddrinfo", fail)
    location = StorageLocation.parse(text, setting="TEST")
    open_storage(location, location, "mail").close()


def test_mail_is_directly_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "mail"
    stores = open_storage(folder_location(folder), folder_location(folder), "container")
    stores.blobs.create("messages/ab/x.eml", b"x", content_type="message/rfc822")
    stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})
    stores.close()
    assert {path.name for path in folder.iterdir()} == {"messages", ".mailroom"}
    assert (folder / "messages/ab/x.eml").read_bytes() == b"x"
    assert (folder / ".mailroom" / "state.sqlite3").is_file()


def test_app_and_mail_may_use_two_folders(tmp_path: Path) -> None:
    stores = open_storage(folder_location(tmp_path / "app"), folder_location(tmp_path / "mail"), "mail")
    stores.queues[QueueName.POLLS].put_many(["x"])
    stores.blobs.create("a", b"x", content_type="text/plain")
    stores.close()
    assert [path.name for path in (tmp_path / "app").iterdir()] == [".mailroom"]
    other = open_storage(folder_location(tmp_path / "app"), folder_location(tmp_path / "elsewhere"), "mail")
    assert other.queues[QueueName.POLLS].length() == 1
    assert list(other.blobs.list()) == []
    other.close()


def test_stored_data_is_kept_when_the_storage_is_opened_again(tmp_path: Path) -> None:
    for number in range(3):
        stores = open_storage(folder_location(tmp_path), folder_location(tmp_path / "." / "sub" / ".."), "mail")
        assert stores.records.create(Table.CLAIMS, digest("x"), {"a": 1}) == (number == 0)
        stores.queues[QueueName.POLLS].put_many(["x"])
        assert stores.queues[QueueName.POLLS].length() == number + 1
        stores.close()


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (StorageLocation("AzureWebJobsStorage", blob="https://b.example.com", queue="https://q.example.com"), "table"),
        (
            StorageLocation("AzureWebJobsStorage", connection_string="BlobEndpoint=https://b;AccountName=x=hush"),
            "complete",
        ),
        (StorageLocation("AzureWebJobsStorage", connection_string="hush"), "complete"),
    ],
)
def test_an_incomplete_location_is_a_configuration_error(location: StorageLocation, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"AzureWebJobsStorage.*{message}") as caught:
        open_storage(location, location, "mail")
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
