"""Count frequent events, and log them once a minute."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Final

LOG_INTERVAL: Final = timedelta(minutes=1)
"""Minimum time between two log lines about events of which thousands a second may occur."""


class RateLimitedLog:
    """A counter of frequent events that is reported once per interval. Thread-safe.

    Args:
        interval: the minimum time between two reports.
    """

    def __init__(self, interval: timedelta = LOG_INTERVAL) -> None:
        self._interval = interval
        self._lock = threading.Lock()
        self._count = 0
        self._reported: datetime | None = None

    def add(self, number: int, now: datetime) -> int:
        """Return the count since the last report if a report is due and the count is not 0; otherwise 0.

        Args:
            number: events since the last call.
            now: the current time.
        """
        with self._lock:
            self._count += number
            # `abs`: the system time may have been set back.
            if not self._count or (self._reported is not None and abs(now - self._reported) < self._interval):
                return 0
            count, self._count, self._reported = self._count, 0, now
            return count
