"""The engine's own indexing of the app."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from local.engine import Engine, Function, HttpTrigger, QueueOutput, QueueTrigger, TimerTrigger
from shared.errors import SettingsWrong
from tests.end_to_end.own_process import in_own_process

ROOT = Path(__file__).parents[2]


async def _indexed(**settings: str) -> tuple[dict[str, Function], float]:
    os.environ.pop("POLL_SCHEDULE", None)
    os.environ.update(settings)
    began = time.perf_counter()
    engine = await Engine.start(ROOT)
    return {function.name: function for function in engine.functions}, time.perf_counter() - began


def test_the_apps_functions_triggers_queues_and_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    functions, seconds = in_own_process(_indexed, POLL_SCHEDULE="0 */2 * * * *")
    with capsys.disabled():
        print(f"\nworker engine: start with the app {seconds * 1000:.0f} ms")
    triggers = {name: function.trigger for name, function in functions.items()}
    assert triggers == {
        "poll_timer": TimerTrigger("timer", "0 */2 * * * *", run_on_startup=False),
        "poll_mailbox": QueueTrigger("item", "polls"),
        "route_message": QueueTrigger("item", "arrivals"),
        "route_poison": QueueTrigger("item", "arrivals-poison"),
        "sweep": TimerTrigger("timer", "0 */5 * * * *", run_on_startup=False),
        "graph_webhook": HttpTrigger("req", "graph_webhook", ("POST",), "anonymous"),
        "keep_subscriptions": TimerTrigger("timer", "0 */5 * * * *", run_on_startup=False),
        "mend_subscription": QueueTrigger("item", "lifecycle"),
    }
    assert {name: function.outputs for name, function in functions.items() if function.outputs} == {
        "poll_timer": (QueueOutput("polls", "polls"),),
        "graph_webhook": (QueueOutput("lifecycle", "lifecycle"), QueueOutput("polls", "polls")),
    }


def test_the_app_without_its_schedule_is_refused_by_name() -> None:
    with pytest.raises(
        SettingsWrong, match="POLL_SCHEDULE is not set, and function poll_timer takes its schedule from it"
    ):
        in_own_process(_indexed)
