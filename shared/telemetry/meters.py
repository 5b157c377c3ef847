"""What is counted and measured (the names, units and attributes: `names`)."""

from __future__ import annotations

from opentelemetry import metrics

from shared.telemetry import names

_meter = metrics.get_meter("mailroom")

collected = _meter.create_counter(names.COLLECTED, unit="{message}")
stored_bytes = _meter.create_counter(names.STORED_BYTES, unit="By")
collected_age = _meter.create_histogram(names.COLLECTED_AGE, unit="s")
drain_seconds = _meter.create_histogram(names.DRAIN_SECONDS, unit="s")
results = _meter.create_counter(names.RESULTS, unit="{result}")
unhandled = _meter.create_counter(names.UNHANDLED, unit="{message}")
duplicates = _meter.create_counter(names.DUPLICATES, unit="{recipient}")
blocked = _meter.create_counter(names.BLOCKED, unit="{message}")
routed_age = _meter.create_histogram(names.ROUTED_AGE, unit="s")
failures = _meter.create_counter(names.FAILURES, unit="{failure}")
poisoned = _meter.create_counter(names.POISONED, unit="{message}")
poison_waiting = _meter.create_gauge(names.POISON_WAITING, unit="{message}")
pending = _meter.create_gauge(names.PENDING, unit="{message}")
pending_oldest = _meter.create_gauge(names.PENDING_OLDEST, unit="s")
mailbox_failing = _meter.create_gauge(names.MAILBOX_FAILING, unit="s")
mailbox_disabled = _meter.create_gauge(names.MAILBOX_DISABLED)
subscription_left = _meter.create_gauge(names.SUBSCRIPTION_LEFT, unit="s")
webhook_seconds = _meter.create_histogram(names.WEBHOOK_SECONDS, unit="s")


def failure(error: BaseException, where: str) -> None:
    """Count something that went wrong, by the class of the error.

    Args:
        error: what it was.
        where: `mailbox`, `message` or `subscription`.
    """
    failures.add(1, {"kind": type(error).__name__, "where": where})
