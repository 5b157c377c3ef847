"""Leases as blob leases on tiny blobs in the app's own account: the service's clock ends them."""

from __future__ import annotations

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobLeaseClient

from shared.errors import LeaseLost
from shared.storage.azure.accounts import Account
from shared.storage.azure.errors import mapped
from shared.storage.azure.making import make_once

CONTAINER = "mailroom-leases"
NOT_OURS = frozenset({404, 409, 412})
"""Answers that say that a lease is somebody else's, ended, or never was."""


class AzureLeases:
    """Exclusive holds.

    Args:
        account: the app's own.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def acquire(self, name: str, seconds: int) -> str | None:
        """A token, or None if another holds the name."""
        with mapped(self._account.setting):
            blob = self._blob(name)
            lease = BlobLeaseClient(blob)
            try:
                try:
                    lease.acquire(seconds)
                except ResourceNotFoundError:
                    self._create(blob)
                    lease.acquire(seconds)
            except HttpResponseError as error:
                if error.status_code in NOT_OURS:
                    return None
                raise
            return str(lease.id)

    def renew(self, name: str, token: str) -> None:
        """Begin the seconds anew."""
        with mapped(self._account.setting):
            try:
                BlobLeaseClient(self._blob(name), token).renew()
            except HttpResponseError as error:
                if error.status_code in NOT_OURS:
                    raise LeaseLost(f"the lease on {name} is held by another, or ended") from None
                raise

    def release(self, name: str, token: str) -> None:
        """Give it up."""
        with mapped(self._account.setting):
            try:
                BlobLeaseClient(self._blob(name), token).release()
            except HttpResponseError as error:
                if error.status_code not in NOT_OURS:
                    raise

    @staticmethod
    def _create(blob: BlobClient) -> None:
        try:
            blob.upload_blob(b"", overwrite=False)
        except (ResourceExistsError, HttpResponseError) as error:
            # Another made it, and may hold it already.
            if getattr(error, "status_code", None) not in NOT_OURS:
                raise

    def _blob(self, name: str) -> BlobClient:
        container = self._account.blobs.get_container_client(CONTAINER)
        make_once(self._account, f"container {CONTAINER}", container.create_container)
        return container.get_blob_client(name)
