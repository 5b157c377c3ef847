"""While draining, an idle queue is checked seldom, and a queue whose messages may be new is checked soon."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from functions_host.queue_listener import DRAIN_POLL_INTERVAL, MAX_DRAIN_POLL_INTERVAL
from functions_host.worker import InvocationResult
from tests.memory_queue import MemoryQueue
from tests.unit.virtual_host import VirtualHost, in_virtual_time, seconds, succeed, takes


def test_idle_queues_are_checked_seldom_while_a_function_runs() -> None:
    async def scenario() -> tuple[list[float], float]:
        host = VirtualHost({"work": takes(30), "idle": succeed})
        host.queues["work"].put_many(["x"])
        await host.host.drain()
        host.close()
        return host.queues["idle"].received_at, seconds()

    checks, ended = in_virtual_time(scenario)
    assert max(later - earlier for earlier, later in pairwise(checks)) <= MAX_DRAIN_POLL_INTERVAL + 0.01
    assert len(checks) <= 30 / MAX_DRAIN_POLL_INTERVAL + 10
    assert ended < 30 + 2 * DRAIN_POLL_INTERVAL


def test_short_functions_do_not_cause_checks_of_other_queues_while_one_runs() -> None:
    async def scenario() -> list[float]:
        host = VirtualHost({"work": takes(30), "short": takes(0.2), "idle": succeed})
        host.queues["work"].put_many(["x"])
        host.queues["short"].put_many(["x"] * 400)
        await host.host.drain()
        host.close()
        return host.queues["idle"].received_at

    assert len(in_virtual_time(scenario)) <= 30 / MAX_DRAIN_POLL_INTERVAL + 10


def test_a_message_that_a_function_puts_on_another_queue_runs_soon() -> None:
    async def scenario() -> tuple[float, float]:
        queues: dict[str, MemoryQueue] = {}

        async def put(body: str) -> InvocationResult:
            await asyncio.sleep(10)
            queues["second"].put_many([body])  # not as an output: the host does not know
            return InvocationResult()

        host = VirtualHost({"first": put, "second": succeed})
        queues.update(host.queues)
        host.queues["first"].put_many(["x"])
        await host.host.drain()
        host.close()
        return host.engine.times("second")[0], seconds()

    ran, ended = in_virtual_time(scenario)
    assert ran <= 10 + DRAIN_POLL_INTERVAL + 0.01
    assert ended <= ran + 2 * DRAIN_POLL_INTERVAL


def test_messages_that_a_running_function_puts_are_found_within_the_longest_interval() -> None:
    async def scenario() -> float:
        queues: dict[str, MemoryQueue] = {}

        async def put(body: str) -> InvocationResult:
            await asyncio.sleep(10)
            queues["second"].put_many([body])
            await asyncio.sleep(10)
            return InvocationResult()

        host = VirtualHost({"first": put, "second": succeed})
        queues.update(host.queues)
        host.queues["first"].put_many(["x"])
        await host.host.drain()
        host.close()
        return host.engine.times("second")[0]

    assert 10 <= in_virtual_time(scenario) <= 10 + MAX_DRAIN_POLL_INTERVAL + 0.01
