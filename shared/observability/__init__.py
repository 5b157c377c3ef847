"""Observability: logs, traces and metrics.

Importing this package is cheap, because the notification function imports it before its first response. The modules
that need OpenTelemetry (`tracing`, `metrics`, `exporter`) are imported only by code that does work. Without an SDK,
OpenTelemetry's API does nothing, so callers need not check whether telemetry is on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import azure.functions as func

log = logging.getLogger("mailroom")
"""The logger of the functions."""


def traceparent_of(context: func.Context) -> str:
    """Return the `traceparent` (W3C Trace Context) of an invocation, or an empty text."""
    return str(context.trace_context.trace_parent or "")
