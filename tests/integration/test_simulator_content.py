"""The simulator's raw content, and the faults in its delivery."""

from __future__ import annotations

import email
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.simulator_support import SimulatorFixture, assert_refused, letter, running_simulator
from tests.servers.certificates import Ca

MULTIPART = (
    b'Subject: two\r\nContent-Type: multipart/mixed;\r\n boundary="out"\r\n\r\nnot --out\r\n--out\r\n'
    b"Content-Type: multipart/alternative; boundary=out-in\r\n\r\n--out-in\r\n\r\ninner --out-in text\r\n--out-in--\r\n"
    b"--out\r\n\r\nouter\r\n--out--\r\n"
)


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path) as fixture:
        yield fixture


def value(sim: SimulatorFixture, message: str) -> httpx.Response:
    return sim.get(sim.message(message, "/$value"))


def read_into(got: bytearray, sim: SimulatorFixture, path: str) -> None:
    signed = {"Authorization": f"Bearer {sim.graph.token(sim.app)}"}
    with sim.client.stream("GET", sim.graph.endpoint + path, headers=signed) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_raw():
            got += chunk


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_000])
def test_content_is_returned_byte_for_byte(sim: SimulatorFixture, size: int) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    answer = value(sim, sim.box.deliver(content))
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["Content-Type"] == "text/plain"
    assert ("Content-Length" in answer.headers) == (size <= 65_536)


def test_late_content_is_answered_with_404_at_first(sim: SimulatorFixture) -> None:
    sim.graph.fault_plan.late_content = 2
    for message in (sim.box.deliver(letter(1)), sim.box.deliver(letter(2))):
        assert [value(sim, message).status_code for _ in range(4)] == [404, 404, 200, 200]


def test_unconvertible_content_always_fails(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter(), unconvertible=True)
    for _ in range(3):
        assert_refused(value(sim, message), 500, "ErrorMimeContentConversionFailed")
    assert sim.get(sim.message(message)).status_code == 200
    assert sim.graph.fault_plan.unconvertible == {message}


def test_failing_content_recovers(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    sim.graph.fault_plan.failing[message] = 1
    assert_refused(value(sim, message), 500, "InternalServerError")
    assert value(sim, message).content == letter()


@pytest.mark.parametrize("size", [10, 50_000, 500_000])
def test_truncated_content_ends_halfway(sim: SimulatorFixture, size: int) -> None:
    message = sim.box.deliver(b"x" * size)
    sim.graph.fault_plan.truncate_content = 1
    got = bytearray()
    with pytest.raises(httpx.TransportError):
        read_into(got, sim, sim.message(message, "/$value"))
    assert len(got) == size // 2
    until = time.monotonic() + 30
    while not sim.graph.requests and time.monotonic() < until:
        time.sleep(0.01)  # the server records a request after it has closed the connection
    assert sim.graph.requests[-1].status == 0
    assert len(value(sim, message).content) == size


def test_boundaries_vary(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(MULTIPART)
    sim.graph.fault_plan.vary_boundaries = True
    first, second = value(sim, message).content, value(sim, message).content
    assert len({first, second, MULTIPART}) == 3
    for item in (first, second):
        boundaries = re.findall(rb'boundary="(\w+)"', item)
        assert len(set(boundaries)) == 2
        parsed = email.message_from_bytes(item)
        _, _, inner, outer = parsed.walk()
        assert (inner.get_payload(), outer.get_payload()) == ("inner --out-in text", "outer")
        assert parsed.preamble == "not --out"
    assert sim.box.contents() == [MULTIPART]


def test_plain_mail_has_no_boundaries_to_vary(sim: SimulatorFixture) -> None:
    sim.graph.fault_plan.vary_boundaries = True
    assert value(sim, sim.box.deliver(letter())).content == letter()
