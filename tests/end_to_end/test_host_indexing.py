"""Indexing of sample apps by the worker engine, and the local host's errors."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from functions_host import AppNotLoaded, Engine, Function, HttpTrigger, QueueOutput, QueueTrigger, TimerTrigger
from shared.errors import ConfigurationError
from tests.end_to_end.own_process import APPS, in_new_interpreter, in_own_process


async def _functions(app: str, **settings: str) -> dict[str, Function]:
    os.environ.update(settings)
    engine = await Engine.start(APPS / app)
    return {function.name: function for function in engine.functions}


def test_queue_functions_are_indexed_with_their_queues_and_outputs() -> None:
    functions = in_own_process(_functions, "queues")
    assert set(functions) == {"work", "work_poison", "spread", "echo"}
    assert functions["work"].trigger == QueueTrigger("item", "work")
    assert functions["work_poison"].trigger == QueueTrigger("item", "work-poison")
    assert set(functions["spread"].outputs) == {QueueOutput("out", "work"), QueueOutput("one", "single")}
    assert functions["echo"].outputs == (QueueOutput("$return", "single"),)


def test_timers_are_indexed_with_their_schedules_and_settings_resolved() -> None:
    # Names are case-insensitive, since some tools write environment variables in capitals.
    functions = in_own_process(_functions, "clock", Tick="*/5 * * * * *")
    assert functions["tick"].trigger == TimerTrigger("timer", "*/5 * * * * *", run_on_startup=False)
    assert functions["tick"].outputs == (QueueOutput("polls", "polls"),)
    assert functions["at_start"].trigger == TimerTrigger("timer", "0 0 4 1 1 *", run_on_startup=True)


def test_http_functions_are_indexed_with_routes_methods_and_levels() -> None:
    functions = in_own_process(_functions, "web")
    assert functions["items"].trigger == HttpTrigger("req", "items/{name}/{number:int}", ("GET", "DELETE"), "anonymous")
    assert functions["broken"].trigger == HttpTrigger("req", "broken", (), "anonymous")
    assert functions["guarded"].trigger == HttpTrigger("req", "guarded", ("GET",), "function")
    assert functions["ruled"].trigger == HttpTrigger("req", "ruled", ("GET",), "admin")


def test_a_missing_setting_is_named_with_its_function() -> None:
    with pytest.raises(ConfigurationError, match="TICK is not set; function tick needs it for its schedule"):
        in_own_process(_functions, "clock")


def test_an_app_that_raises_is_refused_with_the_engines_text() -> None:
    with pytest.raises(AppNotLoaded, match="cannot be indexed: ValueError: the app is not well"):
        in_own_process(_functions, "broken")


def test_an_unsupported_trigger_is_reported() -> None:
    with pytest.raises(AppNotLoaded, match="function on_blob: the local host does not support blobTrigger"):
        in_own_process(_functions, "elsewhere")


def test_a_folder_without_an_app_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AppNotLoaded, match=r"has no function_app\.py"):
        in_own_process(_functions, str(tmp_path))


async def _two_apps() -> str:
    await Engine.start(APPS / "queues")
    again = await Engine.start(APPS / "queues")
    assert len(again.functions) == 4
    try:
        await Engine.start(APPS / "web")
    except AppNotLoaded as error:
        return str(error)
    return "loaded"


def test_a_process_can_start_the_same_app_again_but_no_other() -> None:
    assert "start a separate process" in in_own_process(_two_apps)


async def _measured() -> tuple[float, float]:
    began = time.perf_counter()
    engine = await Engine.start(APPS / "queues")
    started = time.perf_counter()
    data = await engine.invoke(engine.function("echo"), {})
    assert data.error is not None  # it has no input
    return started - began, time.perf_counter() - started


def test_the_engine_starts_within_three_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    start, call = in_new_interpreter(_measured)
    with capsys.disabled():
        print(f"\nworker engine: start with a sample app {start * 1000:.0f} ms, first invocation {call * 1000:.1f} ms")
    assert start < 3
