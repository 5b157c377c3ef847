"""How the intake fares as a whole, measured every few minutes: what alerts are made of (docs/operating.md).

Metrics that count things tell what happened. These tell what did not: a mailbox that stays ill, mail that waits, a
subscription that nobody renews, and what stands on a poison queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.clock import Now, utc_now
from shared.config import AppSettings, MailProtocol
from shared.graph_notifications.subscription_record import SubscriptionRecord
from shared.mailbox_health import HealthRecords
from shared.observability import metrics
from shared.storage.base import QueueName, Storage, Table


@dataclass(frozen=True, slots=True)
class HealthMetrics:
    """What was measured.

    Attributes:
        failing: seconds for which each mailbox has failed or been busy, 0 for one that works; by name.
        disabled: whether each is tried no more; by name.
        pending: messages that are stored and not routed.
        oldest: seconds for which the oldest of these has been waiting.
        poison: messages on each poison queue.
        left: seconds until Graph stops notifying us; by the mailboxes of Graph that are to be notified of.
    """

    failing_seconds: Mapping[str, float]
    disabled: Mapping[str, bool]
    outbox_size: int
    oldest_seconds: float
    poison_lengths: Mapping[QueueName, int]
    subscription_seconds: Mapping[str, float]

    def emit(self) -> None:
        """As metrics."""
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


def collect_health_metrics(settings: AppSettings, stores: Storage, now: Now = utc_now) -> HealthMetrics:
    """Measure.

    Args:
        settings: the app's.
        stores: the storage.
        now: the time.

    Raises:
        TransientError: the storage is ill.
    """
    health = HealthRecords(stores.records, now)
    at = now()
    failing: dict[str, float] = {}
    disabled: dict[str, bool] = dict.fromkeys(settings.faulty, True)
    left: dict[str, float] = {}
    for name, mailbox in settings.mailboxes.items():
        if not mailbox.enabled:
            continue
        fares = health.get(name)
        failing[name] = max(0.0, fares.failing_for(at).total_seconds())
        disabled[name] = fares.disabled
        if mailbox.protocol is MailProtocol.GRAPH and settings.graph_webhook_url is not None:
            ends = [SubscriptionRecord.read(stores.records, name, folder).until for folder in mailbox.folders]
            left[name] = max(0.0, (min(ends) - at).total_seconds())
    waiting = [record.values.get("stored_at") for record in stores.records.scan(Table.OUTBOX)]
    oldest = max((_seconds(since, at) for since in waiting if isinstance(since, datetime)), default=0.0)
    poison = {queue: stores.queues[queue].length() for queue in QueueName if queue.value.endswith("-poison")}
    return HealthMetrics(failing, disabled, len(waiting), oldest, poison, left)


def _seconds(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
