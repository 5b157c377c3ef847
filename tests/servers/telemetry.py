"""Listens to what a process tells of itself, by OpenTelemetry's own in-memory exporters."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric.

    Attributes:
        name: the metric's.
        attributes: what it is the value of.
        value: the number; of a histogram, the sum of what was recorded.
    """

    name: str
    attributes: Mapping[str, object]
    value: float


class Listening:
    """Everything that this process tells from now on. A process has one: providers cannot be exchanged."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        tracing = TracerProvider()
        tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        trace.set_tracer_provider(tracing)
        self._metrics = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([self._metrics]))
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the library's own lack
        logging_ = LoggerProvider()
        logging_.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        logging.getLogger("mailroom").addHandler(LoggingHandler(logger_provider=logging_))

    def spans(self) -> Sequence[ReadableSpan]:
        """All that have ended."""
        return self._spans.get_finished_spans()

    def points(self) -> list[Point]:
        """All metrics as they stand."""
        data = self._metrics.get_metrics_data()
        found = []
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        assert isinstance(point, NumberDataPoint | HistogramDataPoint)
                        value = point.value if isinstance(point, NumberDataPoint) else point.sum
                        found.append(Point(metric.name, dict(point.attributes or {}), value))
        return found

    def lines(self) -> list[tuple[str, dict[str, object], str]]:
        """All log lines: what they say, their attributes, and the trace they belong to, in hex."""
        return [
            (
                str(one.log_record.body),
                dict(one.log_record.attributes or {}),
                format(one.log_record.trace_id or 0, "032x"),
            )
            for one in self._logs.get_finished_logs()
        ]


@functools.cache
def listen() -> Listening:
    """This process's."""
    return Listening()
