"""The simulator's throttling and latency."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from graph_simulator import FaultPlan
from tests.integration.simulator_support import SimulatorFixture, assert_refused, letter, running_simulator
from tests.servers.certificates import Ca


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path, FaultPlan(seed=5)) as fixture:
        yield fixture


def at_once(sim: SimulatorFixture, paths: list[str]) -> list[httpx.Response]:
    start = threading.Barrier(len(paths))

    def ask(path: str) -> httpx.Response:
        start.wait()
        return sim.get(path)

    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(ask, paths))


def test_a_fifth_concurrent_request_is_throttled(sim: SimulatorFixture) -> None:
    sim.graph.fault_plan.latency = 0.5
    answers = at_once(sim, [sim.messages] * 6)
    refusals = [response for response in answers if response.status_code == 429]
    assert len(refusals) == 2
    for refusal in refusals:
        assert_refused(refusal, 429, "ApplicationThrottled")
        assert refusal.headers["Retry-After"] == "1"
    assert sim.graph.peak_concurrency >= 5
    assert sim.get(sim.messages).status_code == 200


def test_each_mailbox_has_its_own_limit(sim: SimulatorFixture) -> None:
    sim.graph.mailbox("other@example.com")
    sim.graph.fault_plan.latency = 0.4
    other = "/users/other@example.com/mailFolders/inbox/messages"
    answers = at_once(sim, [sim.messages, other] * 4)
    assert [response.status_code for response in answers] == [200] * 8


def test_an_unread_response_holds_its_slot(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(b"x" * 20_000_000)
    url = sim.graph.endpoint + sim.message(message, "/$value")
    signed = {"Authorization": f"Bearer {sim.graph.token(sim.app)}"}
    streams = [sim.client.stream("GET", url, headers=signed) for _ in range(4)]
    opened = [item.__enter__() for item in streams]
    assert_refused(sim.get(sim.messages), 429, "ApplicationThrottled")
    for item in opened:
        assert len(item.read()) == 20_000_000
    assert sim.get(sim.messages).status_code == 200
    for stream in streams:
        stream.__exit__(None, None, None)


def test_a_client_with_a_whole_response_is_not_throttled(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(b"x" * 100_000)

    def ask(_: int) -> set[int]:
        return {sim.get(sim.message(message, "/$value")).status_code for _ in range(15)}

    with ThreadPoolExecutor(4) as pool:
        assert set().union(*pool.map(ask, range(4))) == {200}


def test_requests_are_throttled_and_unavailable_by_chance(sim: SimulatorFixture) -> None:
    sim.graph.fault_plan.throttle, sim.graph.fault_plan.retry_after = 1.0, 7
    answer = sim.get(sim.messages)
    assert_refused(answer, 429, "ApplicationThrottled")
    assert answer.headers["Retry-After"] == "7"
    sim.graph.fault_plan.throttle, sim.graph.fault_plan.unavailable = 0.0, 1.0
    answer = sim.get(sim.messages)
    assert_refused(answer, 503, "ServiceUnavailable")
    assert answer.headers["Retry-After"] == "7"
    assert sim.get("/subscriptions").status_code == 200
    sim.graph.fault_plan.unavailable = 0.5
    assert {sim.get(sim.messages).status_code for _ in range(30)} == {200, 503}


def test_a_throttled_removal_removes_nothing(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    sim.graph.fault_plan.throttle = 1.0
    assert_refused(sim.ask("DELETE", sim.message(message)), 429, "ApplicationThrottled")
    assert sim.box.ids() == [message]


def test_dropped_requests_are_not_processed(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    sim.graph.fault_plan.drop_requests = 2
    with pytest.raises(httpx.TransportError):
        sim.ask("DELETE", sim.message(message))
    with pytest.raises(httpx.TransportError):
        sim.client.get(f"{sim.graph.url}/{sim.graph.tenant}/v2.0/.well-known/openid-configuration")
    assert sim.box.ids() == [message]
    assert [request.status for request in sim.graph.requests] == [0]
    assert sim.get(sim.messages).status_code == 200


def test_dropped_responses_are_processed(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    sim.graph.fault_plan.drop_responses = 1
    with pytest.raises(httpx.TransportError):
        sim.ask("DELETE", sim.message(message))
    assert sim.box.ids() == []
    assert sim.graph.requests[-1].status == 0
    assert sim.get(sim.message(message)).status_code == 200


def test_a_disconnected_client_releases_its_slot(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(b"x" * 20_000_000)
    url = sim.graph.endpoint + sim.message(message, "/$value")
    signed = {"Authorization": f"Bearer {sim.graph.token(sim.app)}"}
    for _ in range(6):
        with sim.client.stream("GET", url, headers=signed) as answer:
            assert answer.status_code == 200
    for _ in range(100):
        if len(sim.graph.requests) == 6:
            break
        time.sleep(0.05)
    assert [request.status for request in sim.graph.requests] == [0] * 6


def test_requests_are_recorded(sim: SimulatorFixture) -> None:
    sim.get(sim.messages, {"$top": "3"})
    seen = sim.graph.requests[-1]
    assert (seen.method, seen.path, seen.query) == ("GET", "/v1.0" + sim.messages, {"$top": "3"})
    assert (seen.mailbox, seen.status, seen.app) == ("support@example.com", 200, sim.app.client_id)
    assert seen.prefer == 'IdType="ImmutableId"'


def test_a_page_above_the_maximum_is_a_gateway_timeout(sim: SimulatorFixture) -> None:
    sim.graph.fault_plan.max_page_size = 50
    for _ in range(60):
        sim.box.deliver(letter())
    assert_refused(sim.get(sim.messages, {"$top": "51"}), 504, "UnknownError")
    assert len(sim.listed({"$top": "50"})) == 50
    assert_refused(sim.get(f"{sim.messages}/delta", headers={"Prefer": "odata.maxpagesize=51"}), 504, "UnknownError")
    answer = sim.get(f"{sim.messages}/delta", headers={"Prefer": "odata.maxpagesize=50"})
    assert answer.status_code == 200
    link = answer.json()["@odata.nextLink"]
    assert_refused(sim.get(link, headers={"Prefer": "odata.maxpagesize=51"}), 504, "UnknownError")


def test_single_messages_are_forbidden_or_missing(sim: SimulatorFixture) -> None:
    first, second, third = (sim.box.deliver(letter(number)) for number in range(3))
    sim.graph.fault_plan.forbidden.add(first)
    sim.graph.fault_plan.missing.add(second)
    assert_refused(sim.get(sim.message(first, "/$value")), 403, "ErrorAccessDenied")
    assert_refused(sim.get(sim.message(second, "/$value")), 404, "ErrorItemNotFound")
    assert sim.get(sim.message(third, "/$value")).status_code == 200
    assert len(sim.listed()) == 3
