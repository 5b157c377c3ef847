"""The time as a dependency, so that tests can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

Now = Callable[[], datetime]
"""Returns the time, aware, in UTC."""

utc_now: Final[Now] = partial(datetime.now, UTC)
"""Returns the machine's time."""
