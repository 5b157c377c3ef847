"""The measurements behind the alerts, on both storages, and their metrics."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from shared.config import AppSettings, load_settings
from shared.errors import ConnectFailed, MailboxBusy
from shared.graph_notifications.subscription_manager import SubscriptionRecord
from shared.mailbox_health import HealthRecords
from shared.observability import metric_names
from shared.operations.health_metrics import collect_health_metrics
from shared.storage.base import QueueName, Storage, Table, Values
from shared.storage.factory import open_storage
from tests.servers.telemetry import listen

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def settings_on(storage: str) -> AppSettings:
    graph = {
        "PROTOCOL": "graph",
        "ADDRESS": "office@example.com",
        "SIGN_IN": "managed-identity",
        "FOLDERS": "Inbox;Inbox/Orders",
    }
    return load_settings(
        {
            "AzureWebJobsStorage": storage,
            "GRAPH_WEBHOOK_URL": "https://app.example/api/graph_webhook",
            "GRAPH_CLIENT_STATE_KEY": "0123456789abcdef0123456789abcdef",
            **{f"MAILBOXES__office__{key}": value for key, value in graph.items()},
            "MAILBOXES__broken__PROTOCOL": "imap",
            "MAILBOXES__off__PRESET": "gmail-imap",
            "MAILBOXES__off__ADDRESS": "off@example.com",
            "MAILBOXES__off__PASSWORD": "secret",
            "MAILBOXES__off__ENABLED": "false",
            "ROUTES__all__ADDRESS": "office@example.com",
        }
    )


@pytest.fixture
def stores(storage: str) -> Iterator[Storage]:
    settings = settings_on(storage)
    opened = open_storage(settings.app_storage, settings.mail_storage, settings.mail_container)
    yield opened
    opened.close()


def test_an_empty_storage_has_no_failures(storage: str, stores: Storage) -> None:
    health_metrics = collect_health_metrics(settings_on(storage), stores, lambda: NOW)
    assert health_metrics.failing_seconds == {"office": 0.0}
    assert health_metrics.disabled == {"office": False, "broken": True}
    assert (health_metrics.outbox_size, health_metrics.oldest_seconds) == (0, 0.0)
    assert health_metrics.poison_lengths == {
        QueueName.POLLS_POISON: 0,
        QueueName.ROUTE_REQUESTS_POISON: 0,
        QueueName.LIFECYCLE_POISON: 0,
    }
    assert health_metrics.subscription_seconds == {"office": 0.0}, "no subscription exists yet"


def test_a_mailbox_has_been_failing_since_the_first_of_its_failures_in_a_row(storage: str, stores: Storage) -> None:
    settings = settings_on(storage)
    office = settings.mailboxes["office"]
    time = NOW

    def now() -> datetime:
        return time

    health = HealthRecords(stores.records, now)
    for _ in range(3):
        health.record_failure(office, ConnectFailed("does not answer"))
        time += timedelta(minutes=20)
    assert collect_health_metrics(settings, stores, now).failing_seconds == {"office": 3600.0}
    health.record_success(office, collected=0, left=0)
    assert collect_health_metrics(settings, stores, now).failing_seconds == {"office": 0.0}
    time += timedelta(minutes=5)
    health.record_failure(office, ConnectFailed("does not answer"))
    time += timedelta(minutes=1)
    assert collect_health_metrics(settings, stores, now).failing_seconds == {"office": 60.0}
    for _ in range(office.disable_after):
        health.record_failure(office, ConnectFailed("does not answer"))
    assert collect_health_metrics(settings, stores, now).disabled["office"]
    health.enable("office")
    assert collect_health_metrics(settings, stores, now).failing_seconds == {"office": 0.0}


def test_a_mailbox_that_is_only_busy_has_been_failing_since_the_first_time(storage: str, stores: Storage) -> None:
    settings = settings_on(storage)
    office = settings.mailboxes["office"]
    time = NOW

    def now() -> datetime:
        return time

    health = HealthRecords(stores.records, now)
    for _ in range(3):
        health.record_busy(office, MailboxBusy("[SYS/TEMP] try again later"))
        time += timedelta(minutes=25)
    assert collect_health_metrics(settings, stores, now).failing_seconds == {"office": 4500.0}, (
        "the alert's threshold is 3,600"
    )
    assert not collect_health_metrics(settings, stores, now).disabled["office"]
    health.record_success(office, collected=0, left=0)
    assert collect_health_metrics(settings, stores, now).failing_seconds == {"office": 0.0}


def test_the_outbox_and_the_poison_queues_are_measured(storage: str, stores: Storage) -> None:
    for minutes, key in ((3, "aa"), (20, "bb")):
        values: Values = {"mailbox": "office", "stored_at": NOW - timedelta(minutes=minutes), "arrival": key * 32}
        stores.records.create(Table.OUTBOX, key * 32, values)
    stores.queues[QueueName.ROUTE_REQUESTS_POISON].put_many(["one"])
    for folder, hours in zip(settings_on(storage).mailboxes["office"].folders, (30, 2), strict=True):
        SubscriptionRecord(mailbox="office", folder=folder, subscription="s", until=NOW + timedelta(hours=hours)).write(
            stores.records
        )
    heard = listen()
    collect_health_metrics(settings_on(storage), stores, lambda: NOW).emit()
    metrics = {(point.name, *sorted(point.attributes.items())): point.value for point in heard.points()}
    assert metrics[metric_names.OUTBOX,] == 2
    assert metrics[metric_names.OUTBOX_OLDEST,] == 1200
    assert metrics[metric_names.POISON_WAITING, ("queue", "route-requests-poison")] == 1
    assert metrics[metric_names.SUBSCRIPTION_LEFT, ("mailbox", "office")] == 7200
    assert metrics[metric_names.MAILBOX_DISABLED, ("mailbox", "broken")] == 1
    assert metrics[metric_names.MAILBOX_FAILING, ("mailbox", "office")] == 0


def test_a_measured_value_is_reported_once(storage: str, stores: Storage) -> None:
    """Otherwise an idle instance would keep reporting an old value, and hide that no instance measures."""
    heard = listen()
    collect_health_metrics(settings_on(storage), stores, lambda: NOW).emit()
    assert metric_names.OUTBOX_OLDEST in {point.name for point in heard.points()}
    gauges = {
        metric_names.OUTBOX,
        metric_names.OUTBOX_OLDEST,
        metric_names.POISON_WAITING,
        metric_names.SUBSCRIPTION_LEFT,
    }
    gauges |= {metric_names.MAILBOX_FAILING, metric_names.MAILBOX_DISABLED}
    assert {point.name for point in heard.points()} & gauges == set()
