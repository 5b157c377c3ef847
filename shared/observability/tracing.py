"""Traces: one for each look at a mailbox, and one for each message from there to its results.

A message's trace begins when it was stored, with a link to the look that collected it: a look at a full mailbox
collects ten thousand, and a trace of all of them would show nothing. It goes on through the queue `route-requests`,
whose messages carry `traceparent` (W3C Trace Context). Attributes are names, keys and ids; never an address, never a
word of a message, and of an error its class alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.observability import log_context
from shared.observability.attributes import span_name

_tracer = trace.get_tracer("mailroom")
_carrier = TraceContextTextMapPropagator()


@contextmanager
def polling(mailbox: str, traceparent: str) -> Iterator[None]:
    """A look at a mailbox.

    Args:
        mailbox: its name.
        traceparent: of who asked for it; empty: whoever calls.
    """
    with _consuming("poll mailbox", traceparent, mailbox=mailbox):
        yield


@contextmanager
def routing(arrival: str, traceparent: str) -> Iterator[None]:
    """A try to route a message.

    Args:
        arrival: its key.
        traceparent: of the message.
    """
    with _consuming("route message", traceparent, arrival=arrival):
        yield


def collected(mailbox: str, arrival: str, message: str, size: int) -> str:
    """Begin a message's trace.

    Args:
        mailbox: which it was in.
        arrival: its key.
        message: its id.
        size: octets.

    Returns:
        What its announcement carries; empty if nobody traces.
    """
    told = span_name(mailbox=mailbox, arrival=arrival, message=message, size=size)
    span = _tracer.start_span(
        "collect message", context=Context(), kind=SpanKind.PRODUCER, attributes=told, links=_links()
    )
    span.end()
    return _traceparent(trace.set_span_in_context(span, Context()))


def current() -> str:
    """What a queue message carries to go on with the trace at hand; empty if nobody traces."""
    return _traceparent(None)


@contextmanager
def set_attributes(**attributes: str) -> Iterator[None]:
    """Tell more of what the current span is about, and the log lines within.

    Args:
        attributes: `mailbox`, `arrival`, `message`: names, keys and ids alone.
    """
    note(**attributes)
    with log_context.bind(**attributes):
        yield


def note(**attributes: str | float) -> None:
    """Tell of the current span what came of it."""
    trace.get_current_span().set_attributes(span_name(**attributes))


def failed(error: BaseException) -> None:
    """Mark the current span as failed. The error's text may quote a message, so its class has to do."""
    trace.get_current_span().set_status(StatusCode.ERROR, type(error).__name__)


@contextmanager
def _consuming(name: str, traceparent: str, **attributes: str) -> Iterator[None]:
    parent = _carrier.extract({"traceparent": traceparent}, context=Context()) if traceparent else None
    links = _links() if traceparent else []
    span = _tracer.start_as_current_span(
        name,
        context=parent,
        kind=SpanKind.CONSUMER,
        attributes=span_name(**attributes),
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    )
    with span, log_context.bind(**attributes):
        try:
            yield
        except BaseException as error:
            failed(error)
            raise


def _links() -> list[Link]:
    here = trace.get_current_span().get_span_context()
    return [Link(here)] if here.is_valid else []


def _traceparent(context: Context | None) -> str:
    carried: dict[str, str] = {}
    _carrier.inject(carried, context)
    return carried.get("traceparent", "")
