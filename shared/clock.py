"""The time, as something that is handed in: tests set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import MAXYEAR, UTC, datetime

Now = Callable[[], datetime]
"""Gives the time, aware, in UTC."""

FIRST_YEAR = 1601
"""The first that a table can hold (Understanding the Table service data model: DateTime)."""


def utc_now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


def credible(told: datetime | None) -> datetime | None:
    """A time that a server told; None if it can be none, as the first second of year 1 that stands for "never".

    Table Storage holds times from 1601 on, and the first and last hours of all years are none in other zones.
    """
    return told if told is not None and FIRST_YEAR < told.year < MAXYEAR else None
