"""The exporter of Application Insights, as `start` configures it, with an ingestion endpoint on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from azure.monitor.opentelemetry._constants import _FULLY_SUPPORTED_INSTRUMENTED_LIBRARIES

from shared.observability.exporter import UNTRACED_LIBRARIES
from tests.servers.ingestion import WITHOUT_STATISTICS, connection_string, ingestion, metric_values

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
attempt = tracing.MessageTrace.start(traceparent, arrival="aa" * 32)
attempt.add(message="bb" * 32)
with attempt.active():
    logging.getLogger("mailroom.sort").info("message %s: routed", "bb" * 32)
    try:
        raise ValueError("Zwet" + "schge")  # a traceback quotes this line
    except ValueError:
        logging.getLogger("mailroom.sort").exception("an internal error")
attempt.end()
metrics.collected.add(3, {"mailbox": "support"})
print("exports" if exports else "does not export")
"""


def run_program(
    connection: str, *words: str, before: str = "", program: str = PROGRAM, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + program, connection, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **WITHOUT_STATISTICS, **environment},
    )


def test_spans_logs_and_metrics_reach_application_insights() -> None:
    with ingestion() as (address, items):
        ran = run_program(connection_string(address))
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
    attempt = tracing.MessageTrace.start(
        tracing.start_message_trace("support", arrival, message, 2000), arrival=arrival
    )
    with attempt.active():
        logging.getLogger("mailroom.sort").info("message %s: routed", message)
    attempt.end()
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
        ran = run_program(
            connection_string(address),
            program=PROGRAM_WITH_100_MESSAGES,
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


KILLED = """
import os, sys
from pydantic import SecretStr
from shared.observability import metrics
from shared.observability.exporter import flush, start
flush()
start(SecretStr(sys.argv[1]))
metrics.collected.add(3, {"mailbox": "support"})
flush()
os._exit(0)  # as the Functions host ends a worker
"""


def test_flushed_metrics_are_sent_even_if_the_process_is_killed_afterwards() -> None:
    with ingestion() as (address, items):
        ran = run_program(connection_string(address), program=KILLED)
    assert ran.returncode == 0, ran.stderr
    assert metric_values(items) == [("mailroom.collected", 3, {"mailbox": "support"})]


SWEEP = """
import os, sys
from types import SimpleNamespace
from route_message import sweep
sweep._function.get_user_function()(SimpleNamespace(past_due=False))
os._exit(0)
"""


def test_the_gauges_of_the_alerts_are_sent_before_the_sweep_ends(tmp_path: Path) -> None:
    with ingestion() as (address, items):
        settings = {
            "AzureWebJobsStorage": f"folder:{tmp_path}",
            "POLL_SCHEDULE": "0 * * * * *",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": connection_string(address),
        }
        ran = run_program("", program=SWEEP, **settings)
    assert ran.returncode == 0, ran.stderr
    assert "mailroom.outbox.oldest_seconds" in {name for name, _, _ in metric_values(items)}


SIGNED_IN = """
import sys
import azure.monitor.opentelemetry as exporter
from pydantic import SecretStr
from mailroom_cli.telemetry import exported_telemetry
exporter.configure_azure_monitor = lambda **options: print(type(options.get("credential", "its own")).__name__)
with exported_telemetry(SecretStr(sys.argv[1])):
    pass
"""


@pytest.mark.parametrize(
    ("environment", "credential"),
    [({"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD"}, "DefaultAzureCredential"), ({}, "str")],
)
def test_a_command_signs_in_without_a_managed_identity(environment: dict[str, str], credential: str) -> None:
    """The exporter's own sign-in with that setting knows managed identities only."""
    ran = run_program(CONNECTION_STRING, program=SIGNED_IN, **environment)
    assert (ran.returncode, ran.stdout) == (0, f"{credential}\n"), ran.stderr
