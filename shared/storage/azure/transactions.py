"""Entity group transactions: change several entities of one partition with one request.

`TableClient.submit_transaction` does the same. It builds each part of the request with the `email` package in threads
of its own, and parses the response likewise: with two entities, that takes more processor time than two requests. Here
the request is plain text, in the format of Microsoft's page "Performing entity group transactions".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableClient

from shared.storage.azure.entities import partition_key, row_key, to_json
from shared.storage.azure.errors import EXISTS, MISSING, MODIFIED
from shared.storage.azure.table_requests import endpoint_of, send
from shared.storage.base import Change, Create, Delete, Replace

ACCEPTED: Final = 202
"""The status of a transaction that was executed. Its parts have the status of each operation."""

_FIRST_ERROR: Final = b"400"

_STATUS_LINE: Final = b"\nHTTP/1.1 "
"""The beginning of a part's status line. It is in no header and, as JSON, in no error message."""

_CODE = re.compile(rb'"code"\s*:\s*"(\w+)"')


def submit(client: TableClient, changes: Sequence[Change]) -> bool:
    """Make all changes or none, and return whether they were made: False if an entity is not as its change requires.

    Args:
        client: the client of the table.
        changes: up to 100 changes of different entities in one partition.

    Raises:
        HttpResponseError: nothing was changed, unless this very transaction took effect and its reply was lost.
    """
    endpoint = endpoint_of(client)
    boundary, change_set = f"batch_{uuid4()}", f"changeset_{uuid4()}"
    headers = {"Content-Type": f"multipart/mixed; boundary={boundary}", "Accept": "application/json"}
    body = _to_body(f"{endpoint}/{client.table_name}", changes, boundary, change_set)
    response = send(client, "POST", f"{endpoint}/$batch", headers, body)
    content = response.content
    statuses = [part[:3] for part in content.split(_STATUS_LINE)[1:]] if response.status_code == ACCEPTED else []
    if len(statuses) == len(changes) and max(statuses) < _FIRST_ERROR:
        return True
    error: Any = HttpResponseError(response=response)
    failed = [int(status) for status in statuses if status.isdigit()]
    if failed:
        match = _CODE.search(content)
        code = match[1].decode() if match is not None else ""
        if code in EXISTS | MISSING | MODIFIED:
            # Also after a lost reply, if the transaction took effect: the SDK sent it again.
            return False
        error.status_code = max(failed)
        error.error_code = code
    raise error


def _to_body(url: str, changes: Sequence[Change], boundary: str, change_set: str) -> bytes:
    parts = [
        f"--{change_set}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
        f"Content-ID: {number}\r\n\r\n{_to_request(url, change)}\r\n"
        for number, change in enumerate(changes)
    ]
    head = f"--{boundary}\r\nContent-Type: multipart/mixed; boundary={change_set}\r\n\r\n"
    return f"{head}{''.join(parts)}--{change_set}--\r\n--{boundary}--\r\n".encode("ascii")


_HEADERS: Final = "Accept: application/json;odata=minimalmetadata\r\nDataServiceVersion: 3.0\r\n"


def _to_request(url: str, change: Change) -> str:
    """Return the request that makes a change alone."""
    partition, row = partition_key(change.table, change.key), row_key(change.table, change.key)
    entity = f"{url}(PartitionKey='{partition}',RowKey='{row}')"
    if isinstance(change, Delete):
        return f"DELETE {entity} HTTP/1.1\r\nIf-Match: {change.etag or '*'}\r\n{_HEADERS}\r\n"
    if isinstance(change, Create):
        head = f"POST {url} HTTP/1.1\r\nPrefer: return-no-content\r\n"
    else:
        method = "PUT" if isinstance(change, Replace) else "PATCH"
        # Without If-Match, an entity that does not exist is created (Insert Or Merge Entity).
        condition = "" if change.etag is None else f"If-Match: {change.etag}\r\n"
        head = f"{method} {entity} HTTP/1.1\r\n{condition}"
    # ASCII, so that no text can be taken for a boundary or a line.
    content = json.dumps(to_json(partition, row, change.values))
    return f"{head}Content-Type: application/json\r\n{_HEADERS}\r\n{content}"
