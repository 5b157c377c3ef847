"""Entity group transactions: create several entities of one partition with one request.

`TableClient.submit_transaction` does the same. It builds each part of the request with the `email` package in threads
of its own, and parses the response likewise: with two entities, that takes more processor time than two requests. Here
the request is plain text, in the format of Microsoft's page "Performing entity group transactions". It is sent through
the client's pipeline, which signs it and retries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.data.tables import EdmType, EntityProperty, TableClient

ACCEPTED: Final = 202
"""The status of a transaction that was executed. Its parts have the status of each operation."""

FIRST_ERROR: Final = 400

_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)
_CODE = re.compile(rb'"code"\s*:\s*"(\w+)"')


def create_entities(client: TableClient, entities: Sequence[Mapping[str, Any]]) -> None:
    """Create all entities, or none if one of them exists or another error occurs.

    Args:
        client: the client of the table.
        entities: up to 100 entities of one partition.

    Raises:
        HttpResponseError: no entity was created, unless this very transaction took effect and its reply was lost.
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
        content=_to_body(f"{endpoint}/{client.table_name}", entities, boundary, change_set),
    )
    # As a stream, since the pipeline cannot decode this content type. The pipeline has no public name.
    response = client._client.send_request(request, stream=True)  # noqa: SLF001
    content = response.read()
    statuses = [int(status) for status in _STATUS.findall(content)] if response.status_code == ACCEPTED else []
    if len(statuses) == len(entities) and max(statuses) < FIRST_ERROR:
        return
    error: Any = HttpResponseError(response=response)
    if statuses:
        code = _CODE.search(content)
        error.status_code = max(statuses)
        error.error_code = code[1].decode() if code is not None else ""
    raise error


def _to_body(url: str, entities: Sequence[Mapping[str, Any]], boundary: str, change_set: str) -> bytes:
    lines = [f"--{boundary}", f"Content-Type: multipart/mixed; boundary={change_set}", ""]
    for number, entity in enumerate(entities):
        lines += [
            f"--{change_set}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: {number}",
            "",
            f"POST {url} HTTP/1.1",
            "Content-Type: application/json",
            "Accept: application/json;odata=minimalmetadata",
            "Prefer: return-no-content",
            "DataServiceVersion: 3.0",
            "",
            json.dumps(_to_odata(entity)),  # ASCII, so that no text can be taken for a boundary or a line
        ]
    lines += [f"--{change_set}--", f"--{boundary}--", ""]
    return "\r\n".join(lines).encode("ascii")


def _to_odata(entity: Mapping[str, Any]) -> dict[str, str | bool]:
    """Return an entity's properties as JSON values, those that are not texts or booleans with their type."""
    properties: dict[str, str | bool] = {}
    for name, value in entity.items():
        if isinstance(value, EntityProperty):
            properties |= {name: str(value.value), f"{name}@odata.type": EdmType(value.edm_type).value}
        elif isinstance(value, datetime):
            time = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            properties |= {name: time, f"{name}@odata.type": "Edm.DateTime"}
        else:
            properties[name] = value
    return properties
