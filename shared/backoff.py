"""How long work waits that a service could not serve."""

from __future__ import annotations

from shared.errors import TransientError

FIRST = 30.0
LONGEST = 900.0
"""Seconds; doubled from the first to the longest with each try."""


def service_backoff(error: TransientError, retries: int) -> float:
    """Seconds until the next try: what the service asked for, if that is longer than ours.

    Args:
        error: what the service answered.
        retries: how often it was tried again before.
    """
    own = min(FIRST * 2.0 ** min(retries, 10), LONGEST)
    return max(own, error.retry_after or 0.0)
