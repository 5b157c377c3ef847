"""Blobs in one container. Create-only is the service's own condition, `If-None-Match: *`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient, ContainerClient, ContentSettings

from shared.storage.azure.accounts import Account
from shared.storage.azure.errors import mapped
from shared.storage.azure.making import make_once


class AzureBlobs:
    """A container.

    Args:
        account: where it is.
        container: its name.
    """

    def __init__(self, account: Account, container: str) -> None:
        self._account = account
        self._container = container

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:
        """Write a whole blob if there is none."""
        settings = ContentSettings(content_type=content_type, content_disposition=_disposition(download_name))
        with mapped(self._account.setting):
            blob = self._blob(path)
            try:
                if isinstance(data, bytes):
                    blob.upload_blob(data, overwrite=False, content_settings=settings)
                else:
                    with data.open("rb") as file:
                        size = data.stat().st_size
                        blob.upload_blob(
                            file, length=size, overwrite=False, content_settings=settings, max_concurrency=1
                        )
            except ResourceExistsError:
                return False
        return True

    def settle(self) -> None:
        """The service answers when it is durable."""

    def read(self, path: str) -> bytes | None:
        """The whole blob, or None."""
        with mapped(self._account.setting):
            try:
                return self._blob(path).download_blob().readall()
            except ResourceNotFoundError:
                return None

    def download(self, path: str, target: BinaryIO) -> bool:
        """Stream a blob into an open file."""
        with mapped(self._account.setting):
            try:
                self._blob(path).download_blob().readinto(target)
            except ResourceNotFoundError:
                return False
        return True

    def exists(self, path: str) -> bool:
        """Whether there is such a blob."""
        with mapped(self._account.setting):
            return self._blob(path).exists()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Paths in order."""
        with mapped(self._account.setting):
            yield from self._client().list_blob_names(name_starts_with=prefix)

    def _blob(self, path: str) -> BlobClient:
        return self._client().get_blob_client(path)

    def _client(self) -> ContainerClient:
        client = self._account.blobs.get_container_client(self._container)
        make_once(self._account, f"container {self._container}", client.create_container)
        return client


def _disposition(name: str | None) -> str | None:
    """`Content-Disposition` with a name of any characters (RFC 6266, RFC 8187)."""
    return None if name is None else f"attachment; filename*=UTF-8''{quote(name, safe='')}"
