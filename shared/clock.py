"""The time as a dependency, so that tests can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import MAXYEAR, UTC, datetime
from functools import partial
from typing import Final

Now = Callable[[], datetime]
"""Returns the time, aware, in UTC."""

utc_now: Final[Now] = partial(datetime.now, UTC)
"""Returns the machine's time."""

FIRST_YEAR = 1601
"""The first year that a table can store (Understanding the Table service data model: DateTime)."""


def credible(time: datetime | None) -> datetime | None:
    """Return a time that a server reported, or None if it is implausible, such as year 1 as "never".

    Table Storage stores times from 1601 on. Years at either limit are excluded, because another time zone may move
    a time past the limit.
    """
    return time if time is not None and FIRST_YEAR < time.year < MAXYEAR else None
