"""Requests for small blobs are those of the SDK's client, and downloads are complete or fail."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    BlobServiceClient,
    ContentSettings,
    ResourceTypes,
    generate_account_sas,
)

from shared.errors import TransientError
from shared.storage.azure.accounts import BLOCK_SIZE, DOWNLOAD_SIZE, RETRIES, StorageAccount
from shared.storage.azure.blob_requests import BlobRequests
from shared.storage.azure.blobs import AzureBlobs
from shared.storage.location import StorageLocation
from tests.servers.answering import account_at, endpoints_at
from tests.servers.azurite import KEY
from tests.servers.http import AnyMethod, serving
from tests.servers.recording import recording

VARYING = {"authorization", "x-ms-client-request-id", "x-ms-date"}
"""Headers that differ between two requests of the same kind."""

PATH = "a b/é+,~'(x)%20#?.json"
TYPE = "application/json"


def signed(port: int) -> str:
    """Return the connection string of an account whose credential is a shared access signature."""
    permission, hour = AccountSasPermissions(read=True, write=True, create=True), timedelta(hours=1)
    resources = ResourceTypes(service=True, container=True, object=True)
    signature = generate_account_sas("some", KEY, resources, permission, datetime.now(UTC) + hour)
    return f"AccountName=some;SharedAccessSignature={signature};{endpoints_at(port)}"


@pytest.fixture
def blobs(azure_storage: str) -> Iterator[AzureBlobs]:
    yield from opened(azure_storage)


def opened(connection_string: str) -> Iterator[AzureBlobs]:
    """Yield the blobs of the container `mail`."""
    account = StorageAccount(StorageLocation.parse(connection_string, setting="MAIL_STORAGE"))
    yield AzureBlobs(account, "mail")
    account.close()


@pytest.mark.parametrize("connection_string", [account_at, signed], ids=["key", "signature"])
def test_a_request_is_that_of_the_sdk(connection_string: Callable[[int], str]) -> None:
    disposition = "attachment; filename*=UTF-8''m%20%C3%A9.json"
    settings = ContentSettings(content_type=TYPE, content_disposition=disposition)
    with recording() as (port, received):
        account = connection_string(port)
        with BlobServiceClient.from_connection_string(account, max_single_get_size=DOWNLOAD_SIZE) as client:
            blob = client.get_blob_client("mail", PATH)
            blob.upload_blob(b"xyz", overwrite=False, content_settings=settings)
            with pytest.raises(Exception, match=r"."):  # the server's response is that to an upload
                blob.download_blob()
        for mailroom in opened(account):
            mailroom.create("first/use", b"", content_type=TYPE)
            del received.requests[2:]
            assert mailroom.create(PATH, b"xyz", content_type=TYPE, download_name="m é.json")
            with pytest.raises(TransientError):
                mailroom.read(PATH)
    requests = [
        (line, [header for header in headers if header[0].lower() not in VARYING], body)
        for line, headers, body in received.requests
    ]
    assert requests[2:] == requests[:2]
    assert len(requests) == 4
    assert ("sig=" in requests[2][0]) == (connection_string is signed)


@pytest.mark.parametrize("size", [0, 1, DOWNLOAD_SIZE, DOWNLOAD_SIZE + 1, 3 * DOWNLOAD_SIZE, BLOCK_SIZE + 1])
def test_a_blob_is_read_as_a_whole(blobs: AzureBlobs, size: int, tmp_path: Path) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    blobs.create("a/1", content, content_type=TYPE)
    assert blobs.read("a/1") == content
    target = tmp_path / "target"
    with target.open("wb") as file:
        assert blobs.download("a/1", file)
    assert target.read_bytes() == content


@pytest.mark.parametrize("content_type", ["application/json", "text/xml", "application/xml; charset=utf-16"])
def test_content_is_not_decoded(blobs: AzureBlobs, content_type: str) -> None:
    blobs.create("a/1", b"\xff{<", content_type=content_type)
    assert blobs.read("a/1") == b"\xff{<"


def test_a_blob_that_is_replaced_while_it_is_read_is_not_a_mixture(
    blobs: AzureBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs.create("a/1", b"x" * (DOWNLOAD_SIZE + 1), content_type=TYPE)
    version = blobs.read_version("a/1", max_bytes=1)
    assert version is not None
    read_start = BlobRequests.read_start

    def read_and_replace(requests: BlobRequests, path: str, size: int) -> object:
        start = read_start(requests, path, size)
        blobs.replace("a/1", b"y" * (DOWNLOAD_SIZE + 1), etag=version.etag, content_type=TYPE)
        return start

    monkeypatch.setattr(BlobRequests, "read_start", read_and_replace)
    with pytest.raises(TransientError, match="ConditionNotMet"):
        blobs.download("a/1", io.BytesIO())
    monkeypatch.undo()
    assert blobs.read("a/1") == b"y" * (DOWNLOAD_SIZE + 1)


@pytest.mark.parametrize("cut", [1, RETRIES, RETRIES + 1])
def test_a_cut_response_is_requested_again(cut: int) -> None:
    requests: list[str] = []

    class Handler(AnyMethod):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(201 if self.command == "PUT" else 206)
            content = b"" if self.command == "PUT" else b"0123456789"
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if self.command == "GET":
                requests.append(self.path)
                is_cut = len(requests) <= cut
                self.wfile.write(content[:5] if is_cut else content)
                self.close_connection = is_cut

    with serving(Handler) as port:
        for blobs in opened(account_at(port)):
            if cut > RETRIES:
                with pytest.raises(TransientError):
                    blobs.read("a/1")
            else:
                assert blobs.read("a/1") == b"0123456789"
    assert len(requests) == min(cut, RETRIES) + 1
