"""The backoff between retries, and the parser of `Retry-After`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backoff import (
    MAX_BACKOFF,
    MAX_RETRY_AFTER,
    MIN_BACKOFF,
    exponential_backoff,
    parse_retry_after,
    service_backoff,
)
from shared.errors import ServiceUnavailable


@pytest.mark.parametrize(
    ("retries", "backoff"), [(0, MIN_BACKOFF), (1, 60), (2, 120), (4, 480), (5, MAX_BACKOFF), (500, MAX_BACKOFF)]
)
def test_the_backoff_doubles_up_to_its_maximum(retries: int, backoff: float) -> None:
    assert service_backoff(ServiceUnavailable("unavailable"), retries) == backoff


def test_seconds_and_durations_double_alike() -> None:
    hour = timedelta(hours=1)
    assert [exponential_backoff(1.0, 30.0, failures) for failures in (0, 1, 4, 5, 10_000)] == [1, 2, 16, 30, 30]
    assert [exponential_backoff(hour / 60, hour, failures) for failures in (0, 3, 10_000)] == [
        hour / 60,
        hour * 8 / 60,
        hour,
    ]


def test_a_longer_retry_after_wins() -> None:
    assert service_backoff(ServiceUnavailable("unavailable", retry_after=5000), 0) == 5000
    assert service_backoff(ServiceUnavailable("unavailable", retry_after=1), 0) == MIN_BACKOFF


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("0", 0.0), ("7", 7.0), (" 12 ", 12.0), ("1.5", 1.5), ("-3", 0.0), ("3600", 3600.0)),
        *(("3601", MAX_RETRY_AFTER), ("inf", MAX_RETRY_AFTER), ("-inf", 0.0), ("9" * 400, MAX_RETRY_AFTER)),
        *((None, None), ("nan", None), ("", None), ("soon", None), ("7 s", None), ("0x10", None), ("1,5", None)),
        *(("Mon, 23 Nov 2020 12:00:00 GMT", 0.0), ("Mon, 23 Nov 2020 12:00:00 -0000", None)),
        *(("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER), ("Fri, 99 Foo 2027 23:59:59 GMT", None)),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("Fri, 31 Dec 2027 23:59:59 +99999999999999", None),
    ],
)
def test_parse_retry_after(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


def test_a_date_is_converted_to_seconds_from_now() -> None:
    seconds = parse_retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert seconds is not None
    assert 80 < seconds <= 90


@given(st.text(max_size=60))
def test_parse_retry_after_never_raises(header: str) -> None:
    seconds = parse_retry_after(header)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER
