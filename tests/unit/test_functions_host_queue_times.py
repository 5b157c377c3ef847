"""The queue trigger's times and numbers are those measured with the WebJobs SDK (docs/reference/host.md)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from functions_host.function_index import AppNotLoaded
from functions_host.host_json import HostConfig, read_config
from functions_host.host_mode import HostMode
from functions_host.poll_interval import PollInterval
from functions_host.worker import InvocationResult
from shared.storage.base import BodyEncoding
from tests.memory_queue import MemoryQueue
from tests.unit.virtual_host import MEASURED, VirtualHost, fail, in_virtual_time, seconds, succeed, takes

DAY = 86400.0
HALF_DAY = DAY / 2
PROJECT = read_config(Path(__file__).resolve().parents[2], {})
MEASURED_WAITS = [(0.1, 0.1), (0.18, 0.22), (0.26, 0.34), (0.42, 0.58), (0.74, 1.06), (1.38, 2.02), (2.66, 3.94)]
"""The measured waits, within the limits of their random part."""


def test_the_waits_at_an_empty_queue_grow_as_measured() -> None:
    interval = PollInterval(5)
    for _ in range(50):
        interval.reset()
        waits = [interval.next() for _ in range(10)]
        for wait, (least, most) in zip(waits, MEASURED_WAITS, strict=False):
            assert least <= wait <= most
        assert waits[7:] == [5, 5, 5]
    middle = PollInterval(5, lambda least, most: (least + most) / 2)
    assert [round(middle.next(), 1) for _ in range(8)] == [0.1, 0.2, 0.3, 0.5, 0.9, 1.7, 3.3, 5]


async def _idle_checks() -> list[float]:
    host = VirtualHost({"work": succeed})
    await host.serve_for(60)
    host.close()
    return [later - earlier for earlier, later in pairwise(host.queues["work"].received_at)]


def test_an_idle_listener_checks_its_queue_at_these_waits() -> None:
    waits = in_virtual_time(_idle_checks)
    assert waits[:3] == pytest.approx([0.1, 0.2, 0.3], abs=0.05)
    assert waits[7:10] == pytest.approx([5, 5, 5])
    assert len(waits) < 20


async def _waits_after_a_message() -> list[float]:
    host = VirtualHost({"work": succeed})
    host.start()
    await asyncio.sleep(30)
    host.queues["work"].put_many(["one"])
    put_at = len(host.queues["work"].received_at)
    await asyncio.sleep(6)
    await host.serve_for(0)
    host.close()
    return [later - earlier for earlier, later in pairwise(host.queues["work"].received_at[put_at:])]


def test_a_message_found_starts_the_waits_again() -> None:
    waits = in_virtual_time(_waits_after_a_message)
    assert waits[:3] == pytest.approx([0, 0.1, 0.2], abs=0.03)


async def _starts(mode: HostMode, config: HostConfig = MEASURED) -> list[float]:
    delays = []

    async def work(body: str) -> InvocationResult:
        delays.append(seconds() - float(body))
        return InvocationResult()

    host = VirtualHost({"work": work}, mode=mode, config=config)
    host.start()
    for number in range(200):
        await asyncio.sleep(60 + number * 0.137)
        host.queues["work"].put_many([str(seconds())])
        if mode.fast_hops:
            host.host.invoker.on_put("work")
        await asyncio.sleep(10)
    await host.serve_for(0)
    host.close()
    return delays


def test_a_message_put_while_idle_starts_with_the_next_check() -> None:
    delays = in_virtual_time(lambda: _starts(HostMode()))
    assert len(delays) == 200
    assert max(delays) <= 5
    assert median(delays) == pytest.approx(2.5, abs=0.9)  # measured: 2.15 of 20 samples


def test_with_the_projects_interval_a_message_starts_within_a_second() -> None:
    delays = in_virtual_time(lambda: _starts(HostMode(), PROJECT))
    assert max(delays) <= 1
    assert median(delays) == pytest.approx(0.5, abs=0.2)


async def _two_hops() -> list[float]:
    delays = []

    async def poll(body: str) -> InvocationResult:
        host.queues["route"].put_many([body])
        return InvocationResult()

    async def route(body: str) -> InvocationResult:
        delays.append(seconds() - float(body))
        return InvocationResult()

    host = VirtualHost({"poll": poll, "route": route}, config=PROJECT)
    host.start()
    for number in range(400):
        await asyncio.sleep(60 + number * 0.137)
        host.queues["poll"].put_many([str(seconds())])
        await asyncio.sleep(20)
    await host.serve_for(0)
    host.close()
    return delays


def test_the_two_waits_before_a_result_leave_a_second_of_three_for_the_work() -> None:
    """The documented shares are those of two independent waits (docs/reference/host.md)."""
    delays = sorted(in_virtual_time(_two_hops))
    assert len(delays) == 400
    assert delays[-1] <= 2
    assert delays[379] == pytest.approx(1.7, abs=0.2)


def test_an_output_binding_wakes_the_next_function_only_with_fast_hops() -> None:
    async def hop(mode: HostMode) -> float:
        host = VirtualHost({"work": succeed}, mode=mode)
        host.start()
        await asyncio.sleep(60)
        host.queues["work"].put_many(["from a binding"])
        put_at = seconds()
        host.host.invoker.on_put("work")
        await asyncio.sleep(10)
        await host.serve_for(0)
        host.close()
        return host.engine.times("work")[0] - put_at

    assert in_virtual_time(lambda: hop(HostMode(fast_hops=True))) == 0
    assert max(in_virtual_time(lambda: hop(HostMode())) for _ in range(10)) > 0.5


async def _failing(visibility: float) -> tuple[VirtualHost, float]:
    host = VirtualHost({"work": fail}, config=replace(MEASURED, visibility_timeout=visibility))
    host.queues["work"].put_many(["bad"])
    host.start()
    while not host.queues["work-poison"].bodies():  # noqa: ASYNC110  virtual time
        await asyncio.sleep(0.01)
    moved_at = seconds()
    await host.serve_for(0)
    host.close()
    return host, moved_at


def test_a_function_that_always_fails_is_tried_five_times_a_minute_apart() -> None:
    host, moved_at = in_virtual_time(lambda: _failing(60))
    times = host.engine.times("work")
    assert host.engine.tries == [1, 2, 3, 4, 5]
    assert all(60 <= later - earlier <= 65.1 for earlier, later in pairwise(times))  # measured: 61.6 to 62.9 s
    assert moved_at - times[-1] < 0.05
    assert host.queues["work-poison"].lives() == pytest.approx([7 * DAY], abs=1)
    assert host.queues["work"].bodies() == []


def test_without_a_visibility_timeout_the_five_tries_take_half_a_second() -> None:
    host, moved_at = in_virtual_time(lambda: _failing(0))
    assert host.engine.tries == [1, 2, 3, 4, 5]
    assert moved_at < 0.6


async def _on_the_poison_queue() -> VirtualHost:
    host = VirtualHost({"work-poison": fail})
    host.queues["work-poison"].put_many(["bad"], ttl=HALF_DAY)
    await host.serve_for(HALF_DAY + 1800)
    host.close()
    return host


def test_a_failed_message_of_a_poison_queue_is_run_every_ten_minutes_until_it_expires() -> None:
    host = in_virtual_time(_on_the_poison_queue)
    times = host.engine.times("work-poison")
    assert all(600 <= later - earlier <= 605.1 for earlier, later in pairwise(times))  # measured: 602.8 s
    assert HALF_DAY / 606 < len(times) <= HALF_DAY / 600
    assert host.engine.tries[5] == 6
    assert host.engine.tries[-1] == len(times)
    assert host.queues["work-poison"].bodies() == []
    assert "release" not in host.queues["work-poison"].calls


async def _at_its_sixth_try() -> VirtualHost:
    host = VirtualHost({"work": succeed})
    queue = host.queues["work"]
    queue.put_many(["interrupted"])
    for _ in range(5):
        (item,) = queue.receive(1, hidden_for=600)
        queue.release(item)
    await host.serve_for(1)
    host.close()
    return host


def test_a_message_at_its_sixth_try_is_moved_without_a_call() -> None:
    host = in_virtual_time(_at_its_sixth_try)
    assert host.engine.calls == []
    assert host.queues["work-poison"].bodies() == ["interrupted"]


async def _long() -> VirtualHost:
    host = VirtualHost({"work": takes(780)})
    host.queues["work"].put_many(["long"])
    await host.serve_for(1500)
    host.close()
    return host


def test_a_long_run_is_renewed_every_five_minutes_and_not_run_twice() -> None:
    host = in_virtual_time(_long)
    assert len(host.engine.calls) == 1
    began = host.engine.times("work")[0]
    renewals = [at - 1000 - began for at in host.queues["work"].renewed_at]
    assert renewals == pytest.approx([300, 600])  # measured: 299.9 and 600.0 s
    assert host.queues["work"].bodies() == []  # deleted with the receipt of the last renewal


async def _failed_renewals() -> VirtualHost:
    host = VirtualHost({"work": takes(780)})
    host.queues["work"].put_many(["long"])
    host.queues["work"].failing = {"renew": 2}
    await host.serve_for(1500)
    host.close()
    return host


def test_a_renewal_that_fails_is_tried_again_before_the_message_reappears() -> None:
    host = in_virtual_time(_failed_renewals)
    assert len(host.engine.calls) == 1
    assert [at - 1000 for at in host.queues["work"].renewed_at] == pytest.approx([300 + 150 + 75], abs=1)


async def _killed() -> tuple[list[float], list[int]]:
    first = VirtualHost({"work": takes(1000)})
    first.queues["work"].put_many(["a", "b"])
    serving = first.start()
    await asyncio.sleep(5)
    serving.cancel()  # no message is released, as after kill -9
    await asyncio.wait([serving])
    second = VirtualHost({"work": succeed}, queues=first.queues)
    await second.serve_for(1000)
    first.close()
    second.close()
    return second.engine.times("work"), second.engine.tries


def test_messages_of_a_killed_process_run_again_after_ten_minutes_as_a_second_try() -> None:
    times, tries = in_virtual_time(_killed)
    assert tries == [2, 2]
    assert all(600 <= at <= 605.1 for at in times)  # measured: 604 s


async def _timed_out() -> VirtualHost:
    host = VirtualHost({"work": takes(100)}, config=replace(MEASURED, function_timeout=30))
    host.queues["work"].put_many(["slow"])
    await host.serve_for(1000)
    host.close()
    return host


def test_a_function_timeout_is_a_failed_try_like_any_other() -> None:
    host = in_virtual_time(_timed_out)
    times = host.engine.times("work")
    assert host.engine.tries == [1, 2, 3, 4, 5]
    assert all(90 <= later - earlier <= 95.1 for earlier, later in pairwise(times))
    assert host.queues["work-poison"].bodies() == ["slow"]


async def _of_different_lengths() -> int:
    async def work(body: str) -> InvocationResult:
        await asyncio.sleep(float(body))
        return InvocationResult()

    host = VirtualHost({"work": work})
    host.queues["work"].put_many([f"{0.4 + number % 8 * 0.2}" for number in range(50)])
    await host.serve_for(60)
    host.close()
    assert len(host.engine.calls) == 50
    return host.engine.most_running


def test_six_run_at_once_and_four_if_all_end_together() -> None:
    assert in_virtual_time(_of_different_lengths) == 6

    async def equal() -> tuple[int, float]:
        host = VirtualHost({"work": takes(1)})
        host.queues["work"].put_many(["x"] * 50)
        await host.serve_for(60)
        host.close()
        return host.engine.most_running, host.engine.times("work")[-1] + 1

    most, duration = in_virtual_time(equal)
    assert most == 4
    assert duration == pytest.approx(13.2, abs=0.3)  # measured


async def _undecodable(queue: str, encoding: BodyEncoding, duration: float) -> VirtualHost:
    host = VirtualHost({queue: succeed})
    host.queues[queue].put_many(["{}"], ttl=HALF_DAY, encoding=encoding)
    await host.serve_for(duration)
    host.close()
    return host


def test_a_body_that_is_not_base64_is_moved_at_once_and_never_reaches_the_function() -> None:
    host = in_virtual_time(lambda: _undecodable("work", BodyEncoding.NOT_BASE64, 1))
    assert host.engine.calls == []
    assert host.queues["work"].calls["receive"] > 0
    assert host.queues["work-poison"].bodies() == ["{}"]
    assert host.queues["work"].bodies() == []


def test_a_body_that_is_not_base64_stays_on_a_poison_queue_until_it_expires(caplog: pytest.LogCaptureFixture) -> None:
    host = in_virtual_time(lambda: _undecodable("work-poison", BodyEncoding.NOT_BASE64, HALF_DAY + 1800))
    assert host.engine.calls == []
    warnings = [record for record in caplog.records if "is not base64" in record.message]
    assert HALF_DAY / 606 < len(warnings) <= HALF_DAY / 600
    assert host.queues["work-poison"].bodies() == []


def test_base64_of_other_bytes_than_utf_8_fails_five_times_without_a_call(caplog: pytest.LogCaptureFixture) -> None:
    host = in_virtual_time(lambda: _undecodable("work", BodyEncoding.NOT_UTF8, 400))
    assert host.engine.calls == []
    assert [line.split(", ")[2].split(" failed")[0] for line in caplog.messages if "UTF-8" in line] == [
        f"try {number} of 5" for number in range(1, 6)
    ]
    assert host.queues["work-poison"].bodies() == ["{}"]


async def _empty() -> VirtualHost:
    host = VirtualHost({"work": succeed})
    host.queues["work"].put_many([""])
    await host.serve_for(1)
    host.close()
    return host


def test_an_empty_body_reaches_the_function() -> None:
    assert [body for _, body, _ in in_virtual_time(_empty).engine.calls] == [""]


async def _two_hosts() -> tuple[VirtualHost, VirtualHost]:
    first = VirtualHost({"work": takes(0.3)})
    second = VirtualHost({"work": takes(0.3)}, queues=first.queues)
    first.queues["work"].put_many([str(number) for number in range(120)])
    await asyncio.gather(first.serve_for(60), second.serve_for(60))
    first.close()
    second.close()
    return first, second


def test_two_hosts_share_a_queue() -> None:
    hosts = in_virtual_time(_two_hosts)
    assert [len(host.engine.calls) for host in hosts] == [60, 60]  # measured: 60 and 60
    assert [host.engine.most_running for host in hosts] == [4, 4]
    assert len({body for host in hosts for _, body, _ in host.engine.calls}) == 120


def test_a_queue_without_a_poison_queue_is_reported() -> None:
    async def start() -> None:
        VirtualHost({"work": succeed}, queues={"work": MemoryQueue()})

    with pytest.raises(AppNotLoaded, match="function work uses the queue work-poison"):
        in_virtual_time(start)
