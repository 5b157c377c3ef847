"""What the functions log with, and the trace they carry on across the queues (W3C Trace Context)."""

from __future__ import annotations

import logging

import azure.functions as func

log = logging.getLogger("mailroom")


def traceparent_of(context: func.Context) -> str:
    """The trace that an invocation belongs to, or an empty text."""
    return str(context.trace_context.trace_parent or "")
