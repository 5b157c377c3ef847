"""Blobs in one container. Create-only is the service's own condition, `If-None-Match: *`."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Iterator
from email.utils import encode_rfc2231
from pathlib import Path
from typing import Any, BinaryIO

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobClient, ContentSettings

from shared.errors import WriteConflict
from shared.storage.azure.accounts import BLOCK, StorageAccount
from shared.storage.azure.errors import Service, code_of
from shared.storage.azure.lazy_create import LazyResource
from shared.storage.base import BlobVersion
from shared.storage.paths import checked_path

_THERE = frozenset({"BlobAlreadyExists", "ConditionNotMet", "LeaseIdMissing"})
"""Refusals that say that there is such a blob. Other conflicts (409) do not, and must not be taken for it."""

_NONE = frozenset({"BlobNotFound"})
"""The refusal that says that there is none. A container that is gone (404 too) says nothing about a blob."""

_UNCHANGED = 304
"""The status for a blob that still is of the version that we have (RFC 9110 section 15.4.5)."""

_CHANGED = frozenset({"ConditionNotMet"})


class AzureBlobs:
    """A container.

    Args:
        account: where it is.
        container: its name.
    """

    def __init__(self, account: StorageAccount, container: str) -> None:
        self._client = account.blobs().get_container_client(container)
        self._container = LazyResource(account.setting, Service.BLOB, self._client.create_container)

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:
        """Write a whole blob if there is none."""
        blob = self._client.get_blob_client(checked_path(path))
        settings = ContentSettings(content_type=content_type, content_disposition=_disposition(download_name))
        if isinstance(data, Path) and data.stat().st_size <= BLOCK:
            data = data.read_bytes()
        with self._container.used():
            try:
                if isinstance(data, bytes) and len(data) <= BLOCK:
                    blob.upload_blob(data, overwrite=False, content_settings=settings)
                    return True
                with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as source:
                    return _create_in_blocks(blob, source, settings)
            except HttpResponseError as error:
                if code_of(error) in _THERE:
                    return False
                raise

    def settle(self) -> None:
        """The service answers when it is durable."""

    def read(self, path: str) -> bytes | None:
        """The whole blob, or None."""
        target = io.BytesIO()
        return target.getvalue() if self.download(path, target) else None

    def download(self, path: str, target: BinaryIO) -> bool:
        """Stream a blob into an open file."""
        blob = self._client.get_blob_client(checked_path(path))
        with self._container.used():
            try:
                blob.download_blob().readinto(target)
            except HttpResponseError as error:
                if code_of(error) in _NONE:
                    return False
                raise
        return True

    def version(self, path: str, *, unless: str = "", most: int | None = None) -> BlobVersion | None:
        """The whole blob and its etag."""
        blob = self._client.get_blob_client(checked_path(path))
        condition: dict[str, Any] = {"etag": unless, "match_condition": MatchConditions.IfModified} if unless else {}
        part: dict[str, Any] = {} if most is None else {"offset": 0, "length": most}
        with self._container.used():
            try:
                found = blob.download_blob(**part, **condition)
                return BlobVersion(found.readall(), str(found.properties.etag))
            except HttpResponseError as error:
                if error.status_code == _UNCHANGED:
                    return BlobVersion(None, unless)
                if code_of(error) in _NONE:
                    return None
                raise

    def replace(self, path: str, data: bytes, *, etag: str, content_type: str) -> None:
        """Write a blob anew."""
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
                if code_of(error) in _CHANGED | _NONE:
                    raise WriteConflict(f"{path} was changed by another in between") from None
                raise

    def delete_many(self, paths: Iterable[str]) -> None:
        """Remove blobs."""
        with self._container.used():
            for path in paths:
                try:
                    # Its snapshots too: what is to be forgotten may have been kept by others' backups.
                    self._client.get_blob_client(checked_path(path)).delete_blob(delete_snapshots="include")
                except HttpResponseError as error:
                    if code_of(error) not in _NONE:
                        raise

    def exists(self, path: str) -> bool:
        """Whether there is such a blob."""
        blob = self._client.get_blob_client(checked_path(path))
        with self._container.used():
            return _exists(blob)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Paths in order."""
        with self._container.used():
            yield from self._client.list_blob_names(name_starts_with=prefix)


def _create_in_blocks(blob: BlobClient, source: BinaryIO, settings: ContentSettings) -> bool:
    """Send a large blob block by block; it exists, whole, when the list of its blocks is sent."""
    if _exists(blob):
        return False  # it would be found at the end, after many MB
    blocks = []
    while piece := source.read(BLOCK):
        # Never the name of another writer's block: the SDK's own are told by their offsets.
        blocks.append(BlobBlock(block_id=uuid.uuid4().hex))
        blob.stage_block(blocks[-1].id, piece, length=len(piece))
    try:
        blob.commit_block_list(blocks, content_settings=settings, match_condition=MatchConditions.IfMissing)
    except HttpResponseError as error:
        # Another's list made an end of our blocks.
        if code_of(error) == "InvalidBlockList" and _exists(blob):
            return False
        raise
    return True


def _exists(blob: BlobClient) -> bool:
    # The SDK's own `exists` says no as well when the container is gone.
    try:
        blob.get_blob_properties()
    except HttpResponseError as error:
        if code_of(error) in _NONE:
            return False
        raise
    return True


def _disposition(name: str | None) -> str | None:
    """`Content-Disposition` with a name of any characters (RFC 6266, RFC 8187)."""
    if name is None:
        return None
    whole = name.encode("utf-8", "replace").decode()  # lone surrogates have no octets
    return f"attachment; filename*={encode_rfc2231(whole, 'UTF-8')}"
