"""The forms of a storage location, and errors that do not repeat secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.storage.location import StorageLocation, app_storage

KEY = "aHVzaC1odXNoLWh1c2g="
COMPLETE = f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.windows.net"
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
    "text",
    [COMPLETE, SIGNED, COMPLETE + ";", "UseDevelopmentStorage=true", "usedevelopmentstorage=True;", COMPLETE.lower()],
)
def test_a_connection_string_is_kept_and_not_shown(text: str) -> None:
    location = parse(f" {text} ")
    assert location.connection_string == text
    assert "hush" not in repr(location)
    assert KEY not in f"{location!r} {location!s} {[location]}"


@pytest.mark.parametrize("text", [BLOB, BLOB + "/", "HTTPS://acct.blob.core.windows.net", " " + BLOB + " "])
def test_an_account_by_its_blob_service(text: str) -> None:
    location = parse(text)
    assert location.blob == BLOB
    assert location.queue == "https://acct.queue.core.windows.net"
    assert location.table == "https://acct.table.core.windows.net"


def test_another_cloud_has_another_suffix() -> None:
    assert parse("https://acct.blob.core.chinacloudapi.cn").table == "https://acct.table.core.chinacloudapi.cn"


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_an_error_does_not_repeat_the_invalid_text(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(text)
    assert "hush" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_hosts_setting_has_priority() -> None:
    location = app_storage({"AzureWebJobsStorage": COMPLETE, "AzureWebJobsStorage__accountName": "other"})
    assert location.connection_string == COMPLETE
    assert location.setting == "AzureWebJobsStorage"


def test_an_identity_with_the_name_of_the_account() -> None:
    location = app_storage({"AzureWebJobsStorage__accountName": "acct", "OTHER": "x"})
    assert (location.blob, location.queue, location.table, location.client_id) == (
        BLOB,
        "https://acct.queue.core.windows.net",
        "https://acct.table.core.windows.net",
        None,
    )


def test_an_identity_with_service_uris_case_insensitively() -> None:
    location = app_storage(
        {
            "azurewebjobsstorage__BLOBSERVICEURI": "https://b.example.com/",
            "AZUREWEBJOBSSTORAGE__QUEUESERVICEURI": "https://q.example.com",
            "AzureWebJobsStorage__tableServiceUri": "https://t.example.com",
            "AzureWebJobsStorage__credential": "managedidentity",
            "AzureWebJobsStorage__clientId": "1234",
            "AzureWebJobsStorage": " ",
        }
    )
    assert (location.blob, location.queue, location.table) == (
        "https://b.example.com",
        "https://q.example.com",
        "https://t.example.com",
    )
    assert location.client_id == "1234"


def test_a_service_uri_has_priority_over_the_name_of_the_account() -> None:
    location = app_storage(
        {"AzureWebJobsStorage__accountName": "acct", "AzureWebJobsStorage__queueServiceUri": "https://q.example.com"}
    )
    assert (location.blob, location.queue) == (BLOB, "https://q.example.com")


def test_the_table_service_is_derived_from_the_blob_service() -> None:
    """The Functions host needs no tables, so its settings usually lack them."""
    location = app_storage(
        {
            "AzureWebJobsStorage__blobServiceUri": BLOB,
            "AzureWebJobsStorage__queueServiceUri": "https://acct.queue.core.windows.net",
        }
    )
    assert location.table == "https://acct.table.core.windows.net"


@pytest.mark.parametrize(
    ("environment", "message"),
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
def test_an_invalid_setting_of_the_host(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        app_storage(environment)
    assert "hush" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "display_name"),
    [
        (COMPLETE, "storage account acct"),
        (SIGNED, "the storage of a connection string"),
        ("UseDevelopmentStorage=true", "the storage emulator on this machine"),
        (BLOB, BLOB),
        ("folder:/a/b", "/a/b"),
        ("folder:mail", str(Path.cwd() / "mail")),
    ],
)
def test_the_display_name_contains_no_key(text: str, display_name: str) -> None:
    assert parse(text).display_name == display_name


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("folder:./mail", "/base/mail"),
        ("folder:a/../mail", "/base/mail"),
        ("folder:../mail", "/mail"),
        ("folder:/a/mail", "/a/mail"),
    ],
)
def test_a_relative_folder_is_resolved_against_another_folder(text: str, path: str) -> None:
    assert parse(text).resolve_against(Path("/base")).folder == Path(path)


def test_an_account_has_no_relative_part() -> None:
    assert parse(BLOB).resolve_against(Path("/base")) == parse(BLOB)
