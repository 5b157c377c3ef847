"""Entity group transactions: change several entities of one partition with one request.

`TableClient.submit_transaction` does the same. It builds each part of the request with the `email` package in threads
of its own, and parses the response likewise: with two entities, that takes more processor time than two requests. Here
the request is plain text, in the format of Microsoft's page "Performing entity group transactions". It is sent through
the client's pipeline, which signs it and retries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.data.tables import TableClient

from shared.storage.azure.entities import partition_key, row_key, split_text
from shared.storage.azure.errors import EXISTS, MISSING, MODIFIED
from shared.storage.base import Change, Create, Delete, Replace

ACCEPTED: Final = 202
"""The status of a transaction that was executed. Its parts have the status of each operation."""

FIRST_ERROR: Final = 400

_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)
_CODE = re.compile(rb'"code"\s*:\s*"(\w+)"')


def submit(client: TableClient, changes: Sequence[Change]) -> bool:
    """Make all changes or none, and return whether they were made: False if an entity is not as its change requires.

    Args:
        client: the client of the table.
        changes: up to 100 changes of different entities in one partition.

    Raises:
        HttpResponseError: nothing was changed, unless this very transaction took effect and its reply was lost.
    """
    endpoint = client.url.partition("?")[0].rstrip("/")
    boundary, change_set = f"batch_{uuid4()}", f"changeset_{uuid4()}"
    request = HttpRequest(
        "POST",
        f"{endpoint}/$batch",
        headers={
            "x-ms-version": client.api_version,
            "DataServiceVersion": "3.0",
            "MaxDataServiceVersion": "3.0;NetFx",
            "Content-Type": f"multipart/mixed; boundary={boundary}",
            "Accept": "application/json",
        },
        content=_to_body(f"{endpoint}/{client.table_name}", changes, boundary, change_set),
    )
    # As a stream, since the pipeline cannot decode this content type. The pipeline has no public name.
    response = client._client.send_request(request, stream=True)  # noqa: SLF001
    content = response.read()
    statuses = [int(status) for status in _STATUS.findall(content)] if response.status_code == ACCEPTED else []
    if len(statuses) == len(changes) and max(statuses) < FIRST_ERROR:
        return True
    error: Any = HttpResponseError(response=response)
    if statuses:
        match = _CODE.search(content)
        code = match[1].decode() if match is not None else ""
        if code in EXISTS | MISSING | MODIFIED:
            # Also after a lost reply, if the transaction took effect: the SDK sent it again.
            return False
        error.status_code = max(statuses)
        error.error_code = code
    raise error


def _to_body(url: str, changes: Sequence[Change], boundary: str, change_set: str) -> bytes:
    lines = [f"--{boundary}", f"Content-Type: multipart/mixed; boundary={change_set}", ""]
    for number, change in enumerate(changes):
        lines += [
            f"--{change_set}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: {number}",
            "",
            *_to_request(url, change),
        ]
    lines += [f"--{change_set}--", f"--{boundary}--", ""]
    return "\r\n".join(lines).encode("ascii")


def _to_request(url: str, change: Change) -> list[str]:
    """Return the lines of the request that makes a change alone."""
    partition, row = partition_key(change.table, change.key), row_key(change.table, change.key)
    entity = f"{url}(PartitionKey='{partition}',RowKey='{row}')"
    if isinstance(change, Delete):
        return [
            f"DELETE {entity} HTTP/1.1",
            f"If-Match: {change.etag or '*'}",
            "Accept: application/json;odata=minimalmetadata",
            "DataServiceVersion: 3.0",
            "",
            "",
        ]
    if isinstance(change, Create):
        head = [f"POST {url} HTTP/1.1", "Prefer: return-no-content"]
    else:
        method = "PUT" if isinstance(change, Replace) else "PATCH"
        head = [f"{method} {entity} HTTP/1.1"]
        # Without this header, an entity that does not exist is created (Insert Or Merge Entity).
        if change.etag is not None:
            head.append(f"If-Match: {change.etag}")
    properties: dict[str, str | bool] = {"PartitionKey": partition, "RowKey": row}
    for name, value in change.values.items():
        if isinstance(value, str):
            properties |= split_text(name, value)
        elif isinstance(value, bool):
            properties[name] = value
        elif isinstance(value, int):
            properties |= {name: str(value), f"{name}@odata.type": "Edm.Int64"}
        else:
            properties |= {name: _format_time(value), f"{name}@odata.type": "Edm.DateTime"}
    return [
        *head,
        "Content-Type: application/json",
        "Accept: application/json;odata=minimalmetadata",
        "DataServiceVersion: 3.0",
        "",
        json.dumps(properties),  # ASCII, so that no text can be taken for a boundary or a line
    ]


def _format_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
