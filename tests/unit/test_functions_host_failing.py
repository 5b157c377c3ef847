"""What ends the host, and what it does at its end, as measured with the WebJobs SDK (docs/reference/host.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from functions_host.host import GRACE
from functions_host.host_mode import AS_IN_AZURE, HostMode
from functions_host.storage_retry import QueueStorageFailed
from functions_host.worker import InvocationResult
from shared.errors import ServiceUnavailable, Throttled, TransientError
from tests.unit.virtual_host import VirtualHost, in_virtual_time, seconds, succeed, takes

Errors = Callable[[str], TransientError]

FOREVER = 10**6


def unavailable(name: str) -> TransientError:
    return Throttled(f"503 ({name})", status=503)


def internal_error(name: str) -> TransientError:
    return ServiceUnavailable(f"500 ({name})", status=500)


def refused(name: str) -> TransientError:
    return ServiceUnavailable(f"connection refused ({name})")


def denied(name: str) -> TransientError:
    return ServiceUnavailable(f"403 ({name})", status=403)


async def _with_failures(
    error: Errors, failing: dict[str, int], duration: float, mode: HostMode = AS_IN_AZURE
) -> tuple[VirtualHost, float, str]:
    """Serve with one message, and return the host, the time of its end, and the error that ended it."""
    host = VirtualHost({"work": succeed}, mode=mode)
    host.queues["work"].put_many(["one"])
    host.queues["work"].error = error
    host.queues["work"].failing = dict(failing)
    text = ""
    try:
        await host.serve_for(duration)
    except QueueStorageFailed as caught:
        text = str(caught)
    host.close()
    return host, seconds(), text


@pytest.mark.parametrize("error", [unavailable, internal_error])
def test_the_host_goes_on_after_errors_of_the_service(error: Errors) -> None:
    host, ended, text = in_virtual_time(lambda: _with_failures(error, {"receive": 6}, 200))
    assert (ended, text) == (200, "")
    tries = [at - 1000 for at in host.queues["work"].received_at[:7]]
    assert 20 <= tries[5] - tries[0] <= 30  # measured: 6 tries in about 25 s
    assert len(host.engine.calls) == 1


def test_after_six_tries_the_host_waits_as_at_an_empty_queue() -> None:
    async def fail_later() -> list[float]:
        host = VirtualHost({"work": succeed})
        host.queues["work"].error = unavailable
        host.start()
        await asyncio.sleep(60)
        host.queues["work"].failing = {"receive": 6}
        count = len(host.queues["work"].received_at)
        await host.serve_for(60)
        host.close()
        return host.queues["work"].received_at[count:]

    tries = in_virtual_time(fail_later)
    assert 20 <= tries[5] - tries[0] <= 30
    assert tries[6] - tries[5] == pytest.approx(5)


def test_a_retry_waits_as_long_as_the_service_asks() -> None:
    async def throttled() -> list[float]:
        host = VirtualHost({"work": succeed})
        host.queues["work"].error = lambda name: Throttled(name, retry_after=17, status=503)
        host.queues["work"].failing = {"receive": 1}
        await host.serve_for(60)
        host.close()
        return host.queues["work"].received_at

    first, second, *_ = in_virtual_time(throttled)
    assert second - first == pytest.approx(17)


@pytest.mark.parametrize(("error", "least", "most"), [(refused, 20, 30), (denied, 0, 0)])
def test_the_host_ends_when_it_cannot_read_its_queues(error: Errors, least: float, most: float) -> None:
    host, ended, text = in_virtual_time(lambda: _with_failures(error, {"receive": FOREVER}, 200))
    assert least <= ended <= most  # measured: 24.2 s, and at once
    assert text == f"queue work: it cannot be read: {error('receive')}"
    assert host.engine.calls == []


@pytest.mark.parametrize(("error", "least", "most"), [(unavailable, 20, 30), (refused, 20, 30), (denied, 0, 0)])
def test_the_host_ends_when_it_cannot_delete_a_finished_message(error: Errors, least: float, most: float) -> None:
    host, ended, text = in_virtual_time(lambda: _with_failures(error, {"delete": FOREVER}, 200))
    assert least <= ended <= most  # measured: 25.7 s
    assert text.startswith("queue work: message m1 may run again within 600 s")
    assert len(host.engine.calls) == 1
    assert host.queues["work"].bodies() == ["one"]


def test_a_poison_queue_that_fails_ends_the_host_and_the_message_stays() -> None:
    async def fail_to_move() -> tuple[list[str], list[str]]:
        host = VirtualHost({"work": succeed})
        queue, poison = host.queues["work"], host.queues["work-poison"]
        queue.put_many(["one"])
        for _ in range(5):
            (item,) = queue.receive(1, hidden_for=600)
            queue.release(item)
        poison.failing = {"put_many": FOREVER}
        with pytest.raises(QueueStorageFailed, match="message m1 may run again"):
            await host.serve_for(200)
        host.close()
        return queue.bodies(), poison.bodies()

    assert in_virtual_time(fail_to_move) == (["one"], [])


@pytest.mark.parametrize("error", [refused, denied])
def test_a_host_that_stays_up_goes_on_when_the_storage_is_back(error: Errors) -> None:
    failing = {"receive": 20, "delete": 8}
    host, ended, text = in_virtual_time(lambda: _with_failures(error, failing, 2000, HostMode(stay_up=True)))
    assert (ended, text) == (2000, "")
    assert len(host.engine.calls) >= 1
    assert host.queues["work"].bodies() == []


async def _stopped(duration: float) -> tuple[int, float, list[str]]:
    host = VirtualHost({"work": takes(duration)})
    host.queues["work"].put_many(["running"])
    serving = host.start()
    await asyncio.sleep(1)
    host.queues["work"].put_many(["waiting"])
    host.stop.set()
    abandoned = await serving
    host.close()
    return abandoned, seconds() - 1, host.queues["work"].bodies()


def test_a_stop_waits_ten_seconds_for_running_functions() -> None:
    assert GRACE == 10
    abandoned, waited, left = in_virtual_time(lambda: _stopped(9))
    assert (abandoned, left) == (0, ["waiting"])
    assert waited == pytest.approx(8)
    abandoned, waited, left = in_virtual_time(lambda: _stopped(44))
    assert abandoned == 1
    assert waited == pytest.approx(10)
    assert left == ["running", "waiting"]  # the first is hidden for the rest of its ten minutes


def test_messages_of_a_poll_that_the_stop_cuts_off_are_not_run() -> None:
    async def stop_while_polling() -> tuple[VirtualHost, list[float]]:
        host = VirtualHost({"work": succeed})
        queue = host.queues["work"]
        queue.put_many(["a", "b", "c"])
        receive = queue.receive

        def stopped_meanwhile(count: int, *, hidden_for: float) -> object:
            host.stop.set()
            return receive(count, hidden_for=hidden_for)

        queue.receive = stopped_meanwhile  # type: ignore[method-assign,assignment]  # records, and calls the original
        await host.serve_for(5)
        host.close()
        return host, queue.hidden()

    host, hidden = in_virtual_time(stop_while_polling)
    assert host.engine.calls == []
    assert hidden == pytest.approx([600] * 3, abs=5)  # measured: 3 of 3, hidden for 600 s
    assert [message.dequeued for message in host.queues["work"]._messages.values()] == [1, 1, 1]


def test_functions_that_still_run_when_the_host_fails_are_counted() -> None:
    async def fail_meanwhile() -> int:
        async def work(body: str) -> InvocationResult:
            await asyncio.sleep(float(body))
            return InvocationResult()

        host = VirtualHost({"work": work})
        queue = host.queues["work"]
        queue.error = denied
        queue.put_many(["500", "1"])
        queue.failing = {"delete": FOREVER}
        with pytest.raises(QueueStorageFailed) as caught:
            await host.serve_for(100)
        host.close()
        assert seconds() == pytest.approx(11)
        return caught.value.abandoned

    assert in_virtual_time(fail_meanwhile) == 1


def test_a_stop_does_not_wait_for_retries_of_a_queue_that_cannot_be_read() -> None:
    async def stop_while_retrying() -> float:
        host = VirtualHost({"work": succeed})
        host.queues["work"].failing = {"receive": FOREVER}
        await host.serve_for(20)
        host.close()
        return seconds()

    assert in_virtual_time(stop_while_retrying) == pytest.approx(21)
