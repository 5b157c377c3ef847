"""Log the storage requests of a process, and count them by service."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

GROUPS: Final = ("blob writes", "blob reads", "table", "queue", "other")
"""Groups of requests. A poll sends the others, and not a message: leases, scans and the creation of resources."""

_OPERATION = re.compile(rb"^(POST|PUT|PATCH|MERGE|DELETE) http", re.MULTILINE)
"""The request line of an operation in a transaction."""


class Request(NamedTuple):
    """A request of a storage client.

    Attributes:
        kind: service and operation, such as `table POST`.
        size: bytes of its body, or of the response to a blob GET.
        items: operations of a transaction, messages received, or entities of a query; otherwise 1.
        changes: operations of a transaction that change an existing entity.
        deletes: operations of a transaction that delete an entity. The others create one.
    """

    kind: str
    size: int
    items: int = 1
    changes: int = 0
    deletes: int = 0


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
        """Log the requests that are answered within the context, retries included."""
        send = HTTPAdapter.send

        def logged(adapter: HTTPAdapter, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            response = send(adapter, request, *args, **kwargs)
            self._add(request, response)
            return response

        with patch.object(HTTPAdapter, "send", logged):
            yield

    def _add(self, request: PreparedRequest, response: Response) -> None:
        url = request.url or ""
        service = next((name for endpoint, name in self._services.items() if url.startswith(endpoint)), None)
        if service is not None:
            classified = _CLASSIFY[service](request.method or "", url, request.body or b"", response)
            with self._lock:
                self.requests.append(classified)

    def write(self, path: Path) -> None:
        """Write the requests to a file."""
        path.write_text(json.dumps(self.requests))


def read(path: Path) -> list[Request]:
    """Return the requests in a file."""
    return [Request(*fields) for fields in json.loads(path.read_text())]


def count_groups(requests: Iterable[Request]) -> dict[str, float]:
    """Return the number of requests by group, and that of all `requests`."""
    counts = Counter(group_of(request.kind) for request in requests)
    return {"requests": counts.total(), **{group: counts[group] for group in GROUPS}}


def group_of(kind: str) -> str:
    """Return the group of a kind of requests."""
    service, _, operation = kind.partition(" ")
    if service == "blob":
        return "blob reads" if operation in {"GET", "HEAD"} else "blob writes"
    return service if service in GROUPS else "other"


def _classify_blob(method: str, url: str, body: Any, response: Response) -> Request:
    query = parse_qs(urlsplit(url).query)
    if query.get("comp") == ["lease"] or "restype" in query:
        return Request("other", len(body))
    size = int(response.headers.get("Content-Length", 0)) if method == "GET" else len(body)
    return Request(f"blob {method}", size)


def _classify_queue(method: str, url: str, body: Any, response: Response) -> Request:
    if "/messages" not in urlsplit(url).path:
        return Request("other", len(body))
    if method != "GET":
        return Request(f"queue {method}", len(body))
    received = response.content.count(b"<MessageId>")
    return Request("queue GET" if received else "queue check", 0, received)


def _classify_table(method: str, url: str, body: Any, response: Response) -> Request:
    parts = urlsplit(url)
    if parts.path.endswith("/$batch"):
        operations = Counter(_OPERATION.findall(body))
        deletes = operations[b"DELETE"]
        changes = operations.total() - operations[b"POST"] - deletes
        return Request("table transaction", len(body), operations.total(), changes, deletes)
    if method == "GET" and parts.path.endswith("()"):
        is_range = "RowKey" in parse_qs(parts.query).get("$filter", [""])[0]
        return Request("table query" if is_range else "other", 0, response.content.count(b'"RowKey"'))
    return Request("other" if parts.path.endswith("/Tables") else f"table {method}", len(body))


_CLASSIFY: Final = {"blob": _classify_blob, "queue": _classify_queue, "table": _classify_table}
