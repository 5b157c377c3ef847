"""The exporter of Application Insights, as `start` configures it, with an ingestion endpoint on this machine."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.monitor.opentelemetry._constants import _FULLY_SUPPORTED_INSTRUMENTED_LIBRARIES

from shared.observability.exporter import UNTRACED_LIBRARIES

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import logging, sys
from pydantic import SecretStr
from shared.observability import log_context, metrics, tracing
from shared.observability.exporter import start
logging.getLogger("mailroom").setLevel(logging.INFO)
exports = start(SecretStr(sys.argv[1]))
assert start(None) is exports
traceparent = tracing.start_message_trace("support", "aa" * 32, "bb" * 32, 2000)
with tracing.routing("aa" * 32, traceparent), tracing.set_attributes(message="bb" * 32):
    logging.getLogger("mailroom.sort").info("message %s: routed", "bb" * 32)
    try:
        raise ValueError("Zwet" + "schge")  # a traceback quotes this line
    except ValueError:
        logging.getLogger("mailroom.sort").exception("an internal error")
metrics.collected.add(3, {"mailbox": "support"})
print("exports" if exports else "does not export")
"""


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


def run_program(connection: str, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    disabled = {
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    }
    return subprocess.run(
        [sys.executable, "-c", before + PROGRAM, connection],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **disabled, **environment},
    )


def test_spans_logs_and_metrics_reach_application_insights() -> None:
    with ingestion() as (address, items):
        key = "00000000-0000-0000-0000-000000000001"
        ran = run_program(f"InstrumentationKey={key};IngestionEndpoint={address};LiveEndpoint={address}")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "exports\n"
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        by_kind.setdefault(item["data"]["baseType"], []).append(item)
    (request,) = by_kind["RequestData"]
    assert request["data"]["baseData"]["name"] == "route message"
    assert request["data"]["baseData"]["properties"]["mailroom.message"] == "bb" * 32
    (dependency,) = by_kind["RemoteDependencyData"]
    assert dependency["data"]["baseData"]["name"] == "collect message"
    assert dependency["tags"]["ai.operation.id"] == request["tags"]["ai.operation.id"]
    (line,) = by_kind["MessageData"]
    assert line["data"]["baseData"]["properties"]["mailroom.arrival"] == "aa" * 32
    assert line["tags"]["ai.operation.id"] == request["tags"]["ai.operation.id"]
    (exception,) = by_kind["ExceptionData"]
    assert "ValueError" in json.dumps(exception["data"]["baseData"]["exceptions"])
    metrics = [
        (metric["name"], metric["value"], item["data"]["baseData"]["properties"].get("mailbox"))
        for item in by_kind["MetricData"]
        for metric in item["data"]["baseData"]["metrics"]
    ]
    assert ("mailroom.collected", 3, "support") in metrics
    assert "Zwetschge" not in json.dumps(items)


PROGRAM_WITH_100_MESSAGES = """
import logging, sys
from pydantic import SecretStr
from shared.observability import metrics, tracing
from shared.observability.exporter import start
logging.getLogger("mailroom").setLevel(logging.INFO)
start(SecretStr(sys.argv[1]))
for number in range(100):
    arrival, message = f"{number:064}", f"{number:064}"
    with tracing.routing(arrival, tracing.start_message_trace("support", arrival, message, 2000)):
        logging.getLogger("mailroom.sort").info("message %s: routed", message)
metrics.collected.add(100, {"mailbox": "support"})
sys.exit()
"""


@pytest.mark.parametrize(
    ("environment", "all_traces"),
    [({}, True), ({"OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, False)],
)
def test_all_traces_are_exported_unless_sampled_and_logs_and_metrics_always(
    environment: dict[str, str], all_traces: bool
) -> None:
    with ingestion() as (address, items):
        key = "00000000-0000-0000-0000-000000000001"
        ran = run_program(
            f"InstrumentationKey={key};IngestionEndpoint={address};LiveEndpoint={address}",
            PROGRAM_WITH_100_MESSAGES,
            **environment,
        )
    assert ran.returncode == 0, ran.stderr
    kinds = Counter(item["data"]["baseType"] for item in items)
    traces = kinds["RequestData"]
    assert kinds["RemoteDependencyData"] == traces, "a trace is exported completely or not at all"
    assert traces == 100 if all_traces else traces < 40
    assert kinds["MessageData"] == 100
    assert any(
        (metric["name"], metric["value"]) == ("mailroom.collected", 100)
        for item in items
        if item["data"]["baseType"] == "MetricData"
        for metric in item["data"]["baseData"]["metrics"]
    )


def test_an_invalid_connection_string_is_ignored_and_not_logged() -> None:
    ran = run_program("InstrumentationKey=not-a-key-and-secret")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "does not export\n"
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in ran.stderr
    assert "not-a-key-and-secret" not in ran.stderr
    assert f"message {'bb' * 32}: routed" not in ran.stderr, "INFO without a handler"


CONNECTION_STRING = "InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint=http://127.0.0.1:9/"


def test_an_exporter_that_cannot_start_does_not_raise() -> None:
    """The functions start the exporter before their work, so it must never raise."""
    ran = run_program(CONNECTION_STRING, before="import sys\nsys.modules['azure.monitor.opentelemetry'] = None\n")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "does not export\n"
    assert "telemetry cannot start (ModuleNotFoundError)" in ran.stderr


def test_the_error_names_the_settings_of_opentelemetry() -> None:
    ran = run_program(CONNECTION_STRING, OTEL_ATTRIBUTE_COUNT_LIMIT="-1")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "does not export\n"
    assert "the settings that begin with OTEL_" in ran.stderr


def test_every_library_that_the_exporter_instruments_is_untraced() -> None:
    """If a release instruments another library, traces would contain URLs of blobs and so names of attachments."""
    assert set(UNTRACED_LIBRARIES) == set(_FULLY_SUPPORTED_INSTRUMENTED_LIBRARIES)
