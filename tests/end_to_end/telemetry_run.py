"""Drain the mailboxes of a settings file as `mailroom run-once` does, and print the process's telemetry as JSON."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from mailroom_cli.app_context import open_app
from mailroom_cli.commands.run_once import drain_once
from mailroom_cli.progress import ProgressReporter
from shared.clock import utc_now
from shared.dispatch.outbox import Replay
from shared.observability.log_context import install_log_context
from shared.observability.webhook_latency import record_latency
from shared.operations.health_metrics import collect_health_metrics
from shared.queue_messages import RouteRequest
from shared.storage.base import QueueName, Table
from tests.servers.telemetry import listen


def main(settings: Path, unknown: str, poisoned: str) -> None:
    """Drain, and print the telemetry.

    Args:
        settings: the settings file.
        unknown: key of an arrival without a receipt, for a replay.
        poisoned: key of an arrival without a receipt, for the dead letter of a replay.
    """
    logging.getLogger("mailroom").setLevel(logging.INFO)
    logging.getLogger("mailroom.dispatch").setLevel(logging.DEBUG)
    telemetry = listen()
    install_log_context(append_fields=False)
    with open_app(settings) as app:
        for queue, arrival in ((QueueName.ROUTE_REQUESTS, unknown), (QueueName.ROUTE_REQUESTS_POISON, poisoned)):
            replay = Replay(arrival, "support", "failed/x")
            # In an hour: `run-once` publishes again what is in the outbox at its start.
            values = replay.to_outbox_values(utc_now() + timedelta(hours=1))
            app.storage.records.create(Table.OUTBOX, replay.outbox, values)
            app.storage.queues[queue].put_many([RouteRequest(replay.outbox).to_json()])
        failures = asyncio.run(drain_once(app, ProgressReporter(Console(file=io.StringIO())))).failures
        record_latency(0.01, 202, None)
        collect_health_metrics(app.settings, app.storage).emit()
    report = {
        "failures": failures,
        "spans": [
            {
                "name": span.name,
                "trace": format(span.context.trace_id, "032x"),
                "id": format(span.context.span_id, "016x"),
                "parent": format(span.parent.span_id, "016x") if span.parent is not None else None,
                "links": [format(link.context.trace_id, "032x") for link in span.links],
                "attributes": dict(span.attributes or {}),
                "status": span.status.status_code.name,
                "description": span.status.description,
                "events": [event.name for event in span.events],
            }
            for span in telemetry.spans()
            if span.context is not None
        ],
        "points": [[point.name, dict(point.attributes), point.value] for point in telemetry.points()],
        "lines": telemetry.lines(),
    }
    sys.stdout.write(json.dumps(report, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
