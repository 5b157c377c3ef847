"""Requests that create or read one small blob: nearly all blob requests of a message.

`BlobClient.upload_blob` and `download_blob` do the same. They build a client for each blob, pass the request through
options for blocks, encryption and checksums, and convert up to fifty headers of a response: a third of the request's
CPU time (docs/explanation/speed.md). Here the request has the headers of Microsoft's pages "Put Blob" and "Get Blob".
It is sent through the container client's pipeline, which signs it, retries, and traces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.storage.blob import ContainerClient

CREATED: Final = 201
OK: Final = 200
PARTIAL_CONTENT: Final = 206
RANGE_NOT_SATISFIABLE: Final = 416


@dataclass(frozen=True, slots=True)
class BlobStart:
    """The first bytes of a blob.

    Attributes:
        data: the bytes.
        size: size of the whole blob in bytes.
        etag: the blob's version.
    """

    data: bytes
    size: int
    etag: str

    @property
    def is_complete(self) -> bool:
        """Whether `data` is the whole blob."""
        return len(self.data) >= self.size


class BlobRequests:
    """Sends requests for the blobs of a container.

    Args:
        container: the container's client.
    """

    def __init__(self, container: ContainerClient) -> None:
        base, mark, query = container.url.partition("?")
        self._base = base.rstrip("/")
        self._query = mark + query  # a shared access signature, if the account's credential is one
        self._version = container.api_version
        # The pipeline has no public name.
        self._pipeline: Any = container._pipeline  # noqa: SLF001

    def create(self, path: str, data: bytes, *, content_type: str, disposition: str | None) -> None:
        """Create a blob with one request.

        Args:
            path: the blob's path.
            data: the content, at most 4 MB.
            content_type: the blob's `Content-Type`.
            disposition: the blob's `Content-Disposition`, if any.

        Raises:
            HttpResponseError: the service refused the request; the blob exists, for example.
        """
        headers = {"x-ms-blob-content-type": content_type, "x-ms-blob-type": "BlockBlob"}
        if disposition is not None:
            headers["x-ms-blob-content-disposition"] = disposition
        headers |= {
            "If-None-Match": "*",
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(data)),
        }
        response = self._send("PUT", path, headers, data)
        if response.status_code != CREATED:
            raise HttpResponseError(response=response)

    def read_start(self, path: str, size: int) -> BlobStart:
        """Return the first `size` bytes of a blob, or the whole blob if it is smaller.

        Raises:
            HttpResponseError: the service refused the request; the blob does not exist, for example.
        """
        response = self._send("GET", path, {"x-ms-range": f"bytes=0-{size - 1}"})
        etag = str(response.headers.get("ETag", ""))
        if response.status_code == RANGE_NOT_SATISFIABLE:
            return BlobStart(b"", 0, etag)  # no byte of an empty blob can be requested
        if response.status_code not in {OK, PARTIAL_CONTENT}:
            raise HttpResponseError(response=response)
        data: bytes = response.content
        total = str(response.headers.get("Content-Range", "")).rpartition("/")[2]
        return BlobStart(data, int(total) if total.isdecimal() else len(data), etag)

    def _send(self, method: str, path: str, headers: dict[str, str], data: bytes | None = None) -> Any:
        """Send a request and return the response, whose body has been read."""
        url = f"{self._base}/{quote(path, safe='~/')}{self._query}"
        headers |= {"x-ms-version": self._version, "Accept": "application/xml"}
        # Without the option `stream`: the transport reads the body, so that a cut response is requested again, and the
        # pipeline does not decode it.
        return self._pipeline.run(HttpRequest(method, url, headers=headers, content=data)).http_response
