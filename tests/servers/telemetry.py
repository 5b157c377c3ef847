"""Record the telemetry of this process with OpenTelemetry's in-memory exporters."""

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
    """A value of a metric.

    Attributes:
        name: the name of the metric.
        attributes: the attributes of the value.
        value: the number; of a histogram, the sum of the recorded values.
    """

    name: str
    attributes: Mapping[str, object]
    value: float


class TelemetryRecorder:
    """The telemetry of this process from now on. A process has one instance: providers cannot be replaced."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        tracer_provider = TracerProvider()
        tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        trace.set_tracer_provider(tracer_provider)
        self._metrics = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([self._metrics]))
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the library lacks the type
        logger_provider = LoggerProvider()
        logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        logging.getLogger("mailroom").addHandler(LoggingHandler(logger_provider=logger_provider))

    def spans(self) -> Sequence[ReadableSpan]:
        """Return the ended spans."""
        return self._spans.get_finished_spans()

    def points(self) -> list[Point]:
        """Return the current values of all metrics."""
        data = self._metrics.get_metrics_data()
        points = []
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        assert isinstance(point, NumberDataPoint | HistogramDataPoint)
                        value = point.value if isinstance(point, NumberDataPoint) else point.sum
                        points.append(Point(metric.name, dict(point.attributes or {}), value))
        return points

    def lines(self) -> list[tuple[str, dict[str, object], str]]:
        """Return the text, the attributes and the trace id (hex) of each log record."""
        return [
            (
                str(record.log_record.body),
                dict(record.log_record.attributes or {}),
                format(record.log_record.trace_id or 0, "032x"),
            )
            for record in self._logs.get_finished_logs()
        ]


@functools.cache
def listen() -> TelemetryRecorder:
    """Return the recorder of this process."""
    return TelemetryRecorder()
