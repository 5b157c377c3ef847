"""Count the storage requests of a process, and send the same requests with nothing but the SDKs."""

from __future__ import annotations

import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

from azure.data.tables import TableClient
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from requests.adapters import HTTPAdapter


class Request(NamedTuple):
    """A request of a storage client.

    Attributes:
        kind: service and operation, such as `table insert`.
        size: bytes of its body.
        items: entities of a transaction, or messages to receive; otherwise 1.
    """

    kind: str
    size: int
    items: int = 1


class RequestLog:
    """The requests that a process sends.

    Args:
        connection_string: the account's; requests to other hosts are not logged.
    """

    def __init__(self, connection_string: str) -> None:
        fields = dict(part.split("=", 1) for part in connection_string.split(";") if part)
        self._services = {fields[f"{name}Endpoint"]: name.lower() for name in ("Blob", "Queue", "Table")}
        self._lock = threading.Lock()
        self.requests: list[Request] = []

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Log the requests that are sent within the context, retries included."""
        send = HTTPAdapter.send

        def logged(adapter: HTTPAdapter, request: Any, *args: Any, **kwargs: Any) -> Any:
            self._add(request.method, request.url, request.body or b"")
            return send(adapter, request, *args, **kwargs)

        with patch.object(HTTPAdapter, "send", logged):
            yield

    def _add(self, method: str, url: str, body: bytes) -> None:
        service = next((name for endpoint, name in self._services.items() if url.startswith(endpoint)), None)
        if service is not None:
            request = _classify(service, method, url, body)
            with self._lock:
                self.requests.append(request)

    def write(self, path: Path) -> None:
        """Write the requests to a file."""
        path.write_text(json.dumps(self.requests))


def read(path: Path) -> list[Request]:
    """Return the requests in a file."""
    return [Request(*fields) for fields in json.loads(path.read_text())]


def _classify(service: str, method: str, url: str, body: bytes) -> Request:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    size = len(body)
    if service == "blob":
        other = query.get("comp") == ["lease"] or "restype" in query
        return Request("other" if other else f"blob {method}", size)
    if service == "queue":
        count = int(query.get("numofmessages", ["1"])[0])
        return Request(f"queue {method}" if "/messages" in parts.path else "other", size, count)
    if parts.path.endswith("/$batch"):
        return Request("table transaction", size, body.count(b"application/http"))
    if parts.path.endswith("/Tables") or (method == "GET" and parts.path.endswith("()")):
        return Request("other", size)
    return Request(f"table {method}", size)


class Replay:
    """Sends requests of the same kinds, numbers and sizes with the SDKs' clients: the limit of SDKs and emulator.

    It sends each kind after the other, in no order that a message would need. Leases, scans and the creation of
    resources are left out: a poll sends them, and not a message.

    Args:
        connection_string: the account's.
        requests: the requests.
        threads: threads that send.

    Attributes:
        sent: the number of requests that were sent.
    """

    def __init__(self, connection_string: str, requests: Iterable[Request], threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self.sent = 0
        self._by_kind: dict[str, list[Request]] = defaultdict(list)
        for request in requests:
            self._by_kind[request.kind].append(request)
        self._container = ContainerClient.from_connection_string(connection_string, "bare")
        self._queue = QueueClient.from_connection_string(connection_string, "bare")
        self._table = TableClient.from_connection_string(connection_string, "bare")
        for create in (self._container.create_container, self._queue.create_queue, self._table.create_table):
            create()
        self._entities: list[tuple[str, str]] = []
        self._numbers = itertools.count()

    def run(self) -> None:
        """Send the requests."""
        blobs = itertools.cycle(range(max(1, len(self._by_kind["blob PUT"]))))
        self._each("blob PUT", lambda number, request: self._container.upload_blob(str(number), b"x" * request.size))
        self._each("blob GET", lambda _number, _request: self._blob(next(blobs)).download_blob().readall())
        self._each("blob HEAD", lambda _number, _request: self._blob(next(blobs)).get_blob_properties())
        self._each("table POST", self._insert)
        self._each("table transaction", self._transaction)
        entities = itertools.cycle(self._entities)
        self._each("table PATCH", lambda _number, request: self._merge(next(entities), request))
        self._each("table PUT", lambda _number, request: self._merge(next(entities), request))
        self._each("table GET", lambda _number, _request: self._table.get_entity(*next(entities)))
        self._each("table DELETE", lambda _number, _request: self._table.delete_entity(*next(entities)))
        self._each("queue POST", lambda _number, request: self._queue.send_message("x" * max(1, request.size - 60)))
        received = self._each("queue GET", lambda _number, request: self._receive(request.items))
        messages = itertools.cycle([message for batch in received for message in batch] or [None])
        self._each("queue DELETE", lambda _number, _request: self._delete(next(messages)))

    def _each(self, kind: str, send: Callable[[int, Request], Any]) -> list[Any]:
        results = list(self._pool.map(send, itertools.count(), self._by_kind[kind]))
        self.sent += len(results)
        return results

    def _blob(self, number: int) -> Any:
        return self._container.get_blob_client(str(number))

    def _new_entity(self, size: int) -> dict[str, Any]:
        number = next(self._numbers)
        return {"PartitionKey": f"{number % 256:02x}", "RowKey": f"{number:064x}", "data": "x" * max(1, size - 150)}

    def _insert(self, _number: int, request: Request) -> None:
        entity = self._new_entity(request.size)
        self._table.create_entity(entity)
        self._entities.append((entity["PartitionKey"], entity["RowKey"]))

    def _transaction(self, number: int, request: Request) -> None:
        size = request.size // request.items - 400
        entities = [self._new_entity(size) | {"PartitionKey": f"t{number}"} for _ in range(request.items)]
        self._table.submit_transaction([("create", entity) for entity in entities])

    def _merge(self, key: tuple[str, str], request: Request) -> None:
        self._table.upsert_entity({"PartitionKey": key[0], "RowKey": key[1], "more": "x" * max(1, request.size - 150)})

    def _receive(self, count: int) -> list[Any]:
        return list(self._queue.receive_messages(messages_per_page=count, max_messages=count, visibility_timeout=600))

    def _delete(self, message: Any) -> None:
        if message is not None:
            self._queue.delete_message(message)
