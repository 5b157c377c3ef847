"""How long the notification function took, told after it answered.

Its first answer is not to wait for OpenTelemetry: until that is imported and started, in a thread of its own, times are
kept here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

from pydantic import SecretStr

MOST_KEPT: Final = 10_000
"""Times that are kept while telemetry starts."""

clock = time.perf_counter
"""What answers are timed by: seconds from any moment."""

_kept: deque[tuple[float, int]] = deque(maxlen=MOST_KEPT)
_lock = threading.Lock()
_starting: list[threading.Thread] = []


def answered(seconds: float, status: int, connection: SecretStr | None) -> None:
    """Tell of an answer.

    Args:
        seconds: that it took, from when the function was called.
        status: of HTTP.
        connection: Application Insights's connection string; None: nothing is exported.
    """
    _kept.append((seconds, status))
    with _lock:
        if not _starting:
            thread = threading.Thread(target=_start, args=[connection], name="telemetry", daemon=True)
            _starting.append(thread)
            thread.start()
        elif not _starting[0].is_alive():
            _tell()


def _start(connection: SecretStr | None) -> None:
    from shared.observability.exporter import start  # noqa: PLC0415

    start(connection)
    _tell()


def _tell() -> None:
    from shared.observability import metrics  # noqa: PLC0415

    while _kept:
        seconds, status = _kept.popleft()
        metrics.webhook_seconds.record(seconds, {"status": status})
