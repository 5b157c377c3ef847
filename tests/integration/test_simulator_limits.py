"""What the stand-in answers when it is asked too much, or has no time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from graph_simulator import FaultPlan
from tests.integration.simulator_support import Place, letter, refused, standing
from tests.servers.certificates import Ca


@pytest.fixture
def place(ca: Ca, tmp_path: Path) -> Iterator[Place]:
    with standing(ca, tmp_path, FaultPlan(seed=5)) as found:
        yield found


def at_once(place: Place, paths: list[str]) -> list[httpx.Response]:
    start = threading.Barrier(len(paths))

    def ask(path: str) -> httpx.Response:
        start.wait()
        return place.get(path)

    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(ask, paths))


def test_four_at_a_time_and_no_more(place: Place) -> None:
    place.graph.trouble.latency = 0.5
    answers = at_once(place, [place.messages] * 6)
    refusals = [each for each in answers if each.status_code == 429]
    assert len(refusals) == 2
    for each in refusals:
        refused(each, 429, "ApplicationThrottled")
        assert each.headers["Retry-After"] == "1"
    assert place.graph.most_seen_at_once >= 5
    assert place.get(place.messages).status_code == 200


def test_each_mailbox_has_its_own_limit(place: Place) -> None:
    place.graph.mailbox("other@example.com")
    place.graph.trouble.latency = 0.4
    other = "/users/other@example.com/mailFolders/inbox/messages"
    answers = at_once(place, [place.messages, other] * 4)
    assert [each.status_code for each in answers] == [200] * 8


def test_a_body_that_is_not_read_holds_its_place(place: Place) -> None:
    message = place.box.deliver(b"x" * 20_000_000)
    url = place.graph.endpoint + place.message(message, "/$value")
    signed = {"Authorization": f"Bearer {place.graph.token(place.app)}"}
    streams = [place.client.stream("GET", url, headers=signed) for _ in range(4)]
    opened = [each.__enter__() for each in streams]
    refused(place.get(place.messages), 429, "ApplicationThrottled")
    for each in opened:
        assert len(each.read()) == 20_000_000
    assert place.get(place.messages).status_code == 200
    for stream in streams:
        stream.__exit__(None, None, None)


def test_who_has_an_answer_may_ask_again(place: Place) -> None:
    message = place.box.deliver(b"x" * 100_000)

    def ask(_: int) -> set[int]:
        return {place.get(place.message(message, "/$value")).status_code for _ in range(15)}

    with ThreadPoolExecutor(4) as pool:
        assert set().union(*pool.map(ask, range(4))) == {200}


def test_throttling_and_unavailability_by_chance(place: Place) -> None:
    place.graph.trouble.throttle, place.graph.trouble.retry_after = 1.0, 7
    answer = place.get(place.messages)
    refused(answer, 429, "ApplicationThrottled")
    assert answer.headers["Retry-After"] == "7"
    place.graph.trouble.throttle, place.graph.trouble.unavailable = 0.0, 1.0
    answer = place.get(place.messages)
    refused(answer, 503, "ServiceUnavailable")
    assert answer.headers["Retry-After"] == "7"
    assert place.get("/subscriptions").status_code == 200
    place.graph.trouble.unavailable = 0.5
    assert {place.get(place.messages).status_code for _ in range(30)} == {200, 503}


def test_a_throttled_removal_removes_nothing(place: Place) -> None:
    message = place.box.deliver(letter())
    place.graph.trouble.throttle = 1.0
    refused(place.ask("DELETE", place.message(message)), 429, "ApplicationThrottled")
    assert place.box.ids() == [message]


def test_requests_that_are_cut(place: Place) -> None:
    message = place.box.deliver(letter())
    place.graph.trouble.cut_requests = 2
    with pytest.raises(httpx.TransportError):
        place.ask("DELETE", place.message(message))
    with pytest.raises(httpx.TransportError):
        place.client.get(f"{place.graph.url}/{place.graph.tenant}/v2.0/.well-known/openid-configuration")
    assert place.box.ids() == [message]
    assert [each.status for each in place.graph.requests] == [0]
    assert place.get(place.messages).status_code == 200


def test_answers_that_are_lost(place: Place) -> None:
    message = place.box.deliver(letter())
    place.graph.trouble.cut_answers = 1
    with pytest.raises(httpx.TransportError):
        place.ask("DELETE", place.message(message))
    assert place.box.ids() == []
    assert place.graph.requests[-1].status == 0
    assert place.get(place.message(message)).status_code == 200


def test_who_goes_away_gives_up_its_place(place: Place) -> None:
    message = place.box.deliver(b"x" * 20_000_000)
    url = place.graph.endpoint + place.message(message, "/$value")
    signed = {"Authorization": f"Bearer {place.graph.token(place.app)}"}
    for _ in range(6):
        with place.client.stream("GET", url, headers=signed) as answer:
            assert answer.status_code == 200
    for _ in range(100):
        if len(place.graph.requests) == 6:
            break
        time.sleep(0.05)
    assert [each.status for each in place.graph.requests] == [0] * 6


def test_requests_are_written_down(place: Place) -> None:
    place.get(place.messages, {"$top": "3"})
    seen = place.graph.requests[-1]
    assert (seen.method, seen.path, seen.query) == ("GET", "/v1.0" + place.messages, {"$top": "3"})
    assert (seen.mailbox, seen.status, seen.app) == ("support@example.com", 200, place.app.client_id)
    assert seen.prefer == 'IdType="ImmutableId"'


def test_a_page_that_is_too_large_is_a_gateways_timeout(place: Place) -> None:
    place.graph.trouble.largest_page = 50
    for _ in range(60):
        place.box.deliver(letter())
    refused(place.get(place.messages, {"$top": "51"}), 504, "UnknownError")
    assert len(place.listed({"$top": "50"})) == 50
    refused(place.get(f"{place.messages}/delta", headers={"Prefer": "odata.maxpagesize=51"}), 504, "UnknownError")
    answer = place.get(f"{place.messages}/delta", headers={"Prefer": "odata.maxpagesize=50"})
    assert answer.status_code == 200
    link = answer.json()["@odata.nextLink"]
    refused(place.get(link, headers={"Prefer": "odata.maxpagesize=51"}), 504, "UnknownError")


def test_single_messages_are_forbidden_or_lost(place: Place) -> None:
    first, second, third = (place.box.deliver(letter(number)) for number in range(3))
    place.graph.trouble.forbidden.add(first)
    place.graph.trouble.missing.add(second)
    refused(place.get(place.message(first, "/$value")), 403, "ErrorAccessDenied")
    refused(place.get(place.message(second, "/$value")), 404, "ErrorItemNotFound")
    assert place.get(place.message(third, "/$value")).status_code == 200
    assert len(place.listed()) == 3
