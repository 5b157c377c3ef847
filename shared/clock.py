"""The time, as something that is handed in: tests set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Now = Callable[[], datetime]
"""Gives the time, aware, in UTC."""


def utc_now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)
