"""An ingestion endpoint of Application Insights on this machine."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WITHOUT_STATISTICS = {
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
}
"""Environment variables that keep the exporter from connecting to other endpoints."""


def connection_string(address: str) -> str:
    """Return a connection string for an endpoint."""
    key = "00000000-0000-0000-0000-000000000001"
    return f"InstrumentationKey={key};IngestionEndpoint={address};LiveEndpoint={address}"


def metric_values(items: list[dict[str, Any]]) -> list[tuple[str, float, dict[str, str]]]:
    """Return name, value and attributes of the received metrics."""
    return [
        (metric["name"], metric["value"], item["data"]["baseData"]["properties"])
        for item in items
        if item["data"]["baseType"] == "MetricData"
        for metric in item["data"]["baseData"]["metrics"]
    ]


@contextmanager
def ingestion() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run an endpoint that accepts everything, and yield its URL and the received items."""
    items: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            parsed = json.loads(body)
            items.extend(parsed if isinstance(parsed, list) else [parsed])
            answer = json.dumps({"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", items
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
