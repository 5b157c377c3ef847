"""What is counted and measured (the names, units and attributes: `names`)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from shared.observability import metric_names

_meter = metrics.get_meter("mailroom")


class Gauge:
    """What is measured now and then, and told once for each time.

    OpenTelemetry's own gauge is told anew each minute for as long as the process lives: long after another instance
    measured something else, and after nobody measures any more.

    Args:
        name: of the metric.
        unit: of the metric.
    """

    def __init__(self, name: str, unit: str = "") -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[tuple[str, str], ...], float] = {}
        _meter.create_observable_gauge(name, [self._observed], unit=unit)

    def set(self, value: float, attributes: Mapping[str, str] | None = None) -> None:
        """Note what was measured."""
        with self._lock:
            self._values[tuple((attributes or {}).items())] = value

    def _observed(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            told, self._values = self._values, {}
        return [Observation(value, dict(attributes)) for attributes, value in told.items()]


collected = _meter.create_counter(metric_names.COLLECTED, unit="{message}")
stored_bytes = _meter.create_counter(metric_names.STORED_BYTES, unit="By")
collected_age = _meter.create_histogram(metric_names.COLLECTED_AGE, unit="s")
drain_seconds = _meter.create_histogram(metric_names.DRAIN_SECONDS, unit="s")
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


def failure(error: BaseException, where: str) -> None:
    """Count something that went wrong, by the class of the error.

    Args:
        error: what it was.
        where: `mailbox`, `message` or `subscription`.
    """
    failures.add(1, {"kind": type(error).__name__, "where": where})
