"""docs/reference/telemetry.md lists all metrics, and its line of JSON is what the formatter writes."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

from mailroom_cli.logging_setup import JsonFormatter
from shared.observability import metric_names
from shared.observability.log_context import prefixed_attributes, short_id

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "telemetry.md"


def test_the_docs_list_exactly_the_metrics() -> None:
    listed = re.findall(r"^\| `(mailroom\.[a-z._]+)` \| (?:counter|histogram|gauge) ", DOCS.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(metric_names.ALL)


def test_the_line_of_json_in_the_docs_is_what_the_formatter_writes() -> None:
    block = re.search(r"^```json\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    example = json.loads(block[1])
    fields = {"mailbox": example["mailbox"], "arrival": example["arrival"], "message": example["id"], "route": "sales"}
    record = logging.makeLogRecord(
        {
            "name": example["logger"],
            "levelname": example["level"],
            "msg": f"message {short_id(example['id'])} of mailbox support: routed",
            **prefixed_attributes(**fields),
        }
    )
    record.created, record.msecs = 1795424400.123, 123.0
    assert json.loads(JsonFormatter().format(record)) == example
    assert f"message={short_id(example['id'])}" in DOCS.read_text()


def test_no_alert_depends_on_a_log_line() -> None:
    """The docs say so; the levels of log lines may change without an effect on the alerts."""
    alerts = DOCS.parents[2] / "infra" / "app" / "alerts.bicep"
    tables = set(re.findall(r"\bApp[A-Z]\w+", alerts.read_text()))
    assert tables == {"AppMetrics"}
    assert "No alert depends on a log line" in DOCS.read_text()
