"""Measure the health of the intake every few minutes: the metrics that alerts are made of (docs/how-to/operating.md).

Counters report what happened. These gauges report what did not: a mailbox that keeps failing, mail that waits, a
subscription that is not renewed, and messages on a poison queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.clock import Now, utc_now
from shared.config import AppSettings, MailProtocol
from shared.graph_notifications.subscription_manager import SubscriptionRecord
from shared.mailbox_health import HealthRecords
from shared.observability import metrics
from shared.storage.base import QueueName, Storage, Table


@dataclass(frozen=True, slots=True)
class HealthMetrics:
    """The measured values.

    Attributes:
        failing_seconds: seconds for which each mailbox has failed or been busy, 0 if it is ok; by name.
        disabled: whether each mailbox is disabled; by name.
        outbox_size: entries in the outbox.
        oldest_seconds: the age of the oldest entry in seconds.
        poison_lengths: messages on each poison queue.
        subscription_seconds: seconds until the first subscription expires; by Graph mailbox that is notified.
    """

    failing_seconds: Mapping[str, float]
    disabled: Mapping[str, bool]
    outbox_size: int
    oldest_seconds: float
    poison_lengths: Mapping[QueueName, int]
    subscription_seconds: Mapping[str, float]

    def emit(self) -> None:
        """Set the gauges."""
        for mailbox, seconds in self.failing_seconds.items():
            metrics.mailbox_failing.set(seconds, {"mailbox": mailbox})
        for mailbox, disabled in self.disabled.items():
            metrics.mailbox_disabled.set(int(disabled), {"mailbox": mailbox})
        metrics.outbox.set(self.outbox_size)
        metrics.outbox_oldest.set(self.oldest_seconds)
        for queue, length in self.poison_lengths.items():
            metrics.poison_waiting.set(length, {"queue": queue.value})
        for mailbox, seconds in self.subscription_seconds.items():
            metrics.subscription_left.set(seconds, {"mailbox": mailbox})


def collect_health_metrics(settings: AppSettings, storage: Storage, now: Now = utc_now) -> HealthMetrics:
    """Read the health of all mailboxes, the outbox, the poison queues and the subscriptions.

    Args:
        settings: the app's settings.
        storage: the storage.
        now: returns the current time.

    Raises:
        TransientError: storage is unavailable.
    """
    health_records = HealthRecords(storage.records, now)
    at = now()
    failing: dict[str, float] = {}
    disabled: dict[str, bool] = dict.fromkeys(settings.mailbox_errors, True)
    subscriptions: dict[str, float] = {}
    for name, mailbox in settings.mailboxes.items():
        if not mailbox.enabled:
            continue
        health = health_records.get(name)
        failing[name] = max(0.0, health.failing_for(at).total_seconds())
        disabled[name] = health.disabled
        if mailbox.protocol is MailProtocol.GRAPH and settings.graph_webhook_url is not None:
            expiries = [SubscriptionRecord.read(storage.records, name, folder).until for folder in mailbox.folders]
            subscriptions[name] = max(0.0, (min(expiries) - at).total_seconds())
    times = [record.values.get("stored_at") for record in storage.records.scan(Table.OUTBOX)]
    oldest = max((_age_in_seconds(time, at) for time in times if isinstance(time, datetime)), default=0.0)
    poison_lengths = {queue: storage.queues[queue].length() for queue in QueueName if queue.value.endswith("-poison")}
    return HealthMetrics(failing, disabled, len(times), oldest, poison_lengths, subscriptions)


def _age_in_seconds(time: datetime, now: datetime) -> float:
    return max(0.0, (now - time).total_seconds())
