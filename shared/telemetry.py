"""What the functions log with, and the trace they carry on across the queues (W3C Trace Context)."""

from __future__ import annotations

import logging

import azure.functions as func

log = logging.getLogger("mailroom")


def traceparent_of(context: func.Context) -> str:
    """The trace that an invocation belongs to, or an empty text."""
    trace = context.trace_context
    return str(trace.trace_parent or "") if trace is not None else ""
