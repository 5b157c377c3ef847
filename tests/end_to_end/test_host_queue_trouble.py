"""The queue trigger when something is wrong: with messages, functions, the storage, or its queues."""

from __future__ import annotations

import pytest

from functions_host.host import Host
from functions_host.host_json import HostConfig
from shared.errors import ServiceUnavailable
from tests.end_to_end.own_process import APPS, in_own_process
from tests.end_to_end.queue_lab import QUEUES, QUICK, Lab, Told, drain
from tests.memory_queue import MemoryQueue, stores_of


def test_a_failure_is_one_line_without_the_message_itself() -> None:
    told = in_own_process(drain, {"work": ["once s3cret"]})
    (line,) = [line for line in told.log if "failed" in line]
    assert line == "function work, message m1, try 1 of 5 failed: RuntimeError: only the first time"
    assert [call["try"] for call in told.of("work")] == [1, 2]


def test_a_message_whose_output_cannot_be_put_is_tried_again() -> None:
    told = in_own_process(drain, {"echo": ["said"]}, failing={"single": {"put_many": 2}})
    assert told.left["single"] == ["said"]
    counts = told.drained.functions["echo"]
    assert (counts.succeeded, counts.failed) == (1, 2)
    assert any("its output could not be put: the queue is ill" in line for line in told.log)


def test_no_body_stops_the_pump() -> None:
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
    told = in_own_process(drain, {"work": hostile, "many": ["no number", "1"]})
    assert {call["body"] for call in told.of("work")} == {*hostile, "part 0 é"}
    assert set(told.left) == {"many", "single"}
    assert told.left["many"] == ["no number"]  # it has no poison queue in this lab, and is left hidden
    assert len(told.of("work_poison")) == 1


def test_an_ill_storage_is_waited_for_and_nothing_runs_twice() -> None:
    told = in_own_process(drain, {"work": ["one"]}, failing={"work": {"receive": 3, "delete": 2}})
    assert [call["try"] for call in told.of("work")] == [1]
    assert told.left == {}
    assert any("queue work cannot be read (1 in a row)" in line for line in told.log)


async def _dead_storage() -> str:
    lab = Lab()
    lab.queues["many"].failing = {"receive": 1000}
    async with Host.started(APPS / "queues", lab.stores, QUICK) as host:
        try:
            await host.drain(patience=3)
        except ServiceUnavailable as error:
            return str(error)
    return "drained"


def test_draining_gives_up_on_a_dead_storage() -> None:
    assert in_own_process(_dead_storage) == "the queue is ill (receive)"


async def _tried_too_often() -> Told:
    lab = Lab()
    queue = lab.queues["work"]
    queue.put_many(["fail"])
    for _ in range(5):
        (item,) = queue.receive(1, hidden_for=600)
        queue.release(item)
    async with Host.started(APPS / "queues", lab.stores, QUICK) as host:
        return lab.told(await host.drain())


def test_a_message_whose_last_try_was_cut_off_is_not_run_a_sixth_time() -> None:
    told = in_own_process(_tried_too_often)
    assert told.of("work") == []
    assert [call["body"] for call in told.of("work_poison")] == ["fail"]


def test_a_function_that_takes_too_long_is_a_failure_and_its_message_stays_hidden() -> None:
    config = HostConfig(batch_size=3, new_batch_threshold=1, function_timeout=0.3)
    told = in_own_process(drain, {"work": ["sleep 1.5", "fine"]}, config)
    assert told.left == {"work": ["sleep 1.5"]}
    assert told.drained.hidden == {"work": 1}
    assert told.drained.functions["work"].failed == 1
    assert any("FunctionTimeout: it ran longer than 0.3 s" in line for line in told.log)


@pytest.mark.parametrize("missing", ["single", "work"])
def test_a_queue_that_the_storage_lacks_is_named(missing: str) -> None:
    with pytest.raises(Exception, match=f"the queue {missing}, which the storage does not have"):
        in_own_process(_without, missing)


async def _without(missing: str) -> None:
    queues = {name: MemoryQueue() for name in QUEUES if name != missing}
    async with Host.started(APPS / "queues", stores_of(queues)):
        pass
