"""The errors of a storage that is not there say what to do: a file in place of a folder, no emulator, no sign-in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from shared.errors import ConfigurationError, ServiceUnavailable
from shared.storage.azure import accounts
from shared.storage.base import QueueName, Storage, Table
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.end_to_end.command import mailroom, settings_file
from tests.servers.answering import endpoints_at
from tests.servers.azurite import KEY, free_ports

OPERATIONS: dict[str, Callable[[Storage], object]] = {
    "Blob": lambda stores: stores.blobs.read("a"),
    "Queue": lambda stores: stores.queues[QueueName.POLLS].length(),
    "Table": lambda stores: stores.records.get(Table.CLAIMS, "a"),
}


@pytest.mark.parametrize("service", OPERATIONS)
def test_without_the_emulator_the_error_names_the_command_that_starts_it(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its own ports may be taken on the machine of a developer.
    nowhere = f"AccountName=devstoreaccount1;AccountKey={KEY};{endpoints_at(free_ports(1)[0])}"
    monkeypatch.setattr(accounts, "_DEVELOPMENT", nowhere)
    location = StorageLocation.parse("UseDevelopmentStorage=true", setting="AzureWebJobsStorage")
    stores = open_storage(location, location, "mail")
    with closing(stores), pytest.raises(ServiceUnavailable) as caught:
        OPERATIONS[service](stores)
    text = str(caught.value)
    assert text.startswith(f"AzureWebJobsStorage: the {service} service of the storage emulator does not run on this")
    assert text.endswith("start Azurite: npx azurite --location azurite-data")
    assert "account's name" not in text


@pytest.mark.parametrize("command", ["run-once", "status"])
def test_without_a_sign_in_one_line_says_what_to_do(command: str, tmp_path: Path) -> None:
    values = {"AzureWebJobsStorage__accountName": "stmail", "MAIL_STORAGE": "https://stmail.blob.core.windows.net"}
    settings = settings_file(tmp_path, "", values)
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "NO_PROXY": "*"}
    ran = mailroom(command, settings=settings, environment=environment)
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert "there is no sign-in to Azure here (Azure CLI not found on path); run `az login` on your own machine" in line
    assert "assign an identity to the app in Azure" in line


@pytest.mark.parametrize("below", ["", "/mail/store"])
@pytest.mark.parametrize("setting", ["AzureWebJobsStorage", "MAIL_STORAGE"])
def test_a_file_in_place_of_the_folder_is_named_with_its_setting(tmp_path: Path, setting: str, below: str) -> None:
    file, folder = tmp_path / "file", tmp_path / "store"
    file.write_text("content")
    values = {"AzureWebJobsStorage": f"folder:{folder}", "MAIL_STORAGE": f"folder:{folder}"}
    values[setting] = f"folder:{file}{below}"
    settings = settings_file(tmp_path, values.pop("AzureWebJobsStorage"), values)
    for command in ("run-once", "status"):
        ran = mailroom(command, settings=settings)
        assert ran.returncode == 2
        (line,) = ran.stderr.splitlines()
        assert line.startswith(f"{setting}: {file} is a file and not a folder; write folder:PATH with the path of a f")
    assert file.read_text() == "content"
    assert not folder.exists()


def test_a_folder_that_does_not_exist_is_created_as_before(tmp_path: Path) -> None:
    location = StorageLocation.parse(f"folder:{tmp_path / 'new' / 'store'}", setting="MAIL_STORAGE")
    with closing(open_storage(location, location, "mail")):
        assert (tmp_path / "new" / "store").is_dir()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigurationError, match="MAIL_STORAGE"):
        open_storage(location, StorageLocation.parse(f"folder:{file}", setting="MAIL_STORAGE"), "mail")
