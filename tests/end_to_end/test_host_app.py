"""Indexing of the app by the worker engine."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from functions_host import Engine, Function, HttpTrigger, QueueOutput, QueueTrigger, TimerTrigger
from functions_host.worker_messages import RpcHttp, TypedData
from mailroom_cli.commands.settings.reference import PLATFORM
from shared.errors import ConfigurationError
from tests.end_to_end.own_process import in_new_interpreter, in_own_process

ROOT = Path(__file__).parents[2]


async def _indexed(**settings: str) -> tuple[dict[str, Function], float]:
    os.environ.pop("POLL_SCHEDULE", None)
    os.environ.update(settings)
    began = time.perf_counter()
    engine = await Engine.start(ROOT)
    return {function.name: function for function in engine.functions}, time.perf_counter() - began


def test_the_apps_functions_triggers_queues_and_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    functions, seconds = in_new_interpreter(_indexed, POLL_SCHEDULE="0 */2 * * * *")
    with capsys.disabled():
        print(f"\nworker engine: start with the app {seconds * 1000:.0f} ms")
    triggers = {name: function.trigger for name, function in functions.items()}
    assert triggers == {
        "poll_timer": TimerTrigger("timer", "0 */2 * * * *", run_on_startup=False),
        "poll_mailbox": QueueTrigger("item", "polls"),
        "route_message": QueueTrigger("item", "route-requests"),
        "route_poison": QueueTrigger("item", "route-requests-poison"),
        "sweep": TimerTrigger("timer", "0 */5 * * * *", run_on_startup=False),
        "graph_webhook": HttpTrigger("req", "graph_webhook", ("POST",), "anonymous"),
        "renew_subscriptions": TimerTrigger("timer", "0 */5 * * * *", run_on_startup=False),
        "handle_lifecycle_event": QueueTrigger("item", "lifecycle"),
    }
    assert {name: function.outputs for name, function in functions.items() if function.outputs} == {
        "poll_timer": (QueueOutput("polls", "polls"),),
        "graph_webhook": (QueueOutput("lifecycle", "lifecycle"), QueueOutput("polls", "polls")),
    }


def test_the_missing_schedule_setting_is_reported() -> None:
    with pytest.raises(
        ConfigurationError, match="POLL_SCHEDULE is not set; function poll_timer needs it for its schedule"
    ):
        in_own_process(_indexed)


async def _answered(trigger: str, **settings: str) -> tuple[str, dict[str, str]]:
    os.environ.update(settings)
    engine = await Engine.start(ROOT)
    request = RpcHttp(
        method="POST",
        url="https://app.example/api/graph_webhook",
        headers={},
        params={},
        query={"validationToken": "a token"},
        body=TypedData(bytes=b""),
    )
    result = await engine.invoke(engine.function(trigger), {"req": TypedData(http=request)})
    engine.stop()
    assert result.error is None, result.error
    assert result.return_value is not None
    http = result.return_value.http
    return str(http.body.bytes or http.body.string), {name.lower(): value for name, value in http.headers.items()}


def test_the_webhook_responds_when_the_worker_uses_the_hosts_trace() -> None:
    """Workers before 1.3 fail each call of a coroutine (github.com/Azure/azure-functions-python-worker/issues/1881).

    Without a line in requirements.txt the platform takes a worker of its own choice, older than the latest
    (learn.microsoft.com/azure/azure-functions/python-313-changes).
    """
    settings = {**PLATFORM, "POLL_SCHEDULE": "0 * * * * *", "AzureWebJobsStorage": "UseDevelopmentStorage=true"}
    assert settings["PYTHON_ENABLE_OPENTELEMETRY"] == "true"
    body, headers = in_own_process(_answered, "graph_webhook", **settings)
    assert "a token" in body
    assert headers["content-type"].startswith("text/plain")
    assert headers["x-content-type-options"] == "nosniff"
    [version] = re.findall(
        r"^azure-functions-runtime==(\d+)\.(\d+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    assert tuple(map(int, version)) >= (1, 3)
