"""Opening a storage: what is made, what is shared, what is imported, and that no network is asked."""

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


def at(folder: Path) -> StorageLocation:
    return StorageLocation.parse(f"folder:{folder}", setting="TEST")


def test_a_folder_needs_none_of_the_sdks(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from shared.storage.location import StorageLocation
from shared.storage.factory import open_storage
address = StorageLocation.parse(f"folder:{sys.argv[1]}", setting="TEST")
open_storage(address, address, "mail").close()
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


def test_a_key_needs_no_identity_library() -> None:
    program = """
import sys
from shared.storage.location import StorageLocation
from shared.storage.factory import open_storage
address = StorageLocation.parse("UseDevelopmentStorage=true", setting="TEST")
open_storage(address, address, "mail").close()
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
def test_opening_asks_no_network(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", asked)
    monkeypatch.setattr("socket.getaddrinfo", asked)
    address = StorageLocation.parse(text, setting="TEST")
    open_storage(address, address, "mail").close()


def test_mail_is_directly_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "mail"
    stores = open_storage(at(folder), at(folder), "container")
    stores.blobs.create("messages/ab/x/raw.eml", b"x", content_type="message/rfc822")
    stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})
    stores.close()
    assert {path.name for path in folder.iterdir()} == {"messages", ".mailroom"}
    assert (folder / "messages/ab/x/raw.eml").read_bytes() == b"x"
    assert (folder / ".mailroom" / "state.sqlite3").is_file()


def test_app_and_mail_may_be_two_folders(tmp_path: Path) -> None:
    stores = open_storage(at(tmp_path / "app"), at(tmp_path / "mail"), "mail")
    stores.queues[QueueName.POLLS].put_many(["x"])
    stores.blobs.create("a", b"x", content_type="text/plain")
    stores.close()
    assert [path.name for path in (tmp_path / "app").iterdir()] == [".mailroom"]
    other = open_storage(at(tmp_path / "app"), at(tmp_path / "elsewhere"), "mail")
    assert other.queues[QueueName.POLLS].length() == 1
    assert list(other.blobs.list()) == []
    other.close()


def test_what_was_stored_is_there_when_opened_again(tmp_path: Path) -> None:
    for number in range(3):
        stores = open_storage(at(tmp_path), at(tmp_path / "." / "sub" / ".."), "mail")
        assert stores.records.create(Table.CLAIMS, digest("x"), {"a": 1}) == (number == 0)
        stores.queues[QueueName.POLLS].put_many(["x"])
        assert stores.queues[QueueName.POLLS].length() == number + 1
        stores.close()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (StorageLocation("AzureWebJobsStorage", blob="https://b.example.com", queue="https://q.example.com"), "table"),
        (
            StorageLocation("AzureWebJobsStorage", connection_string="BlobEndpoint=https://b;AccountName=x=hush"),
            "complete",
        ),
        (StorageLocation("AzureWebJobsStorage", connection_string="hush"), "complete"),
    ],
)
def test_an_address_that_lacks_a_part_is_a_fault_of_the_settings(address: StorageLocation, told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"AzureWebJobsStorage.*{told}") as caught:
        open_storage(address, address, "mail")
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
