"""The instruments of all metrics. `metric_names` describes names, units and attributes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from shared.observability import metric_names

_meter = metrics.get_meter("mailroom")


class Gauge:
    """A gauge that exports each measurement once.

    OpenTelemetry's own gauge exports its last value every minute until the process ends. That value would be stale
    after another instance of the app measured again, or after the measurements stopped.

    Args:
        name: the name of the metric.
        unit: the unit of the metric.
    """

    def __init__(self, name: str, unit: str = "") -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[tuple[str, str], ...], float] = {}
        _meter.create_observable_gauge(name, [self._collect], unit=unit)

    def set(self, value: float, attributes: Mapping[str, str] | None = None) -> None:
        """Record a measurement."""
        with self._lock:
            self._values[tuple((attributes or {}).items())] = value

    def _collect(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            values, self._values = self._values, {}
        return [Observation(value, dict(attributes)) for attributes, value in values.items()]


collected = _meter.create_counter(metric_names.COLLECTED, unit="{message}")
stored_bytes = _meter.create_counter(metric_names.STORED_BYTES, unit="By")
collected_age = _meter.create_histogram(metric_names.COLLECTED_AGE, unit="s")
drain_seconds = _meter.create_histogram(metric_names.DRAIN_SECONDS, unit="s")
outcomes = _meter.create_counter(metric_names.OUTCOMES, unit="{message}")
results = _meter.create_counter(metric_names.RESULTS, unit="{result}")
unhandled = _meter.create_counter(metric_names.UNHANDLED, unit="{message}")
duplicates = _meter.create_counter(metric_names.DUPLICATES, unit="{recipient}")
blocked = _meter.create_counter(metric_names.BLOCKED, unit="{message}")
routed_age = _meter.create_histogram(metric_names.ROUTED_AGE, unit="s")
failures = _meter.create_counter(metric_names.FAILURES, unit="{failure}")
poisoned = _meter.create_counter(metric_names.POISONED, unit="{message}")
poison_waiting = Gauge(metric_names.POISON_WAITING, "{message}")
outbox = Gauge(metric_names.OUTBOX, "{message}")
outbox_oldest = Gauge(metric_names.OUTBOX_OLDEST, "s")
mailbox_failing = Gauge(metric_names.MAILBOX_FAILING, "s")
mailbox_disabled = Gauge(metric_names.MAILBOX_DISABLED)
subscription_left = Gauge(metric_names.SUBSCRIPTION_LEFT, "s")
webhook_seconds = _meter.create_histogram(metric_names.WEBHOOK_SECONDS, unit="s")


def count_failure(error: BaseException, where: str) -> None:
    """Count an error by its class.

    Args:
        error: the error.
        where: `mailbox`, `message` or `subscription`.
    """
    failures.add(1, {"kind": type(error).__name__, "where": where})
