"""The queue trigger, with real functions on the worker engine."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from functions_host.host import DrainResult, Host
from functions_host.host_json import HostConfig
from functions_host.message_runner import HIDDEN_FOR
from shared.storage.folder.database import Database
from shared.storage.folder.queues import FolderQueue
from tests.end_to_end.own_process import APPS, in_own_process
from tests.end_to_end.queue_lab import QUEUES, QUICK, QueueLab, ScenarioResult, drain
from tests.memory_queue import storage_with_queues


def test_a_message_that_succeeds_is_deleted_and_has_its_metadata() -> None:
    result = in_own_process(drain, {"work": ["one", "two"]})
    assert result.left == {}
    assert result.drained.functions["work"].succeeded == 2
    assert result.drained.hidden == {}
    assert {call["body"] for call in result.seen} == {"one", "two"}
    for call in result.seen:
        assert call["try"] == 1
        assert call["id"].startswith("m")
        assert call["receipt"].startswith("r")
        assert abs(call["inserted"] - datetime.now(UTC)) < timedelta(minutes=1)
        assert call["expires"].year == 9999
        assert call["trace"].startswith("00-")
        assert call["trace"].endswith("-01")
    assert len({call["trace"] for call in result.seen}) == 2


async def _poisoned() -> ScenarioResult:
    lab = QueueLab()
    lab.queues["work"].put_many(["fail", "fail for good", "fine"])
    with lab.logging():
        async with Host.started(APPS / "queues", lab.stores, QUICK) as host:
            poison = lab.queues["work-poison"]
            lives: list[float] = []
            put = poison.put_many

            def watched(bodies: Any, **kwargs: Any) -> None:
                put(bodies, **kwargs)
                lives.extend(poison.lives())

            poison.put_many = watched  # type: ignore[method-assign]  # records, and calls the original
            return lab.result(await host.drain(), (lives, poison.hidden()))


def test_a_message_that_fails_five_times_is_on_the_poison_queue_for_seven_days() -> None:
    result = in_own_process(_poisoned)
    tries = {
        body: [c["try"] for c in result.calls_of("work") if c["body"] == body]
        for body in ("fail", "fail for good", "fine")
    }
    assert tries == {"fail": [1, 2, 3, 4, 5], "fail for good": [1, 2, 3, 4, 5], "fine": [1]}
    lives, hidden = result.more
    assert all(7 * 86400 - 60 < life <= 7 * 86400 for life in lives)
    assert len(lives) >= 2
    # A message that fails on a poison queue stays hidden for its ten minutes.
    assert [(c["body"], c["try"]) for c in sorted(result.calls_of("work_poison"), key=lambda c: str(c["body"]))] == [
        ("fail", 1),
        ("fail for good", 1),
    ]
    assert result.left == {"work-poison": ["fail for good"]}
    assert HIDDEN_FOR - 60 < hidden[0] <= HIDDEN_FOR
    assert result.drained.hidden == {"work-poison": 1}
    counts = result.drained.functions["work"]
    assert (counts.succeeded, counts.failed, counts.poisoned) == (1, 10, 2)
    assert abs(result.calls_of("work_poison")[0]["expires"] - datetime.now(UTC) - timedelta(days=7)) < timedelta(
        minutes=1
    )


def test_a_failed_message_waits_for_the_visibility_timeout() -> None:
    config = HostConfig(batch_size=3, new_batch_threshold=1, visibility_timeout=0.6, max_polling_interval=0.2)
    result = in_own_process(_drain_twice, config)
    first, second = result.calls_of("work")
    assert result.more == {"work": 1}  # the first drain reported it as hidden
    assert second["at"] - first["at"] >= 0.6
    assert result.left == {}


async def _drain_twice(config: HostConfig) -> ScenarioResult:
    lab = QueueLab()
    lab.queues["work"].put_many(["once more"])
    async with Host.started(APPS / "queues", lab.stores, config) as host:
        hidden = (await host.drain()).hidden
        time.sleep(0.7)  # noqa: ASYNC251  nothing else is under way
        return lab.result(await host.drain(), hidden)


def test_at_most_batch_size_plus_threshold_messages_run_at_once() -> None:
    result = in_own_process(drain, {"work": ["sleep 0.02", "sleep 0.05", "sleep 0.12", "sleep 0.2"] * 10})
    assert len(result.seen) == 40
    assert max(call["inside"] for call in result.seen) == 4  # batch size 3 plus threshold 1, and that many do run


def test_list_text_and_return_value_outputs_are_put() -> None:
    result = in_own_process(drain, {"many": ["3", "0"], "echo": ["said"]})
    assert {call["body"] for call in result.calls_of("work")} == {"part 0 é", "part 1 é", "part 2 é"}
    assert sorted(result.left["single"]) == ['["not a list but a text"]', "said"]


async def _run_manually() -> tuple[ScenarioResult, str]:
    lab = QueueLab()
    async with Host.started(APPS / "queues", lab.stores, QUICK) as host:
        assert (await host.run_function("spread", body="2")).error is None
        failed = await host.run_function("work", body="fail")
        return lab.result(DrainResult()), str(failed.error)


def test_a_function_can_be_run_manually() -> None:
    result, error = in_own_process(_run_manually)
    assert result.left == {"work": ["part 0 é", "part 1 é"], "single": ['["not a list but a text"]']}
    assert error == "RuntimeError: this one\nalways fails"


async def _watched() -> list[int]:
    lab = QueueLab()
    lab.queues["work"].put_many(["sleep 0.05"] * 20)
    result: list[int] = []
    async with Host.started(APPS / "queues", lab.stores, QUICK) as host:
        await host.drain(lambda counts: result.append(counts["work"].succeeded))
    return result


def test_progress_is_reported_while_it_drains() -> None:
    result = in_own_process(_watched)
    assert result == sorted(result)
    assert len(set(result)) > 3


async def _threads(count: str) -> tuple[int, list[str]]:
    lab = QueueLab()
    if count:
        os.environ["PYTHON_THREADPOOL_THREAD_COUNT"] = count
    with lab.logging():
        async with Host.started(APPS / "queues", lab.stores, QUICK) as host:
            return host.threads, lab.log


def test_the_engine_has_a_thread_for_each_function_that_may_run() -> None:
    threads, log = in_own_process(_threads, "")
    assert threads == 4 * (3 + 1)
    assert log == []
    _, log = in_own_process(_threads, "2")
    assert log == [
        "PYTHON_THREADPOOL_THREAD_COUNT is 2, but the triggers may start 16 functions at once: some functions will wait"
    ]


async def _on_a_folder(folder: Path) -> tuple[DrainResult, list[dict[str, Any]]]:
    database = Database(folder / "state.sqlite3")
    queues = {name: FolderQueue(database, name) for name in QUEUES}
    stores = replace(storage_with_queues(queues), close=database.close)
    queues["work"].put_many([f"part {number}" for number in range(100)] + ["fail"])
    async with Host.started(APPS / "queues", stores, QUICK) as host:
        drained = await host.drain()
    stores.close()
    return drained, list(sys.modules["function_app"].SEEN)


def test_the_queues_of_folder_storage_are_drained(tmp_path: Path) -> None:
    drained, seen = in_own_process(_on_a_folder, tmp_path)
    counts = drained.functions["work"]
    assert (counts.succeeded, counts.failed, counts.poisoned) == (100, 5, 1)
    assert drained.hidden == {}
    assert len({call["body"] for call in seen if call["function"] == "work"}) == 101
    assert [call["body"] for call in seen if call["function"] == "work_poison"] == ["fail"]
