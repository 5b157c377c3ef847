"""What Graph's answers say: its words, and how long it asks to wait, as far as they can be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.config import MailProtocol
from shared.errors import MailboxBusy
from shared.mailboxes.graph.errors import MAX_RETRY_AFTER, GraphResponseError, graph_error
from tests.servers.settings import mailbox_settings
from tests.sizes import size

BOX = mailbox_settings(protocol=MailProtocol.GRAPH)


def answered(body: bytes = b"", **headers: str) -> GraphResponseError:
    return GraphResponseError.from_response(
        httpx.Response(503, content=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    )


def test_graphs_words_are_read_and_made_printable_and_short() -> None:
    told = {"code": "ErrorX\r\n", "message": "one\r\ntwo\x1b[31m" + "x" * 5000, "innerError": {"date": "…"}}
    found = answered(json.dumps({"error": told}).encode())
    assert (found.status, found.code) == (503, "ErrorX")
    assert found.text.startswith("one two [31m")
    assert found.text.isprintable()
    assert len(found.text) <= 300


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        *((body, "", "") for body in (b"", b"<html>502</html>", b"null", b"[]", b"7", b'"error"', b"\xff", b"{}")),
        *((body, "", "") for body in (b'{"error": null}', b'{"error": "invalid"}', b'{"error": []}', b'{"error": {}}')),
        *((body, "", "") for body in (b"[" * 100_000, b'{"error":' * 100_000, b"9" * 5000, b'{"error": {"code": ')),
        (b'{"error": {"code": "A"}}', "A", ""),
        (b'{"error": {"code": "A", "message": null}}', "A", ""),
        (b'{"error": {"code": 7, "message": ["x"]}}', "7", "['x']"),
        (b'{"error": {"code": null}}', "None", ""),
        (b'{"error": {"code": "", "message": "x"}}', "", "x"),
    ],
    ids=lambda one: repr(one)[:30],
)
def test_bodies_that_are_not_graphs_are_read_as_far_as_they_go(body: bytes, code: str, text: str) -> None:
    found = answered(body)
    assert (found.status, found.code, found.text) == (503, code, text)
    assert isinstance(graph_error(found, BOX, "listing"), MailboxBusy)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("0", 0.0), ("7", 7.0), (" 12 ", 12.0), ("1.5", 1.5), ("-3", 0.0), ("3600", 3600.0)),
        *(
            ("3601", MAX_RETRY_AFTER),
            ("1e400", MAX_RETRY_AFTER),
            ("inf", MAX_RETRY_AFTER),
            ("-inf", 0.0),
            ("9" * 400, MAX_RETRY_AFTER),
        ),
        *(("nan", None), ("", None), ("soon", None), ("7 s", None), ("0x10", None), ("1,5", None)),
        *(("Mon, 23 Nov 2020 12:00:00 GMT", 0.0), ("Mon, 23 Nov 2020 12:00:00 -0000", None)),
        *(("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER), ("Fri, 99 Foo 2027 23:59:59 GMT", None)),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("Fri, 31 Dec 2027 23:59:59 +99999999999999", None),
    ],
)
def test_how_long_graph_asks_to_wait(header: str, seconds: float | None) -> None:
    assert answered(Retry_After=header).retry_after == seconds


def test_a_date_to_come_back_at_is_so_many_seconds() -> None:
    told = answered(Retry_After=format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)).retry_after
    assert told is not None
    assert 80 < told <= 90
    assert answered().retry_after is None


DATES = r"[A-Z][a-z]{2}, [0-9]+ (Jan|Dec|Foo) [0-9]+ [0-9]+:[0-9]+:[0-9]+ [+-][0-9]+"


@given(st.text(st.characters(max_codepoint=255), max_size=60) | st.from_regex(DATES, fullmatch=True))
@settings(max_examples=size(60, soak=3_000), deadline=None)
def test_no_header_whatever_is_an_error(header: str) -> None:
    seconds = GraphResponseError.from_response(
        httpx.Response(429, headers=[(b"Retry-After", header.encode("latin-1"))])
    ).retry_after
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER
