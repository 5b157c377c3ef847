"""Leases as blob leases on tiny blobs in the app's own account: the service's clock ends them."""

from __future__ import annotations

from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, BlobLeaseClient

from shared.errors import LeaseLost
from shared.storage.azure.accounts import StorageAccount
from shared.storage.azure.errors import Service, code_of
from shared.storage.azure.lazy_create import LazyResource

CONTAINER = "mailroom-leases"

_HELD = frozenset({"LeaseAlreadyPresent", "LeaseIdMissing"})
"""Another holds it."""

_LOST = frozenset(
    {
        "BlobNotFound",
        "LeaseAlreadyBroken",
        "LeaseIdMismatchWithLeaseOperation",
        "LeaseIsBrokenAndCannotBeRenewed",
        "LeaseIsBreakingAndCannotBeAcquired",
        "LeaseLost",
        "LeaseNotPresentWithLeaseOperation",
    }
)
"""Ours is no more. Any other refusal says nothing about it."""


_SHORT: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 8, "retry_total": 0}
"""A renewal that hangs must leave time for another before the lease ends; who renews tries again anyway."""


class AzureLeases:
    """Exclusive holds.

    Args:
        account: the app's own.
    """

    def __init__(self, account: StorageAccount) -> None:
        self._client = account.blobs().get_container_client(CONTAINER)
        self._container = LazyResource(account.setting, Service.BLOB, self._client.create_container)

    def acquire(self, name: str, seconds: int) -> str | None:
        """A token, or None if another holds the name."""
        blob = self._client.get_blob_client(name)
        # The lease's id is ours to choose: a retry whose first reply was lost asks for the same one, and gets it.
        lease = BlobLeaseClient(blob)
        with self._container.used():
            try:
                try:
                    lease.acquire(seconds)
                except HttpResponseError as error:
                    if code_of(error) != "BlobNotFound":
                        raise
                    _make(blob)
                    lease.acquire(seconds)
            except HttpResponseError as error:
                if code_of(error) in _HELD:
                    return None
                raise
        return str(lease.id)

    def renew(self, name: str, token: str) -> None:
        """Begin the seconds anew."""
        with self._container.used():
            try:
                BlobLeaseClient(self._client.get_blob_client(name), token).renew(**_SHORT)
            except HttpResponseError as error:
                if code_of(error) in _LOST:
                    raise LeaseLost(f"the lease on {name} is held by another, or ended") from None
                raise

    def release(self, name: str, token: str) -> None:
        """Give it up."""
        with self._container.used():
            try:
                BlobLeaseClient(self._client.get_blob_client(name), token).release(**_SHORT)
            except HttpResponseError as error:
                if code_of(error) not in _LOST:
                    raise


def _make(blob: BlobClient) -> None:
    try:
        blob.upload_blob(b"", overwrite=False)
    except HttpResponseError as error:
        # Another made it just now, and may hold it already.
        if code_of(error) not in _HELD | {"BlobAlreadyExists"}:
            raise
