"""NCRONTAB schedules, as the Functions host parses them."""

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
        (
            "0 0 12 1 * 1",
            "2027-02-01T12:00:00",
        ),  # the first of a month that is a Monday; Unix cron needs only one of the two
        ("15,45 0 0 1 1 *", "2027-01-01T00:00:15"),
    ],
)
def test_the_next_due_time(expression: str, expected: str) -> None:
    assert Schedule(expression).after(MONDAY) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_due_times_are_utc_in_every_time_zone() -> None:
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
        "0 0 0 * * 7",  # Sunday is only 0
        "0 0 0 30 2 *",  # no year has a 30 February
        "0 60 * * * *",
        "0 0 0 * Foo *",
        "H * * * * *",
        "0 * * * * ?",
        "",
        "0 */0 * * * *",
    ],
)
def test_a_schedule_that_azure_rejects_is_refused(expression: str) -> None:
    with pytest.raises(ConfigurationError, match="six NCRONTAB fields"):
        Schedule(expression)


@given(st.integers(946_684_800, 3_786_912_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_no_due_time_is_skipped(moment: datetime) -> None:
    due = Schedule("0 */5 * * * *").after(moment)
    assert timedelta(0) < due - moment <= timedelta(minutes=5)
    assert due.minute % 5 == due.second == due.microsecond == 0
