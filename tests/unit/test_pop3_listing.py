"""Parsing of UIDL, LIST and headers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailboxes.base import ListedMessage
from shared.mailboxes.pop3.errors import ProtocolViolation, code_of, is_gone
from shared.mailboxes.pop3.listing import Headers, listed_messages, parse_keys, parse_sizes, received_at

TEN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def test_messages_are_ordered_by_number() -> None:
    assert listed_messages(parse_sizes([b"2 20", b"1 10"]), parse_keys([b"1 a", b"2 b"]), {2: TEN}) == [
        ListedMessage("a", 1, 10),
        ListedMessage("b", 2, 20, TEN),
    ]


def test_a_uidl_may_contain_any_bytes() -> None:
    assert parse_keys([b"1 !<>~\xff", b"2 two words ", b"3", b"x y"]) == {1: "!<>~\xff", 2: "two words"}


@pytest.mark.parametrize("line", [b"", b"1", b"a 1", b"1 -5", b"0 1", b"1 1e3"])
def test_an_unparseable_list_is_a_protocol_violation(line: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_sizes([line])


@pytest.mark.parametrize(
    "headers",
    [
        b"Received: by mx; Mon, 23 Nov 2026 10:00:00 +0000\r\nReceived: by x; Mon, 23 Nov 2020 10:00:00 +0000\r\n\r\n",
        b"X: y\r\nreceived: from a; b by c;\r\n\tMon, 23 Nov 2026\r\n 11:00:00 +0100 (CET)\r\n\r\n",
        b"Received: nonsense\r\nDate: Mon, 23 Nov 2026 10:00:00 -0000\r\n\r\n",
        b"Date: 23 Nov 2026 05:00:00 EST\r\n\r\nDate: Mon, 23 Nov 2020 10:00:00 +0000\r\n",
    ],
)
def test_1_11_received_at(headers: bytes) -> None:
    assert received_at(headers) == TEN


@pytest.mark.parametrize("headers", [b"", b"\r\n", b"Date:\r\n", b"Date: Mon, 99 Nov 99999 99:99:99 +9999\r\n"])
def test_1_11_received_at_is_none_if_unparseable(headers: bytes) -> None:
    assert received_at(headers) is None


@given(st.binary(max_size=200))
def test_1_8_received_at_never_raises(noise: bytes) -> None:
    received_at(noise)
    received_at(b"Received: " + noise + b"\r\nDate: " + noise)


def test_endless_headers_use_bounded_memory() -> None:
    headers = Headers()
    for _ in range(100):
        headers.write(b"X: " + b"y" * 10_000 + b"\r\n")
    assert sum(len(part) for part in headers._parts) <= 64 * 1024
    assert headers.received() is None


@pytest.mark.parametrize(
    ("text", "code"),
    [("[IN-USE] x", "IN-USE"), (" [sys/temp]x", "SYS/TEMP"), ("[LOGIN-DELAY 5]", "LOGIN-DELAY"), ("x [AUTH]", "")],
)
def test_1_9_response_codes(text: str, code: str) -> None:
    assert code_of(text) == code


def test_8_2_texts_that_report_a_gone_message() -> None:
    assert is_gone("no such message, only 3 messages in maildrop")
    assert is_gone("Message 3 already deleted")
    assert not is_gone("[SYS/PERM] internal error")
