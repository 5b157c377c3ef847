"""How long failed work waits before the next retry."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from shared.errors import TransientError

MIN_BACKOFF: Final = 30.0
MAX_BACKOFF: Final = 900.0
"""Seconds before the first retry and the longest backoff; the backoff doubles with each retry."""

MAX_RETRY_AFTER: Final = 3600.0
"""Seconds to which a `Retry-After` header is cut."""


_Time = TypeVar("_Time", float, timedelta)


def exponential_backoff(first: _Time, longest: _Time, failures: int) -> _Time:
    """Return `first`, doubled `failures` times, at most `longest`."""
    return min(first * (1 << min(failures, 20)), longest)


def service_backoff(error: TransientError, retries: int) -> float:
    """Return the seconds until the next retry: the service's own wish if it is longer than our backoff.

    Args:
        error: the service's error.
        retries: number of retries so far.
    """
    backoff = exponential_backoff(MIN_BACKOFF, MAX_BACKOFF, retries)
    return max(backoff, error.retry_after or 0.0)


def parse_retry_after(value: str | None) -> float | None:
    """Parse a `Retry-After` header: a number of seconds or an HTTP date (RFC 9110 section 10.2.3).

    Args:
        value: the header's value; None if the response has no such header.

    Returns:
        Seconds from now, between 0 and `MAX_RETRY_AFTER`; None if the header is missing or unparseable.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)
