"""Traces: one for each poll of a mailbox, and one for each message from its storage to its results.

The trace of a message begins when it is stored, with a link to the trace of the poll. They are separate because a poll
may store ten thousand messages, and one trace of all of them would be unreadable. The messages of the queue
`route-requests` carry the trace on in `traceparent` (W3C Trace Context).

Attributes are names, keys and ids, never e-mail addresses or message content. Of an error, only the class is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.observability import log_context
from shared.observability.log_context import prefixed_attributes

_tracer = trace.get_tracer("mailroom")
_propagator = TraceContextTextMapPropagator()


@contextmanager
def polling(mailbox: str, traceparent: str) -> Iterator[None]:
    """Trace a poll of a mailbox within the context.

    Args:
        mailbox: the name of the mailbox.
        traceparent: the trace that requested the poll; empty: the current trace.
    """
    with _consumer_span("poll mailbox", traceparent, mailbox=mailbox):
        yield


@dataclass(frozen=True, slots=True)
class MessageTrace:
    """The trace of an attempt to route a message. A route request has several, whose phases alternate.

    Attributes:
        span: the attempt's span.
        fields: the fields of the log records of the attempt, masked.
        is_recorded: whether the span belongs to a trace: tracing is on.
    """

    span: trace.Span
    fields: dict[str, str]
    is_recorded: bool

    @classmethod
    def start(cls, traceparent: str, **fields: str) -> MessageTrace:
        """Start the span of an attempt.

        Args:
            traceparent: the trace of the message.
            fields: `mailbox`, `arrival`, `message`: only names, keys and ids.
        """
        span = _tracer.start_span(
            "route message",
            context=_parent(traceparent),
            kind=SpanKind.CONSUMER,
            attributes=prefixed_attributes(**fields),
            links=_links() if traceparent else [],
        )
        return cls(span, log_context.mask(fields), span.get_span_context().is_valid)

    def active(self) -> AbstractContextManager[None]:
        """Make the span current, and add its fields to log records, within the context."""
        return self._current() if self.is_recorded else log_context.Binding(self.fields)

    @contextmanager
    def _current(self) -> Iterator[None]:
        use = trace.use_span(self.span, record_exception=False, set_status_on_exception=False)
        with use, log_context.Binding(self.fields):
            yield

    def add(self, **fields: str) -> None:
        """Add fields that are known by now."""
        self.span.set_attributes(prefixed_attributes(**fields))
        self.fields.update(log_context.mask(fields))

    def end(self) -> None:
        """End the span."""
        self.span.end()


def start_message_trace(mailbox: str, arrival: str, message: str, size: int) -> str:
    """Start the trace of a message.

    Args:
        mailbox: the name of the mailbox.
        arrival: the key of the arrival.
        message: the id of the message.
        size: size in bytes.

    Returns:
        The `traceparent` for the route request; empty if tracing is off.
    """
    attributes = prefixed_attributes(mailbox=mailbox, arrival=arrival, message=message, size=size)
    span = _tracer.start_span(
        "collect message", context=Context(), kind=SpanKind.PRODUCER, attributes=attributes, links=_links()
    )
    span.end()
    headers: dict[str, str] = {}
    _propagator.inject(headers, trace.set_span_in_context(span, Context()))
    return headers.get("traceparent", "")


@contextmanager
def set_attributes(**attributes: str) -> Iterator[None]:
    """Set attributes of the current span, and of the log records within the context.

    Args:
        attributes: `mailbox`, `arrival`, `message`: only names, keys and ids.
    """
    annotate(**attributes)
    with log_context.bind(**attributes):
        yield


def annotate(**attributes: str | float) -> None:
    """Set attributes of the current span, such as the outcome."""
    trace.get_current_span().set_attributes(prefixed_attributes(**attributes))


def failed(error: BaseException) -> None:
    """Mark the current span as failed, with only the error's class. The error's text may quote a message."""
    trace.get_current_span().set_status(StatusCode.ERROR, type(error).__name__)


@contextmanager
def _consumer_span(name: str, traceparent: str, **attributes: str) -> Iterator[None]:
    links = _links() if traceparent else []
    span = _tracer.start_as_current_span(
        name,
        context=_parent(traceparent),
        kind=SpanKind.CONSUMER,
        attributes=prefixed_attributes(**attributes),
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


def _parent(traceparent: str) -> Context | None:
    """Return the context that a trace continues; None: the current one."""
    return _propagator.extract({"traceparent": traceparent}, context=Context()) if traceparent else None


def _links() -> list[Link]:
    context = trace.get_current_span().get_span_context()
    return [Link(context)] if context.is_valid else []
