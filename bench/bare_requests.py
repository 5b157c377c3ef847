"""Send logged requests with nothing but the SDKs' clients: the limit of the SDKs and of the emulator."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from azure.data.tables import TableClient
from azure.storage.blob import BlobClient, ContainerClient
from azure.storage.queue import QueueClient

from bench.storage_requests import Request

OVERHEAD: Final = 700
"""Bytes of an operation in a transaction of the SDK, without the entity's data."""

ENTITY_SIZE: Final = 1_500
"""Bytes of data in an entity that exists before the requests, about those of a receipt."""

MAX_DATA: Final = 30_000
"""Characters in a property, at most. The service's limit is 32 Ki."""

MAX_OPERATIONS: Final = 100
"""Operations in a transaction, at most."""

SETUP_PARTITION: Final = "setup"

Entity = dict[str, Any]


class Replay:
    """Sends requests of the same kinds, numbers and sizes as those in a log.

    It sends each kind after the other, in no order that a message would need. The requests of a poll are left out, and
    checks of an empty queue. Entities that the requests read, change or delete are created beforehand.

    Args:
        connection_string: the account's.
        requests: the requests.
        threads: threads that send.

    Attributes:
        sent: the requests that were sent.
    """

    def __init__(self, connection_string: str, requests: Iterable[Request], threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self.sent: list[Request] = []
        self._by_kind: dict[str, list[Request]] = defaultdict(list)
        for request in requests:
            self._by_kind[request.kind].append(request)
        self._container = ContainerClient.from_connection_string(connection_string, "bare")
        self._queue = QueueClient.from_connection_string(connection_string, "bare")
        self._table = TableClient.from_connection_string(connection_string, "bare")
        for create in (self._container.create_container, self._queue.create_queue, self._table.create_table):
            create()
        self._numbers = itertools.count()
        self._uploads: list[tuple[int, str]] = []
        self._existing: Iterator[Entity] = iter(())
        self._prepare()

    def _prepare(self) -> None:
        """Create the entities that the requests read, change or delete."""
        singles = sum(len(self._by_kind[f"table {method}"]) for method in ("GET", "PATCH", "PUT", "DELETE"))
        queried = max((request.items for request in self._by_kind["table query"]), default=0)
        self._existing = iter(self._create(SETUP_PARTITION, max(singles, queried)))
        self._changed = [
            self._create(f"t{number}", request.changes + request.deletes)
            for number, request in enumerate(self._by_kind["table transaction"])
        ]

    def run(self) -> None:
        """Send the requests."""
        self._each("blob PUT", self._upload)
        self._each("blob GET", lambda _number, request: self._uploaded(request.size).download_blob().readall())
        self._each("blob HEAD", lambda _number, _request: self._uploaded(0).get_blob_properties())
        self._each("table POST", lambda _, request: self._table.create_entity(self._entity("new", request.size - 150)))
        self._each("table transaction", self._transaction)
        self._each("table query", lambda _number, request: self._query(request.items))
        for kind in ("table PATCH", "table PUT"):
            self._each(kind, lambda _number, request: self._merge(next(self._existing), request.size))
        self._each("table GET", lambda _number, _request: self._table.get_entity(*_key(next(self._existing))))
        self._each("table DELETE", lambda _number, _request: self._table.delete_entity(*_key(next(self._existing))))
        self._each("queue POST", lambda _number, request: self._queue.send_message("x" * max(1, request.size - 60)))
        received = self._each("queue GET", lambda _number, request: self._receive(request.items))
        messages = iter([message for batch in received for message in batch])
        self._each("queue DELETE", lambda _number, _request: self._delete(next(messages, None)))

    def _each(self, kind: str, send: Callable[[int, Request], Any]) -> list[Any]:
        requests = self._by_kind[kind]
        results = list(self._pool.map(send, itertools.count(), requests))
        self.sent += requests
        return results

    def _upload(self, number: int, request: Request) -> None:
        self._container.upload_blob(str(number), b"x" * request.size)
        self._uploads.append((request.size, str(number)))

    def _uploaded(self, size: int) -> BlobClient:
        """Return the uploaded blob whose size is the nearest."""
        return self._container.get_blob_client(min(self._uploads, key=lambda upload: abs(upload[0] - size))[1])

    def _entity(self, partition: str, size: int) -> Entity:
        data = "x" * min(max(1, size), MAX_DATA)
        return {"PartitionKey": partition, "RowKey": f"{next(self._numbers):064x}", "data": data}

    def _create(self, partition: str, count: int) -> list[Entity]:
        entities = [self._entity(partition, ENTITY_SIZE) for _ in range(count)]
        for start in range(0, count, MAX_OPERATIONS):
            batch = entities[start : start + MAX_OPERATIONS]
            self._table.submit_transaction([("create", entity) for entity in batch])
        return entities

    def _transaction(self, number: int, request: Request) -> None:
        existing = self._changed[number]
        size = (request.size - OVERHEAD * request.items) // max(1, request.items - request.deletes)
        created = [self._entity(f"t{number}", size) for _ in range(request.items - len(existing))]
        data = "x" * min(max(1, size), MAX_DATA)
        self._table.submit_transaction(
            [
                *(("create", entity) for entity in created),
                *(("update", {**entity, "data": data}) for entity in existing[: request.changes]),
                *(("delete", entity) for entity in existing[request.changes :]),
            ]
        )

    def _query(self, count: int) -> Sequence[Any]:
        """Read `count` entities of the setup's partition with one request."""
        pages = self._table.query_entities(f"PartitionKey eq '{SETUP_PARTITION}'", results_per_page=max(1, count))
        return list(next(iter(pages.by_page())))

    def _merge(self, entity: Entity, size: int) -> None:
        partition, row = _key(entity)
        more = "x" * min(max(1, size - 150), MAX_DATA)
        self._table.upsert_entity({"PartitionKey": partition, "RowKey": row, "more": more})

    def _receive(self, count: int) -> list[Any]:
        return list(self._queue.receive_messages(messages_per_page=count, max_messages=count, visibility_timeout=600))

    def _delete(self, message: Any) -> None:
        if message is not None:  # None: the log has more deletes than received messages
            self._queue.delete_message(message)


def _key(entity: Entity) -> tuple[str, str]:
    return entity["PartitionKey"], entity["RowKey"]
