"""From an address to service clients, made when first asked for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from requests.adapters import HTTPAdapter

from shared.storage.addresses import StorageAddress

AT_ONCE = 16
"""Requests at once of one account's client."""

BLOCK = 4 * 1024 * 1024
"""Octets of a large blob that are held and sent at a time."""

# The one account of the storage emulator; its key is public (Azurite's documentation).
_DEVELOPMENT = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)


class Account:
    """A storage account's clients.

    Args:
        address: not a folder.
    """

    def __init__(self, address: StorageAddress) -> None:
        self.setting = address.setting
        self._address = address
        self.made: set[str] = set()
        self.making = threading.Lock()
        self._sessions: list[requests.Session] = []
        self.pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="storage")

    @cached_property
    def blobs(self) -> BlobServiceClient:
        """The blob service."""
        client: BlobServiceClient = self._client(
            BlobServiceClient,
            self._address.blob,
            max_block_size=BLOCK,
            max_single_put_size=BLOCK,
            max_chunk_get_size=BLOCK,
        )
        return client

    @cached_property
    def queues(self) -> QueueServiceClient:
        """The queue service."""
        client: QueueServiceClient = self._client(QueueServiceClient, self._address.queue)
        return client

    @cached_property
    def tables(self) -> TableServiceClient:
        """The table service."""
        address = self._address
        if address.connection_string is not None:
            return TableServiceClient.from_connection_string(self._connection_string, **self._options)
        assert address.table is not None
        return TableServiceClient(address.table, credential=self._credential, **self._options)

    def close(self) -> None:
        """End threads and connections."""
        self.pool.shutdown()
        for name in ("blobs", "queues", "tables"):
            if name in self.__dict__:
                self.__dict__[name].close()
        for session in self._sessions:
            session.close()

    def _client(self, kind: Any, url: str | None, **options: object) -> Any:
        if self._address.connection_string is not None:
            return kind.from_connection_string(self._connection_string, **self._options, **options)
        return kind(url, credential=self._credential, **self._options, **options)

    @property
    def _connection_string(self) -> str:
        text = self._address.connection_string or ""
        return _DEVELOPMENT if text.lower().startswith("usedevelopmentstorage=true") else text

    @cached_property
    def _credential(self) -> Any:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415  slow to import; connection strings need none

        return DefaultAzureCredential(managed_identity_client_id=self._address.client_id)

    @property
    def _options(self) -> dict[str, Any]:
        session = requests.Session()
        self._sessions.append(session)
        # One connection for each that may ask at once; requests keeps ten by default and throws others away.
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=2 * AT_ONCE)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return {
            "transport": RequestsTransport(session=session),
            "connection_timeout": 20,
            "read_timeout": 60,
            # Few and short: a function's time is bounded, and what is put back with a delay waits better.
            "retry_total": 3,
            "retry_backoff_factor": 0.4,
            "logging_enable": False,
        }
