"""Parsing of Graph's error responses: code, text and `Retry-After`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.backoff import MAX_RETRY_AFTER
from shared.config import MailProtocol
from shared.errors import MailboxBusy
from shared.mailboxes.graph.errors import GraphResponseError, graph_error
from tests.servers.settings import mailbox_settings
from tests.sizes import size

BOX = mailbox_settings(protocol=MailProtocol.GRAPH)


def response_error(body: bytes = b"", **headers: str) -> GraphResponseError:
    return GraphResponseError.from_response(
        httpx.Response(503, content=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    )


def test_an_error_text_is_printable_and_short() -> None:
    error = {"code": "ErrorX\r\n", "message": "one\r\ntwo\x1b[31m" + "x" * 5000, "innerError": {"date": "…"}}
    parsed = response_error(json.dumps({"error": error}).encode())
    assert (parsed.status, parsed.code) == (503, "ErrorX")
    assert parsed.text.startswith("one two [31m")
    assert parsed.text.isprintable()
    assert len(parsed.text) <= 300


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
    ids=lambda value: repr(value)[:30],
)
def test_malformed_error_bodies_are_parsed_as_far_as_possible(body: bytes, code: str, text: str) -> None:
    parsed = response_error(body)
    assert (parsed.status, parsed.code, parsed.text) == (503, code, text)
    assert isinstance(graph_error(parsed, BOX, "listing"), MailboxBusy)


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
def test_retry_after_is_parsed(header: str, seconds: float | None) -> None:
    assert response_error(Retry_After=header).retry_after == seconds


def test_a_retry_after_date_is_converted_to_seconds() -> None:
    seconds = response_error(
        Retry_After=format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    ).retry_after
    assert seconds is not None
    assert 80 < seconds <= 90
    assert response_error().retry_after is None


DATES = r"[A-Z][a-z]{2}, [0-9]+ (Jan|Dec|Foo) [0-9]+ [0-9]+:[0-9]+:[0-9]+ [+-][0-9]+"


@given(st.text(st.characters(max_codepoint=255), max_size=60) | st.from_regex(DATES, fullmatch=True))
@settings(max_examples=size(60, soak=3_000), deadline=None)
def test_no_retry_after_raises(header: str) -> None:
    seconds = GraphResponseError.from_response(
        httpx.Response(429, headers=[(b"Retry-After", header.encode("latin-1"))])
    ).retry_after
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER
