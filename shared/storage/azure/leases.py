"""Leases as blob leases on empty blobs in the app's own account. The service measures the time."""

from __future__ import annotations

from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, BlobLeaseClient

from shared.errors import LeaseLost
from shared.storage.azure.accounts import StorageAccount
from shared.storage.azure.errors import Service, error_code
from shared.storage.azure.lazy_create import LazyResource

CONTAINER = "mailroom-leases"

_HELD = frozenset({"LeaseAlreadyPresent", "LeaseIdMissing"})
"""Error codes: another client holds the lease."""

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
"""Error codes: the token does not hold the lease any more. No other error code implies that."""


_SHORT_TIMEOUTS: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 8, "retry_total": 0}
"""A renewal that hangs must leave time for another one before the lease ends. The caller retries."""


class AzureLeases:
    """Leases in a storage account.

    Args:
        account: the app's own account.
    """

    def __init__(self, account: StorageAccount) -> None:
        self._client = account.blobs().get_container_client(CONTAINER)
        self._container = LazyResource(
            account.setting, Service.BLOB, self._client.create_container, is_emulator=account.is_emulator
        )

    def acquire(self, name: str, seconds: int) -> str | None:
        """Return a token, or None if the lease is held."""
        blob = self._client.get_blob_client(name)
        # The client chooses the lease id. A retry after a lost response asks for the same id and succeeds.
        lease = BlobLeaseClient(blob)
        with self._container.used():
            try:
                try:
                    lease.acquire(seconds)
                except HttpResponseError as error:
                    if error_code(error) != "BlobNotFound":
                        raise
                    _create_blob(blob)
                    lease.acquire(seconds)
            except HttpResponseError as error:
                if error_code(error) in _HELD:
                    return None
                raise
        return str(lease.id)

    def renew(self, name: str, token: str) -> None:
        """Extend a lease by its full duration."""
        with self._container.used():
            try:
                BlobLeaseClient(self._client.get_blob_client(name), token).renew(**_SHORT_TIMEOUTS)
            except HttpResponseError as error:
                if error_code(error) in _LOST:
                    raise LeaseLost(f"the lease on {name} ended, or another worker holds it") from None
                raise

    def release(self, name: str, token: str) -> None:
        """End a lease, unless the token does not hold it any more."""
        with self._container.used():
            try:
                BlobLeaseClient(self._client.get_blob_client(name), token).release(**_SHORT_TIMEOUTS)
            except HttpResponseError as error:
                if error_code(error) not in _LOST:
                    raise


def _create_blob(blob: BlobClient) -> None:
    try:
        blob.upload_blob(b"", overwrite=False)
    except HttpResponseError as error:
        # Another worker created the blob a moment ago, and may hold its lease.
        if error_code(error) not in _HELD | {"BlobAlreadyExists"}:
            raise
