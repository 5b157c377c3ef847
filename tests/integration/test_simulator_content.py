"""The stand-in's raw content, and the trouble with it."""

from __future__ import annotations

import email
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.simulator_support import Place, letter, refused, standing
from tests.servers.certificates import Ca

MULTIPART = (
    b'Subject: two\r\nContent-Type: multipart/mixed;\r\n boundary="out"\r\n\r\nnot --out\r\n--out\r\n'
    b"Content-Type: multipart/alternative; boundary=out-in\r\n\r\n--out-in\r\n\r\ninner --out-in text\r\n--out-in--\r\n"
    b"--out\r\n\r\nouter\r\n--out--\r\n"
)


@pytest.fixture
def place(ca: Ca, tmp_path: Path) -> Iterator[Place]:
    with standing(ca, tmp_path) as found:
        yield found


def value(place: Place, message: str) -> httpx.Response:
    return place.get(place.message(message, "/$value"))


def read_into(got: bytearray, place: Place, path: str) -> None:
    signed = {"Authorization": f"Bearer {place.graph.token(place.app)}"}
    with place.client.stream("GET", place.graph.endpoint + path, headers=signed) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_raw():
            got += chunk


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_000])
def test_bytes_come_as_they_are(place: Place, size: int) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    answer = value(place, place.box.deliver(content))
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["Content-Type"] == "text/plain"
    assert ("Content-Length" in answer.headers) == (size <= 65_536)


def test_content_that_is_late(place: Place) -> None:
    place.graph.trouble.late_content = 2
    for message in (place.box.deliver(letter(1)), place.box.deliver(letter(2))):
        assert [value(place, message).status_code for _ in range(4)] == [404, 404, 200, 200]


def test_content_that_is_broken_for_good(place: Place) -> None:
    message = place.box.deliver(letter(), broken=True)
    for _ in range(3):
        refused(value(place, message), 500, "ErrorMimeContentConversionFailed")
    assert place.get(place.message(message)).status_code == 200
    assert place.graph.trouble.broken == {message}


def test_content_that_fails_for_a_while(place: Place) -> None:
    message = place.box.deliver(letter())
    place.graph.trouble.failing[message] = 1
    refused(value(place, message), 500, "InternalServerError")
    assert value(place, message).content == letter()


@pytest.mark.parametrize("size", [10, 50_000, 500_000])
def test_content_that_is_cut(place: Place, size: int) -> None:
    message = place.box.deliver(b"x" * size)
    place.graph.trouble.cuts = 1
    got = bytearray()
    with pytest.raises(httpx.TransportError):
        read_into(got, place, place.message(message, "/$value"))
    assert len(got) == size // 2
    until = time.monotonic() + 30
    while not place.graph.requests and time.monotonic() < until:
        time.sleep(0.01)  # the server notes a request after it has cut the connection
    assert place.graph.requests[-1].status == 0
    assert len(value(place, message).content) == size


def test_boundaries_vary(place: Place) -> None:
    message = place.box.deliver(MULTIPART)
    place.graph.trouble.vary_boundaries = True
    first, second = value(place, message).content, value(place, message).content
    assert len({first, second, MULTIPART}) == 3
    for each in (first, second):
        boundaries = re.findall(rb'boundary="(\w+)"', each)
        assert len(set(boundaries)) == 2
        parsed = email.message_from_bytes(each)
        _, _, inner, outer = parsed.walk()
        assert (inner.get_payload(), outer.get_payload()) == ("inner --out-in text", "outer")
        assert parsed.preamble == "not --out"
    assert place.box.left() == [MULTIPART]


def test_plain_mail_has_no_boundaries_to_vary(place: Place) -> None:
    place.graph.trouble.vary_boundaries = True
    assert value(place, place.box.deliver(letter())).content == letter()
