"""host.json is a design decision (docs/reference/host.md): what a process takes at once fits into memory, disk and
threads.
"""

from __future__ import annotations

import json
from pathlib import Path

from shared.intake.batches import MAX_BATCH_BYTES
from shared.intake.folder_sync import BATCH_BYTES, BATCHES_STORING
from shared.mailboxes.graph.fetch import BATCHES_AHEAD
from shared.mailboxes.imap.fetch import WINDOW_BYTES
from shared.mailboxes.spool import MEMORY_LIMIT, SPOOL_BUDGET

ROOT = Path(__file__).resolve().parents[2]
HOST = json.loads((ROOT / "host.json").read_text())
QUEUES = HOST["extensions"]["queues"]
AT_ONCE = QUEUES["batchSize"] + QUEUES["newBatchThreshold"]
MIB = 1024 * 1024
QUEUE_FUNCTIONS = 4
SECONDS_A_MONTH = 43_800 * 60


def test_the_bundle_is_the_one_of_the_v2_model() -> None:
    assert HOST["version"] == "2.0"
    assert HOST["extensionBundle"] == {
        "id": "Microsoft.Azure.Functions.ExtensionBundle",
        "version": "[4.*, 5.0.0)",
    }


def test_the_hosts_telemetry_and_ours_are_in_one_trace() -> None:
    assert HOST["telemetryMode"] == "OpenTelemetry"


def test_a_failed_message_is_tried_five_times_a_minute_apart() -> None:
    assert QUEUES["visibilityTimeout"] == "00:01:00"
    assert QUEUES["maxDequeueCount"] == 5


def test_what_runs_at_once_fits_into_the_smallest_instance() -> None:
    fetched_ahead = max(WINDOW_BYTES, (BATCHES_AHEAD + 1) * BATCH_BYTES)  # of IMAP and of Graph
    poll = fetched_ahead + BATCHES_STORING * BATCH_BYTES
    assert MAX_BATCH_BYTES >= MEMORY_LIMIT
    routing = 4 * MAX_BATCH_BYTES  # the bytes, their decoded text, its JSON, and room
    assert AT_ONCE * (poll + routing) < 512 * MIB  # of 2048 MB, which the worker and its packages share


def test_the_documented_price_of_checking_idle_queues() -> None:
    minutes, seconds = QUEUES["maxPollingInterval"].split(":")[1:]
    checks = QUEUE_FUNCTIONS * SECONDS_A_MONTH / (60 * int(minutes) + float(seconds))
    price = f"**{checks / 1e6:.1f} million requests, {checks * 0.004 / 10_000:.2f} dollars a month**"
    assert price in " ".join((ROOT / "docs/explanation/costs.md").read_text().split())


def test_spooled_messages_fit_into_the_temporary_disk() -> None:
    assert SPOOL_BUDGET < 500 * MIB


def test_every_function_finds_a_thread_with_the_documented_count() -> None:
    timers, documented = 3, 32
    assert f"so set it to {documented} on the function app" in (ROOT / "docs/reference/host.md").read_text()
    assert QUEUE_FUNCTIONS * AT_ONCE + timers <= documented
