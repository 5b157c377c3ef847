"""Blobs in a container. The service enforces create-only with the condition `If-None-Match: *`."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Iterator, Sequence
from email.utils import encode_rfc2231
from pathlib import Path
from typing import Any, BinaryIO

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobClient, ContentSettings

from shared.errors import WriteConflict
from shared.parallel import run_each
from shared.storage.azure.accounts import BLOCK_SIZE, DOWNLOAD_SIZE, MAX_PARALLEL_REQUESTS, StorageAccount
from shared.storage.azure.blob_requests import BlobRequests
from shared.storage.azure.errors import Service, error_code
from shared.storage.azure.lazy_create import LazyResource
from shared.storage.base import BlobVersion, NewBlob, checked_path

_EXISTS = frozenset({"BlobAlreadyExists", "ConditionNotMet", "LeaseIdMissing"})
"""Error codes: the blob exists. Other conflicts (409) do not imply that."""

_MISSING = frozenset({"BlobNotFound"})
"""Error codes: the blob does not exist. The code of a missing container (also 404) does not imply that."""

_NOT_MODIFIED = 304
"""The status for a blob whose version the caller has (RFC 9110 section 15.4.5)."""

_MODIFIED = frozenset({"ConditionNotMet"})
"""Error codes: the blob has another etag."""


class AzureBlobs:
    """The blobs of a container.

    Args:
        account: the account that has the container.
        container: the container's name.
    """

    def __init__(self, account: StorageAccount, container: str) -> None:
        self._client = account.blobs().get_container_client(container)
        self._requests = BlobRequests(self._client)
        self._uploads = account.uploads
        self._container = LazyResource(
            account.setting, Service.BLOB, self._client.create_container, is_emulator=account.is_emulator
        )

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:
        """Create a blob as a whole, and return whether it was created."""
        checked_path(path)
        disposition = _disposition(download_name)
        if isinstance(data, Path) and data.stat().st_size <= BLOCK_SIZE:
            data = data.read_bytes()
        with self._container.used():
            try:
                if isinstance(data, bytes) and len(data) <= BLOCK_SIZE:
                    self._requests.create(path, data, content_type=content_type, disposition=disposition)
                    return True
                settings = ContentSettings(content_type=content_type, content_disposition=disposition)
                with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as source:
                    return _create_in_blocks(self._client.get_blob_client(path), source, settings)
            except HttpResponseError as error:
                if error_code(error) in _EXISTS:
                    return False
                raise

    def create_many(self, blobs: Sequence[NewBlob]) -> list[bool]:
        """Create blobs, several at once, and return for each whether it was created."""
        created = [False] * len(blobs)

        def create(number: int) -> None:
            blob = blobs[number]
            created[number] = self.create(
                blob.path, blob.data, content_type=blob.content_type, download_name=blob.download_name
            )

        run_each(self._uploads, MAX_PARALLEL_REQUESTS, create, range(len(blobs)))
        return created

    def flush(self) -> None:
        """Return at once: the service responds after a write is durable."""

    def read(self, path: str) -> bytes | None:
        """Return a blob's content, or None if the blob does not exist."""
        target = io.BytesIO()
        return target.getvalue() if self.download(path, target) else None

    def download(self, path: str, target: BinaryIO) -> bool:
        """Stream a blob into an open file, and return whether the blob exists."""
        checked_path(path)
        with self._container.used():
            try:
                start = self._requests.read_start(path, DOWNLOAD_SIZE)
                target.write(start.data)
                if not start.is_complete:
                    # If the blob is replaced in the meantime, this is an error, and a retry reads the new blob.
                    rest = self._client.get_blob_client(path).download_blob(
                        offset=len(start.data), etag=start.etag, match_condition=MatchConditions.IfNotModified
                    )
                    rest.readinto(target)
            except HttpResponseError as error:
                if error_code(error) in _MISSING:
                    return False
                raise
        return True

    def read_version(self, path: str, *, unless_etag: str = "", max_bytes: int | None = None) -> BlobVersion | None:
        """Return a blob's content and etag, or None if the blob does not exist."""
        blob = self._client.get_blob_client(checked_path(path))
        options: dict[str, Any] = {} if max_bytes is None else {"offset": 0, "length": max_bytes}
        if unless_etag:
            options |= {"etag": unless_etag, "match_condition": MatchConditions.IfModified}
        with self._container.used():
            try:
                download = blob.download_blob(**options)
                return BlobVersion(download.readall(), str(download.properties.etag))
            except HttpResponseError as error:
                if error.status_code == _NOT_MODIFIED:
                    return BlobVersion(None, unless_etag)
                if error_code(error) in _MISSING:
                    return None
                raise

    def replace(self, path: str, data: bytes, *, etag: str, content_type: str) -> None:
        """Replace a blob's content if the blob still has the given etag."""
        blob = self._client.get_blob_client(checked_path(path))
        with self._container.used():
            try:
                blob.upload_blob(
                    data,
                    overwrite=True,
                    etag=etag,
                    match_condition=MatchConditions.IfNotModified,
                    content_settings=ContentSettings(content_type=content_type),
                )
            except HttpResponseError as error:
                if error_code(error) in _MODIFIED | _MISSING:
                    raise WriteConflict(f"{path} was changed by another process") from None
                raise

    def delete_many(self, paths: Iterable[str]) -> None:
        """Delete blobs and their snapshots."""
        with self._container.used():
            for path in paths:
                try:
                    # A backup may have taken snapshots, which also contain the mail to erase.
                    self._client.get_blob_client(checked_path(path)).delete_blob(delete_snapshots="include")
                except HttpResponseError as error:
                    if error_code(error) not in _MISSING:
                        raise

    def exists(self, path: str) -> bool:
        """Return whether a blob exists."""
        blob = self._client.get_blob_client(checked_path(path))
        with self._container.used():
            return _exists(blob)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths that begin with `prefix`, sorted."""
        with self._container.used():
            yield from self._client.list_blob_names(name_starts_with=prefix)


def _create_in_blocks(blob: BlobClient, source: BinaryIO, settings: ContentSettings) -> bool:
    """Create a large blob from blocks. It exists, as a whole, after the list of its blocks is committed."""
    if _exists(blob):
        return False  # before many MB are sent for nothing
    blocks = []
    while piece := source.read(BLOCK_SIZE):
        # Unique ids: with the SDK's own, which are offsets, concurrent writers would overwrite each other's blocks.
        blocks.append(BlobBlock(block_id=uuid.uuid4().hex))
        blob.stage_block(blocks[-1].id, piece, length=len(piece))
    try:
        blob.commit_block_list(blocks, content_settings=settings, match_condition=MatchConditions.IfMissing)
    except HttpResponseError as error:
        # The commit of another writer's list discards all other uncommitted blocks.
        if error_code(error) == "InvalidBlockList" and _exists(blob):
            return False
        raise
    return True


def _exists(blob: BlobClient) -> bool:
    # The SDK's `exists` also returns False if the container does not exist.
    try:
        blob.get_blob_properties()
    except HttpResponseError as error:
        if error_code(error) in _MISSING:
            return False
        raise
    return True


def _disposition(name: str | None) -> str | None:
    """Return a `Content-Disposition` with a file name of any characters (RFC 6266, RFC 8187); None without a name."""
    if name is None:
        return None
    encodable = name.encode("utf-8", "replace").decode()  # UTF-8 cannot encode lone surrogates
    return f"attachment; filename*={encode_rfc2231(encodable, 'UTF-8')}"
