"""Record how long the notification function took, after its response.

Its first response must not wait for OpenTelemetry, which is imported and started in a background thread. Until then,
latencies are kept here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

from pydantic import SecretStr

MAX_PENDING: Final = 10_000
"""Latencies that are kept while telemetry starts."""

clock = time.perf_counter
"""The time source for latencies: seconds since an arbitrary moment."""

_pending: deque[tuple[float, int]] = deque(maxlen=MAX_PENDING)
_lock = threading.Lock()
_start_threads: list[threading.Thread] = []


def record_latency(seconds: float, status: int, connection: SecretStr | None) -> None:
    """Record the latency of a response.

    Args:
        seconds: the time between the function's call and its response.
        status: the HTTP status of the response.
        connection: the connection string of Application Insights; None: nothing is exported.
    """
    _pending.append((seconds, status))
    with _lock:
        if not _start_threads:
            thread = threading.Thread(target=_start_telemetry, args=[connection], name="telemetry", daemon=True)
            _start_threads.append(thread)
            thread.start()
        elif not _start_threads[0].is_alive():
            _record_pending()


def _start_telemetry(connection: SecretStr | None) -> None:
    from shared.observability.exporter import start  # noqa: PLC0415

    start(connection)
    _record_pending()


def _record_pending() -> None:
    from shared.observability import metrics  # noqa: PLC0415

    while _pending:
        seconds, status = _pending.popleft()
        metrics.webhook_seconds.record(seconds, {"status": status})
