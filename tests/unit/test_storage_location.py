"""The forms that a storage's address may have, and what is never repeated of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.storage.location import StorageLocation, app_storage

KEY = "aHVzaC1odXNoLWh1c2g="
WHOLE = f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.windows.net"
SIGNED = "BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=hush%3D"
BLOB = "https://acct.blob.core.windows.net"


def parse(text: str) -> StorageLocation:
    return StorageLocation.parse(text, setting="MAIL_STORAGE")


@pytest.mark.parametrize(
    ("text", "path"), [("folder:./mail", "mail"), ("folder:/a/b", "/a/b"), (" folder: a b ", "a b")]
)
def test_a_folder(text: str, path: str) -> None:
    assert parse(text).folder == Path(path)
    assert parse(text).connection_string is None


@pytest.mark.parametrize(
    "text", [WHOLE, SIGNED, WHOLE + ";", "UseDevelopmentStorage=true", "usedevelopmentstorage=True;", WHOLE.lower()]
)
def test_a_connection_string_is_kept_whole_and_hidden(text: str) -> None:
    address = parse(f" {text} ")
    assert address.connection_string == text
    assert "hush" not in repr(address)
    assert KEY not in f"{address!r} {address!s} {[address]}"


@pytest.mark.parametrize("text", [BLOB, BLOB + "/", "HTTPS://acct.blob.core.windows.net", " " + BLOB + " "])
def test_an_account_by_its_address(text: str) -> None:
    address = parse(text)
    assert address.blob == BLOB
    assert address.queue == "https://acct.queue.core.windows.net"
    assert address.table == "https://acct.table.core.windows.net"


def test_other_clouds_have_other_suffixes() -> None:
    assert parse("https://acct.blob.core.chinacloudapi.cn").table == "https://acct.table.core.chinacloudapi.cn"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("folder:", "names no folder"),
        ("folder:a\0b", "names no folder"),
        ("hush", "is not a storage location"),
        ("/hush", "is not a storage location"),
        ("", "is not a storage location"),
        ("hush=1;b", "is not a storage location"),
        ("AccountName=acct;AccountKey=;hush", "is not a storage location"),
        ("AccountName=acct;EndpointSuffix=hush", "without a key"),
        (f"AccountKey={KEY}", "is not a storage location"),
        ("UseDevelopmentStorage=hush", "is not a storage location"),
        ("http://hush.blob.core.windows.net", "is not a storage location"),
        (f"{BLOB}/hush", "not the address of a blob service"),
        ("https://hush.example.com", "not the address of a blob service"),
        (f"{BLOB}/?sv=1&sig=hush", "contains a signature"),
        (f"{BLOB}#hush", "contains a signature"),
        ("https://hush@acct.blob.core.windows.net", "user name"),
        ("https://[hush", "unexpected character"),
        ("https://", "not an https address"),
    ],
)
def test_what_is_no_address_is_not_repeated(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        parse(text)
    assert "hush" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_hosts_whole_setting_wins() -> None:
    address = app_storage({"AzureWebJobsStorage": WHOLE, "AzureWebJobsStorage__accountName": "other"})
    assert address.connection_string == WHOLE
    assert address.setting == "AzureWebJobsStorage"


def test_the_hosts_identity_by_the_accounts_name() -> None:
    address = app_storage({"AzureWebJobsStorage__accountName": "acct", "OTHER": "x"})
    assert (address.blob, address.queue, address.table, address.client_id) == (
        BLOB,
        "https://acct.queue.core.windows.net",
        "https://acct.table.core.windows.net",
        None,
    )


def test_the_hosts_identity_by_service_and_without_case() -> None:
    address = app_storage(
        {
            "azurewebjobsstorage__BLOBSERVICEURI": "https://b.example.com/",
            "AZUREWEBJOBSSTORAGE__QUEUESERVICEURI": "https://q.example.com",
            "AzureWebJobsStorage__tableServiceUri": "https://t.example.com",
            "AzureWebJobsStorage__credential": "managedidentity",
            "AzureWebJobsStorage__clientId": "1234",
            "AzureWebJobsStorage": " ",
        }
    )
    assert (address.blob, address.queue, address.table) == (
        "https://b.example.com",
        "https://q.example.com",
        "https://t.example.com",
    )
    assert address.client_id == "1234"


def test_a_services_own_address_goes_before_the_accounts_name() -> None:
    address = app_storage(
        {"AzureWebJobsStorage__accountName": "acct", "AzureWebJobsStorage__queueServiceUri": "https://q.example.com"}
    )
    assert (address.blob, address.queue) == (BLOB, "https://q.example.com")


def test_tables_are_found_beside_blobs() -> None:
    """The host itself needs none, so that nobody sets their address for it."""
    address = app_storage(
        {
            "AzureWebJobsStorage__blobServiceUri": BLOB,
            "AzureWebJobsStorage__queueServiceUri": "https://acct.queue.core.windows.net",
        }
    )
    assert address.table == "https://acct.table.core.windows.net"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "is missing; set"),
        ({"AzureWebJobsStorage": "  "}, "is missing; set"),
        ({"AzureWebJobsStorage__blobServiceUri": BLOB}, "is missing; set"),
        ({"AzureWebJobsStorage__accountName": "hush/hush"}, "invalid account name"),
        ({"AzureWebJobsStorage__accountName": f"AccountKey={KEY}"}, "invalid account name"),
        ({"AzureWebJobsStorage__blobServiceUri": f"{BLOB}?sig=hush"}, "contains a signature"),
        ({"AzureWebJobsStorage__blobServiceUri": "http://hush.example.com"}, "not an https address"),
    ],
)
def test_the_hosts_setting_is_wrong(given: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        app_storage(given)
    assert "hush" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (WHOLE, "storage account acct"),
        (SIGNED, "the storage of a connection string"),
        ("UseDevelopmentStorage=true", "the storage emulator on this machine"),
        (BLOB, BLOB),
        ("folder:/a/b", "/a/b"),
        ("folder:mail", str(Path.cwd() / "mail")),
    ],
)
def test_what_is_shown_of_an_address_holds_no_key(text: str, shown: str) -> None:
    assert parse(text).display_name == shown


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("folder:./mail", "/base/mail"),
        ("folder:a/../mail", "/base/mail"),
        ("folder:../mail", "/mail"),
        ("folder:/a/mail", "/a/mail"),
    ],
)
def test_a_relative_folder_is_taken_below_another(text: str, path: str) -> None:
    assert parse(text).below(Path("/base")).folder == Path(path)


def test_an_account_has_nothing_relative() -> None:
    assert parse(BLOB).below(Path("/base")) == parse(BLOB)
