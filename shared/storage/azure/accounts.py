"""Clients for the services of a storage account. Creating one sends no request."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from azure.core.pipeline.transport import RequestsTransport
from azure.data.tables import TableClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from shared.errors import ConfigurationError
from shared.storage.azure.session import StorageSession
from shared.storage.location import StorageLocation

MAX_PARALLEL_REQUESTS = 16
"""Requests that the clients of one account send in parallel."""

BLOCK_SIZE = 4 * 1024 * 1024
"""Bytes of a large blob that are held and sent at a time."""

DOWNLOAD_SIZE = 1024 * 1024
"""Bytes to request at a time. The SDK's responses are reference cycles: several stay in memory until collected."""

RETRIES = 2
"""Retries of a request by the SDKs."""

MAX_RETRY_DELAY = 2.0
"""Seconds that an SDK waits before a retry, at most. A function's time is limited; a queue waits at no cost."""

STORAGE_RETRIES: dict[str, Any] = {
    # A delay is initial_backoff + increment_base ** n, plus or minus the jitter: about a second. The default is 15 s.
    "retry_total": RETRIES,
    "initial_backoff": 0,
    "increment_base": 1,
    "random_jitter_range": 1,
}

MAX_IDLE_CONNECTIONS = 4 * MAX_PARALLEL_REQUESTS
"""Idle connections to a host that are kept. The threads of the pools and of functions send at the same time."""

CONNECT_SECONDS = 20
READ_SECONDS = 60

_EMULATOR = "usedevelopmentstorage=true"

# The only account of the storage emulator. Its key is public (Azurite's documentation).
_DEVELOPMENT = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)

# The SDKs log every request at INFO, the level that a worker logs. urllib3 logs URLs with signatures at DEBUG.
for _logger in ("azure.core", "azure.data", "azure.storage", "urllib3"):
    logging.getLogger(_logger).setLevel(logging.WARNING)

# A failed sign-in would be logged as a dozen lines, for each request. `map_error` says the same in one.
logging.getLogger("azure.identity").setLevel(logging.ERROR)


class StorageAccount:
    """A storage account with its clients and threads.

    Args:
        location: the account's location, not a folder.

    Attributes:
        setting: the setting that names the account.
        is_emulator: whether the account is the storage emulator's, on this machine.
        pool: the threads for parallel requests.
        uploads: the threads for blobs that are created together; records must not wait for many megabytes.
    """

    def __init__(self, location: StorageLocation) -> None:
        self.setting = location.setting
        self.is_emulator = (location.connection_string or "").lower().startswith(_EMULATOR)
        self._location = location
        self._clients: list[Any] = []
        self.pool = ThreadPoolExecutor(MAX_PARALLEL_REQUESTS, thread_name_prefix="storage")
        self.uploads = ThreadPoolExecutor(MAX_PARALLEL_REQUESTS, thread_name_prefix="upload")
        # One for all clients: otherwise every table would need its own connections and TLS handshakes.
        self._transport = _Transport()

    def blobs(self) -> BlobServiceClient:
        """Return a client of the blob service."""
        client: BlobServiceClient = self._client(
            BlobServiceClient,
            self._location.blob,
            "blobServiceUri",
            max_single_get_size=DOWNLOAD_SIZE,
            max_chunk_get_size=DOWNLOAD_SIZE,
            **STORAGE_RETRIES,
        )
        return client

    def queues(self) -> QueueServiceClient:
        """Return a client of the queue service."""
        client: QueueServiceClient = self._client(
            QueueServiceClient, self._location.queue, "queueServiceUri", **STORAGE_RETRIES
        )
        return client

    def table(self, name: str) -> TableClient:
        """Return a client of a table."""
        # A client from TableServiceClient would sleep for the whole Retry-After.
        client: TableClient = self._client(
            TableClient,
            self._location.table,
            "tableServiceUri",
            table_name=name,
            retry_total=RETRIES,
            retry_backoff_factor=0.5,
        )
        return client

    def close(self) -> None:
        """End threads and connections."""
        self.pool.shutdown()
        self.uploads.shutdown()
        for client in self._clients:
            client.close()
        self._transport.close()

    def _client(self, client_class: Any, url: str | None, setting_part: str, **options: object) -> Any:
        connection_string = self._location.connection_string
        if connection_string is None and url is None:
            raise ConfigurationError(
                f"{self.setting}__{setting_part} is missing; set it, or set {self.setting}__accountName"
            )
        transport = self._transport
        try:
            if connection_string is not None:
                if self.is_emulator:
                    connection_string = _DEVELOPMENT
                client = client_class.from_connection_string(connection_string, transport=transport, **options)
            else:
                client = client_class(url, credential=self._credential, transport=transport, **options)
        except ValueError:
            # The SDKs' error messages quote the text that they could not parse, which may be a key.
            raise ConfigurationError(
                f"{self.setting} is not a complete storage address; copy it again from the Azure portal"
            ) from None
        self._clients.append(client)
        return client

    @cached_property
    def _credential(self) -> Any:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415  slow to import; connection strings need none

        # Without this argument AZURE_CLIENT_ID applies, as in other Azure applications.
        options = {"managed_identity_client_id": self._location.client_id} if self._location.client_id else {}
        credential = DefaultAzureCredential(**options)
        self._clients.append(credential)
        return credential


class _Transport(RequestsTransport):  # type: ignore[misc]  # the SDK gives this name no type
    """A transport with a connection for every parallel request, and without long sleeps."""

    def __init__(self) -> None:
        super().__init__(
            session=StorageSession(max_idle=MAX_IDLE_CONNECTIONS),
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            connection_data_block_size=256 * 1024,
        )

    def sleep(self, duration: float) -> None:
        """Wait before a retry, for a limited time. If the retries fail, the error carries the longer Retry-After."""
        super().sleep(min(duration, MAX_RETRY_DELAY))
