"""The exporter of Application Insights, as `start` sets it up, against an ingestion endpoint on this machine."""

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

TELLING = """
import logging, sys
from pydantic import SecretStr
from shared.observability import log_context, metrics, tracing
from shared.observability.exporter import start
logging.getLogger("mailroom").setLevel(logging.INFO)
exports = start(SecretStr(sys.argv[1]))
assert start(None) is exports
began = tracing.start_message_trace("support", "aa" * 32, "bb" * 32, 2000)
with tracing.routing("aa" * 32, began), tracing.set_attributes(message="bb" * 32):
    logging.getLogger("mailroom.sort").info("message %s: routed", "bb" * 32)
    try:
        raise ValueError("Zwet" + "schge")  # a traceback quotes this line
    except ValueError:
        logging.getLogger("mailroom.sort").exception("a fault in Mailroom itself")
metrics.collected.add(3, {"mailbox": "support"})
print("exports" if exports else "does not export")
"""


@contextmanager
def ingestion() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An endpoint that takes everything: its address, and what came."""
    came: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            read = json.loads(body)
            came.extend(read if isinstance(read, list) else [read])
            answer = json.dumps({"itemsReceived": len(came), "itemsAccepted": len(came), "errors": []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tell(connection: str, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    quiet = {"APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true", "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true"}
    return subprocess.run(
        [sys.executable, "-c", before + TELLING, connection],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **quiet, **environment},
    )


def test_spans_logs_and_metrics_reach_application_insights() -> None:
    with ingestion() as (address, came):
        key = "00000000-0000-0000-0000-000000000001"
        ran = tell(f"InstrumentationKey={key};IngestionEndpoint={address};LiveEndpoint={address}")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "exports\n"
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for one in came:
        by_kind.setdefault(one["data"]["baseType"], []).append(one)
    (request,) = by_kind["RequestData"]
    assert request["data"]["baseData"]["name"] == "route message"
    assert request["data"]["baseData"]["properties"]["mailroom.message"] == "bb" * 32
    (dependency,) = by_kind["RemoteDependencyData"]
    assert dependency["data"]["baseData"]["name"] == "collect message"
    assert dependency["tags"]["ai.operation.id"] == request["tags"]["ai.operation.id"]
    (line,) = by_kind["MessageData"]
    assert line["data"]["baseData"]["properties"]["mailroom.arrival"] == "aa" * 32
    assert line["tags"]["ai.operation.id"] == request["tags"]["ai.operation.id"]
    (fault,) = by_kind["ExceptionData"]
    assert "ValueError" in json.dumps(fault["data"]["baseData"]["exceptions"])
    counted = [
        (metric["name"], metric["value"], one["data"]["baseData"]["properties"].get("mailbox"))
        for one in by_kind["MetricData"]
        for metric in one["data"]["baseData"]["metrics"]
    ]
    assert ("mailroom.collected", 3, "support") in counted
    assert "Zwetschge" not in json.dumps(came)


MANY = """
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
def test_all_traces_are_kept_unless_it_is_set_and_lines_and_metrics_always(
    environment: dict[str, str], all_traces: bool
) -> None:
    with ingestion() as (address, came):
        key = "00000000-0000-0000-0000-000000000001"
        ran = tell(f"InstrumentationKey={key};IngestionEndpoint={address};LiveEndpoint={address}", MANY, **environment)
    assert ran.returncode == 0, ran.stderr
    kinds = Counter(one["data"]["baseType"] for one in came)
    kept = kinds["RequestData"]
    assert kinds["RemoteDependencyData"] == kept, "a trace is kept whole"
    assert kept == 100 if all_traces else kept < 40
    assert kinds["MessageData"] == 100
    assert any(
        (metric["name"], metric["value"]) == ("mailroom.collected", 100)
        for one in came
        if one["data"]["baseType"] == "MetricData"
        for metric in one["data"]["baseData"]["metrics"]
    )


def test_a_connection_string_that_is_none_stops_nobody_and_is_not_shown() -> None:
    ran = tell("InstrumentationKey=not-a-key-and-secret")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "does not export\n"
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in ran.stderr
    assert "not-a-key-and-secret" not in ran.stderr
    assert f"message {'bb' * 32}: routed" not in ran.stderr, "at INFO, without a handler"


GOOD = "InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint=http://127.0.0.1:9/"


def test_an_exporter_that_cannot_be_started_stops_nobody() -> None:
    """Whatever it raises: the functions start it before they do anything."""
    ran = tell(GOOD, before="import sys\nsys.modules['azure.monitor.opentelemetry'] = None\n")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "does not export\n"
    assert "telemetry cannot start (ModuleNotFoundError)" in ran.stderr


def test_the_settings_of_opentelemetry_are_named_as_well() -> None:
    ran = tell(GOOD, OTEL_ATTRIBUTE_COUNT_LIMIT="-1")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "does not export\n"
    assert "the settings that begin with OTEL_" in ran.stderr


def test_no_library_is_traced_that_the_exporter_would_trace_by_itself() -> None:
    """A release that knows another one would put blobs' addresses, and so attachments' names, into traces."""
    assert set(UNTRACED_LIBRARIES) == set(_FULLY_SUPPORTED_INSTRUMENTED_LIBRARIES)
