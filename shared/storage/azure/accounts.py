"""From an address to the services' clients. The network is not asked here."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.data.tables import TableClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from requests.adapters import HTTPAdapter

from shared.errors import ConfigurationError
from shared.storage.location import StorageLocation

AT_ONCE = 16
"""Requests at once of one account's clients."""

BLOCK = 4 * 1024 * 1024
"""Octets of a large blob that are held and sent at a time."""

GET = 1024 * 1024
"""Octets that are asked for at a time. The SDK's answers go in cycles of objects: several are held until collected."""

RETRIES = 2
"""How often the SDKs try again by themselves."""

LONGEST_PAUSE = 2.0
"""Seconds that they wait before they do, at most. A function's time is bounded; what is put back waits better."""

STORAGE_RETRIES: dict[str, Any] = {
    # About a second each: initial_backoff + increment_base ** n, give or take the jitter. The SDK's own is 15 and more.
    "retry_total": RETRIES,
    "initial_backoff": 0,
    "increment_base": 1,
    "random_jitter_range": 1,
}

CONNECT_SECONDS = 20
READ_SECONDS = 60

# The one account of the storage emulator; its key is public (Azurite's documentation).
_DEVELOPMENT = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)

# They tell every request at INFO, which is what a worker logs, and urllib3 at DEBUG with signatures in the addresses.
for _noisy in ("azure.core", "azure.data", "azure.identity", "azure.storage", "urllib3"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)


class StorageAccount:
    """A storage account's clients.

    Args:
        address: not a folder.
    """

    def __init__(self, address: StorageLocation) -> None:
        self.setting = address.setting
        self._address = address
        self._clients: list[Any] = []
        self.pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="storage")

    def blobs(self) -> BlobServiceClient:
        """A client of the blob service."""
        client: BlobServiceClient = self._client(
            BlobServiceClient,
            self._address.blob,
            "blobServiceUri",
            max_single_get_size=GET,
            max_chunk_get_size=GET,
            **STORAGE_RETRIES,
        )
        return client

    def queues(self) -> QueueServiceClient:
        """A client of the queue service."""
        client: QueueServiceClient = self._client(
            QueueServiceClient, self._address.queue, "queueServiceUri", **STORAGE_RETRIES
        )
        return client

    def table(self, name: str) -> TableClient:
        """A client of one table."""
        # Not by way of the service's client, whose tables sleep as long as a Retry-After says.
        client: TableClient = self._client(
            TableClient,
            self._address.table,
            "tableServiceUri",
            table_name=name,
            retry_total=RETRIES,
            retry_backoff_factor=0.5,
        )
        return client

    def close(self) -> None:
        """End threads and connections."""
        self.pool.shutdown()
        for client in self._clients:
            client.close()

    def _client(self, kind: Any, url: str | None, part: str, **options: object) -> Any:
        whole = self._address.connection_string
        if whole is None and url is None:
            raise ConfigurationError(f"{self.setting}__{part} is missing; set it, or {self.setting}__accountName")
        transport = _Transport()
        try:
            if whole is not None:
                whole = _DEVELOPMENT if whole.lower().startswith("usedevelopmentstorage=true") else whole
                client = kind.from_connection_string(whole, transport=transport, **options)
            else:
                client = kind(url, credential=self._credential, transport=transport, **options)
        except ValueError:
            # The SDKs' texts quote what they could not read, which may be a key.
            transport.close()
            raise ConfigurationError(
                f"{self.setting} is no complete address; copy it anew from the Azure portal"
            ) from None
        self._clients.append(client)
        return client

    @cached_property
    def _credential(self) -> Any:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415  slow to import; connection strings need none

        # Left out when it is not set: then AZURE_CLIENT_ID counts, as everywhere.
        given = {"managed_identity_client_id": self._address.client_id} if self._address.client_id else {}
        credential = DefaultAzureCredential(**given)
        self._clients.append(credential)
        return credential


class _Transport(RequestsTransport):  # type: ignore[misc]  # the SDK gives this name no type
    """Connections enough for all that may ask at once, and no long sleeps."""

    def __init__(self) -> None:
        session = requests.Session()
        # requests keeps ten connections by default, and throws those beyond away.
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=2 * AT_ONCE)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        super().__init__(
            session=session,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            connection_data_block_size=256 * 1024,
        )

    def sleep(self, duration: float) -> None:
        """Wait before a retry. A longer Retry-After goes to our caller, with the error, if the retries do not help."""
        super().sleep(min(duration, LONGEST_PAUSE))
