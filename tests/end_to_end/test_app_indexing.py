"""Names, triggers, queues and schedules of the app, as Microsoft's worker engine indexes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

INDEX = """
import asyncio, json, sys
from pathlib import Path
from functions_host.worker import Engine

HEAVY = {"imapclient", "msal", "msgraph", "kiota_http", "httpx"}
AZURE = ("azure.storage", "azure.data", "azure.identity", "azure.core")

engine = asyncio.run(Engine.start(Path.cwd()))
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in HEAVY or name.startswith(AZURE))
print(json.dumps([{f.name: [repr(f.trigger), [repr(o) for o in f.outputs]] for f in engine.functions}, loaded]))
"""


def index() -> tuple[dict[str, list[object]], list[str]]:
    """Return the functions that a new process indexes, and the heavy modules that it imports."""
    ran = subprocess.run(
        [sys.executable, "-c", INDEX],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "POLL_SCHEDULE": "0 */2 * * * *"},
    )
    functions, loaded = json.loads(ran.stdout.splitlines()[-1])
    return functions, loaded


def test_the_engine_indexes_the_app() -> None:
    functions, loaded = index()
    assert set(functions) == {
        *("poll_timer", "poll_mailbox", "route_message", "route_poison", "sweep"),
        *("graph_webhook", "renew_subscriptions", "handle_lifecycle_event"),
    }
    triggers = {name: str(trigger) for name, (trigger, _) in functions.items()}
    assert "TimerTrigger" in triggers["poll_timer"]
    assert "0 */2 * * * *" in triggers["poll_timer"]
    assert "0 */5 * * * *" in triggers["sweep"]
    assert "HttpTrigger" in triggers["graph_webhook"]
    assert "auth_level='anonymous'" in triggers["graph_webhook"]
    assert "methods=('POST',)" in triggers["graph_webhook"]
    assert "TimerTrigger" in triggers["renew_subscriptions"]
    for name, queue in (
        ("poll_mailbox", "polls"),
        ("route_message", "route-requests"),
        ("route_poison", "route-requests-poison"),
        ("handle_lifecycle_event", "lifecycle"),
    ):
        assert "QueueTrigger" in triggers[name]
        assert f"'{queue}'" in triggers[name]
    outputs = {name: str(bindings) for name, (_, bindings) in functions.items()}
    assert "'polls'" in outputs["poll_timer"]
    assert "'polls'" in outputs["graph_webhook"]
    assert "'lifecycle'" in outputs["graph_webhook"]
    assert all(outputs[name] == "[]" for name in outputs if name not in ("poll_timer", "graph_webhook"))
    assert loaded == [], "indexing must not import modules that only draining needs"


def test_there_is_no_function_json() -> None:
    assert not list(ROOT.glob("*/function.json"))
