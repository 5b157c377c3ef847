"""The queue trigger when messages, functions, the storage or its queues fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from functions_host.host import Host
from functions_host.host_json import HostConfig
from functions_host.queue_listener import DRAINING
from functions_host.storage_retry import QueueStorageFailed, RetryPolicy
from tests.end_to_end.own_process import APPS, in_own_process
from tests.end_to_end.queue_lab import QUEUES, QUICK, QueueLab, ScenarioResult, drain
from tests.memory_queue import MemoryQueue, storage_with_queues


def test_a_failure_is_one_log_line_without_the_message_body() -> None:
    result = in_own_process(drain, {"work": ["once s3cret"]})
    (line,) = [line for line in result.log if "failed" in line]
    assert line == "function work, message m1, try 1 of 5 failed: RuntimeError: only the first time"
    assert [call["try"] for call in result.calls_of("work")] == [1, 2]


def test_a_message_whose_output_cannot_be_stored_is_retried() -> None:
    result = in_own_process(drain, {"echo": ["said"]}, failing={"single": {"put_many": 2}})
    assert result.left["single"] == ["said"]
    counts = result.drained.functions["echo"]
    assert (counts.succeeded, counts.failed) == (1, 2)
    assert any("its output could not be stored: the queue fails" in line for line in result.log)


def test_no_message_body_stops_the_listener() -> None:
    hostile = [
        "",
        "{",
        "\x00\x01",
        "null",
        "[1",
        "ÿþ é \u2028 😀",
        "fail " + "x" * 60_000,
        "%TICK%",
        "=== not base64 ===",
    ]
    result = in_own_process(drain, {"work": hostile, "many": ["no number", "1"]})
    assert {call["body"] for call in result.calls_of("work")} == {*hostile, "part 0 é"}
    assert set(result.left) == {"many-poison", "single"}
    assert result.left["many-poison"] == ["no number"]
    assert len(result.calls_of("work_poison")) == 1


def test_the_host_waits_for_failing_storage_and_runs_nothing_twice() -> None:
    result = in_own_process(drain, {"work": ["one"]}, failing={"work": {"receive": 3, "delete": 2}})
    assert [call["try"] for call in result.calls_of("work")] == [1]
    assert result.left == {}
    assert any("queue work cannot be read, failure 1 in a row" in line for line in result.log)


async def _dead_storage() -> str:
    lab = QueueLab()
    lab.queues["many"].failing = {"receive": 1000}
    async with Host.started(APPS / "queues", lab.stores, QUICK) as host:
        try:
            await host.drain(pace=replace(DRAINING, retries=RetryPolicy(3, 0.05, is_patient=True)))
        except QueueStorageFailed as error:
            return str(error)
    return "drained"


def test_draining_ends_when_the_storage_keeps_failing() -> None:
    assert in_own_process(_dead_storage) == "queue many: it cannot be read: the queue fails (receive)"


async def _tried_too_often() -> ScenarioResult:
    lab = QueueLab()
    queue = lab.queues["work"]
    queue.put_many(["fail"])
    for _ in range(5):
        (item,) = queue.receive(1, hidden_for=600)
        queue.release(item)
    async with Host.started(APPS / "queues", lab.stores, QUICK) as host:
        return lab.result(await host.drain())


def test_a_message_whose_last_try_was_interrupted_is_not_run_a_sixth_time() -> None:
    result = in_own_process(_tried_too_often)
    assert result.calls_of("work") == []
    assert [call["body"] for call in result.calls_of("work_poison")] == ["fail"]


def test_a_function_that_exceeds_its_timeout_is_retried_and_moved_to_the_poison_queue() -> None:
    config = HostConfig(batch_size=3, new_batch_threshold=1, function_timeout=0.3, max_dequeue_count=2)
    result = in_own_process(drain, {"work": ["sleep 1.5", "fine"]}, config)
    assert result.left == {}
    assert [call["try"] for call in result.calls_of("work") if call["body"] == "sleep 1.5"] == [1, 2]
    assert [call["body"] for call in result.calls_of("work_poison")] == ["sleep 1.5"]
    assert result.drained.functions["work"].failed == 2
    assert any("FunctionTimeout: it exceeded its timeout of 0.3 s" in line for line in result.log)


@pytest.mark.parametrize("missing", ["single", "work", "work-poison"])
def test_a_queue_that_is_missing_in_the_storage_is_reported(missing: str) -> None:
    with pytest.raises(Exception, match=f"the queue {missing}, which the storage does not have"):
        in_own_process(_without, missing)


async def _without(missing: str) -> None:
    queues = {name: MemoryQueue() for name in QUEUES if name != missing}
    async with Host.started(APPS / "queues", storage_with_queues(queues)):
        pass
