"""NCRONTAB, as the Functions host reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions_host.ncrontab import Schedule
from shared.errors import ConfigurationError

MONDAY = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 * * * * *", "2026-11-23T12:01:00"),
        ("30 * * * * *", "2026-11-23T12:01:30"),
        ("*/2 * * * * *", "2026-11-23T12:00:32"),
        ("0 */15 * * * *", "2026-11-23T12:15:00"),
        ("0 5/20 * * * *", "2026-11-23T12:05:00"),
        ("0 0 9-17 * * 1-5", "2026-11-23T13:00:00"),
        ("0 30 9 * Jan Mon", "2027-01-04T09:30:00"),
        ("0 0 12 * * 0", "2026-11-29T12:00:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 0 12 1 * 1", "2027-02-01T12:00:00"),  # a first that is a Monday: both hold, unlike in Unix cron
        ("15,45 0 0 1 1 *", "2027-01-01T00:00:15"),
    ],
)
def test_the_next_time_due(expression: str, expected: str) -> None:
    assert Schedule(expression).after(MONDAY) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_times_are_utc_wherever_one_asks_from() -> None:
    tokyo = MONDAY.astimezone(timezone(timedelta(hours=9)))
    due = Schedule("0 0 13 * * *").after(tokyo)
    assert due == datetime(2026, 11, 23, 13, tzinfo=UTC)
    assert due.tzinfo is UTC


@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *",  # five fields: seconds are missing
        "0 * * * * * 2026",
        "@hourly",
        "00:05:00",
        "0 0 0 L * *",
        "0 0 0 * * 1#2",
        "0 0 0 * * 7",  # Sunday is 0 and nothing else
        "0 0 0 30 2 *",  # no year has one
        "0 60 * * * *",
        "0 0 0 * Foo *",
        "H * * * * *",
        "0 * * * * ?",
        "",
        "0 */0 * * * *",
    ],
)
def test_what_would_not_run_in_azure_is_refused_here(expression: str) -> None:
    with pytest.raises(ConfigurationError, match="is not six NCRONTAB fields"):
        Schedule(expression)


@given(st.integers(946_684_800, 3_786_912_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_the_next_time_is_later_and_nothing_lies_between(moment: datetime) -> None:
    due = Schedule("0 */5 * * * *").after(moment)
    assert timedelta(0) < due - moment <= timedelta(minutes=5)
    assert due.minute % 5 == due.second == due.microsecond == 0
