"""What Mailroom tells of itself: logs, traces and metrics.

Importing this room is cheap, since the notification function does before its first answer: what needs OpenTelemetry is
in modules of its own (`spans`, `meters`, `start`), which only those import that do work. Without an SDK behind it
OpenTelemetry's interface does nothing, so that nobody asks whether telemetry is on.
"""

from __future__ import annotations

import logging

import azure.functions as func

log = logging.getLogger("mailroom")
"""What the functions log with."""


def traceparent_of(context: func.Context) -> str:
    """The trace that an invocation belongs to (W3C Trace Context), or an empty text."""
    return str(context.trace_context.trace_parent or "")
