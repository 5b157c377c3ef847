"""Requests to the table service through the pipeline of the SDK's client, which signs them and retries.

The SDK's own methods parse entities for every service and type: in a scan, an entity of 20 properties took 117 µs of
processor time, and takes 18 µs here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.data.tables import TableClient

from shared.storage.azure.errors import MISSING, error_code

Entity = Mapping[str, Any]
"""An entity as JSON with minimal metadata: its properties, their types and its etag."""

OK: Final = 200

_CONTINUATION: Final[Mapping[str, str]] = {
    "NextPartitionKey": "x-ms-continuation-NextPartitionKey",
    "NextRowKey": "x-ms-continuation-NextRowKey",
}
"""Parameters of a query's next page, and the headers of the response that have their values. The second is optional."""


def read_entity(client: TableClient, partition: str, row: str) -> Entity | None:
    """Return an entity, or None if it does not exist.

    Raises:
        HttpResponseError: another error than a missing entity.
    """
    try:
        content, _ = _get(client, f"(PartitionKey='{partition}',RowKey='{row}')", "RowKey")
    except HttpResponseError as error:
        if error_code(error) in MISSING:
            return None
        raise
    return content


def read_pages(
    client: TableClient, where: str, *, select: Sequence[str] = (), size: int | None = None
) -> Iterator[list[Entity]]:
    """Yield the entities that match an OData filter, all if it is empty, in pages.

    Args:
        client: the table's client.
        where: the filter.
        select: the properties to read, the keys included; empty: all.
        size: the number of entities on a page at most; None: 1,000, the service's limit.

    Raises:
        HttpResponseError: a page could not be read.
    """
    query = {"$filter": where} if where else {}
    if select:
        query["$select"] = ",".join(select)
    if size is not None:
        query["$top"] = str(size)
    following: dict[str, str] = {}
    while True:
        content, headers = _get(client, "()", "value", query | following)
        yield content["value"]
        following = {name: headers[header] for name, header in _CONTINUATION.items() if headers.get(header)}
        if not following:
            return


def _get(
    client: TableClient, path: str, member: str, parameters: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Return the JSON of a response and its headers; raise an error if the JSON does not have a member."""
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    url = f"{endpoint_of(client)}/{client.table_name}{path}{query}"
    response = send(client, "GET", url, {"Accept": "application/json;odata=minimalmetadata"})
    try:
        content = json.loads(response.content) if response.status_code == OK else {}
    except ValueError:
        content = {}
    if not isinstance(content, dict) or member not in content:
        raise HttpResponseError(response=response)
    return content, response.headers


def endpoint_of(client: TableClient) -> str:
    """Return the URL of the account's table service."""
    return client.url.partition("?")[0].rstrip("/")


def send(client: TableClient, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None) -> Any:
    """Send a request, and return the response, whose content was read."""
    version = {
        "x-ms-version": client.api_version,
        "DataServiceVersion": "3.0",
        "MaxDataServiceVersion": "3.0;NetFx",
    }
    request = HttpRequest(method, url, headers={**version, **headers}, content=content)
    # As a stream, since the pipeline would decode the content. The pipeline has no public name.
    response = client._client.send_request(request, stream=True)  # noqa: SLF001
    response.read()
    return response
