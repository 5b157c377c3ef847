"""Subscriptions at Microsoft Graph, one for each polled folder: created, renewed and replaced in time.

Notifications only make mail arrive sooner. If anything here fails, the timer still polls the mailboxes. One worker at a
time manages the subscriptions, under a lease. Each run compares Graph's subscriptions with the records. A subscription
that is gone is created again. One that has our URL but no record is deleted: the worker that created it crashed before
it wrote the record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from shared.clock import Now, utc_now
from shared.config import AppSettings, MailboxSettings, MailProtocol
from shared.errors import LeaseLost, MailboxBusy, MailboxError, MailroomError, printable, without_mailbox
from shared.graph_notifications.client_state import client_state, folder_token, key_name
from shared.keys import digest
from shared.lease import RenewingLease
from shared.observability import log_context, metrics
from shared.queue_messages import LifecycleEvent, LifecycleKind, Poll, PollReason
from shared.storage.base import QueueName, Records, Storage, Table

if TYPE_CHECKING:
    from shared.mailboxes.graph.subscriptions import GraphSubscriptions, Subscription

LEASE: Final = "graph-subscriptions"

RETRY_DELAY: Final = 30.0
"""Seconds before a lifecycle event is retried while another worker holds the lease."""

MAX_RETRIES: Final = 4
"""Retries of a lifecycle event; after that, `renew_subscriptions` handles it."""

_NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

_log = logging.getLogger("mailroom.subscriptions")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionRecord:
    """The record of a folder's subscription; its attributes are the columns of the table `subscriptions`.

    Attributes:
        mailbox: the mailbox's name.
        folder: the folder's path in the settings.
        subscription: Graph's id; empty: the folder has no subscription.
        until: when the subscription expires.
        key: name of the key that proves its notifications (`client_state.key_name`).
        url: the URL that receives its notifications.
        resource: the resource that it is about.
        minutes: the lifetime that Graph granted.
        error: why it could not be created or renewed; empty after a success.
    """

    mailbox: str
    folder: str
    subscription: str = ""
    until: datetime = _NEVER
    key: str = ""
    url: str = ""
    resource: str = ""
    minutes: int = 0
    error: str = ""

    @classmethod
    def read(cls, records: Records, mailbox: str, folder: str) -> SubscriptionRecord:
        """Return the record of a folder; an empty one if none is stored."""
        record = records.get(Table.SUBSCRIPTIONS, _record_key(mailbox, folder))
        columns = {} if record is None else {k: v for k, v in record.values.items() if k in cls.__dataclass_fields__}
        return cls(**{"mailbox": mailbox, "folder": folder, **columns})  # type: ignore[arg-type]

    def write(self, records: Records) -> None:
        """Store the record."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        records.merge(Table.SUBSCRIPTIONS, _record_key(self.mailbox, self.folder), values)


@dataclass(frozen=True, slots=True)
class SubscriptionManager:
    """The manager of the subscriptions of all Graph mailboxes.

    Attributes:
        settings: the app's settings.
        storage: the records, the lease and the queues.
        connect: opens a session with Graph with a mailbox's credentials.
        now: returns the current time.
    """

    settings: AppSettings
    storage: Storage
    connect: Callable[[MailboxSettings], GraphSubscriptions]
    now: Now = utc_now
    _read: dict[tuple[str, str], SubscriptionRecord] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def record_for(self, mailbox: str, folder: str) -> SubscriptionRecord:
        """Return the record of a folder's subscription."""
        return SubscriptionRecord.read(self.storage.records, mailbox, folder)

    def is_active(self, mailbox: MailboxSettings) -> bool:
        """Return whether, by the records, Graph notifies Mailroom of new mail in every folder of a mailbox."""
        if mailbox.protocol is not MailProtocol.GRAPH or self.settings.graph_webhook_url is None:
            return False
        records = [self.record_for(mailbox.name, folder) for folder in mailbox.folders]
        self._read.update(((record.mailbox, record.folder), record) for record in records)
        return all(self._notifies(mailbox, record) for record in records)

    def _notifies(self, mailbox: MailboxSettings, record: SubscriptionRecord) -> bool:
        """Return whether a subscription is valid, and was created for the current URL, mailbox address and keys.

        Another subscription does not notify this app.
        """
        keys = self.settings.graph_client_state_keys
        return (
            record.until > self.now()
            and record.url == self.settings.graph_webhook_url
            and record.resource.startswith(f"users/{mailbox.mailbox_address}/")
            and record.key in [key_name(key.get_secret_value()) for key in keys]
        )

    def request_missing(self, traceparent: str = "") -> None:
        """Enqueue one lifecycle event if a folder has no subscription that notifies this app.

        That is the case at the first start, after a change of the settings, and after the app was stopped for longer
        than a subscription lasts. The timer of `renew_subscriptions` would run up to five minutes later. A folder
        whose last try failed is left to it. This sends no request to Graph, and does not read again what `is_active`
        has read.

        Args:
            traceparent: the trace that the event belongs to.

        Raises:
            TransientError: the storage is unavailable.
        """
        read = dict(self._read)
        self._read.clear()
        if self.settings.graph_webhook_url is None:
            return
        for mailbox in self._mailboxes():
            for folder in mailbox.folders:
                record = read.get((mailbox.name, folder)) or self.record_for(mailbox.name, folder)
                if record.error or self._notifies(mailbox, record):
                    continue
                # One event is enough: `reconcile` creates all missing subscriptions under one lease.
                kind = LifecycleKind.SUBSCRIPTION_REMOVED
                event = LifecycleEvent(mailbox.name, folder, kind, "", traceparent=traceparent)
                self.storage.queues[QueueName.LIFECYCLE].put_many([event.to_json()])
                return

    def reconcile(self) -> None:
        """Ensure that every folder has its subscription, and delete subscriptions that belong to no folder.

        A failure of one mailbox is recorded and does not stop the others.

        Raises:
            TransientError: the storage is unavailable.
        """
        mailboxes = self._mailboxes()
        if self.settings.graph_webhook_url is None or not mailboxes:
            return
        lease = RenewingLease.acquire(self.storage.leases, LEASE)
        if lease is None:
            _log.debug("another worker manages the subscriptions")
            return
        with lease:
            for group in _group_by_sign_in(mailboxes).values():
                try:
                    with self.connect(group[0]) as graph:
                        self._reconcile_group(graph, group, lease)
                except LeaseLost:
                    raise
                except MailroomError as error:
                    for mailbox in group:
                        for folder in mailbox.folders:
                            self._record_failure(self.record_for(mailbox.name, folder), error)

    def handle_lifecycle_event(self, event: LifecycleEvent) -> None:
        """Do what a lifecycle notification asks for, after requesting a poll of the mailbox.

        `renew_subscriptions` repeats what fails here.

        Raises:
            TransientError: the storage is unavailable.
        """
        mailbox = next((mailbox for mailbox in self._mailboxes() if mailbox.name == event.mailbox), None)
        if self.settings.graph_webhook_url is None or mailbox is None or event.folder not in mailbox.folders:
            _log.warning(
                "mailbox %s, %s: ignored %s, the folder is not configured", event.mailbox, event.folder, event.kind
            )
            return
        with log_context.bind(mailbox=mailbox.name):
            self._handle_event(mailbox, event)

    def _handle_event(self, mailbox: MailboxSettings, event: LifecycleEvent) -> None:
        if event.kind is not LifecycleKind.REAUTHORIZATION_REQUIRED:
            self._request_poll(mailbox)
        if event.kind is LifecycleKind.SUBSCRIPTION_REMOVED and not event.subscription:
            self.reconcile()
            return
        if event.kind is LifecycleKind.MISSED or not self._is_current(event):
            return  # a subscription that was replaced needs no repair
        lease = RenewingLease.acquire(self.storage.leases, LEASE)
        if lease is None:
            self._requeue(event)
            return
        with lease:
            record = self.record_for(mailbox.name, event.folder)
            if record.subscription != event.subscription:
                return  # another worker has handled the event
            try:
                with self.connect(mailbox) as graph:
                    if event.kind is LifecycleKind.SUBSCRIPTION_REMOVED:
                        # Cleared first: until there is a new subscription, the timer must poll at its normal pace.
                        record = self._write(SubscriptionRecord(mailbox=mailbox.name, folder=event.folder))
                        self._create(graph, mailbox, record, lease)
                    else:
                        self._renew(graph, mailbox, record, lease)
            except LeaseLost:
                raise
            except MailroomError as error:
                self._record_failure(record, error)

    def _is_current(self, event: LifecycleEvent) -> bool:
        return self.record_for(event.mailbox, event.folder).subscription == event.subscription

    def _mailboxes(self) -> list[MailboxSettings]:
        mailboxes = self.settings.mailboxes.values()
        return [mailbox for mailbox in mailboxes if mailbox.enabled and mailbox.protocol is MailProtocol.GRAPH]

    def _reconcile_group(
        self, graph: GraphSubscriptions, mailboxes: Iterable[MailboxSettings], lease: RenewingLease
    ) -> None:
        existing = {subscription.id: subscription for subscription in graph.list_all()}
        for mailbox in mailboxes:
            for folder in mailbox.folders:
                record = self.record_for(mailbox.name, folder)
                with log_context.bind(mailbox=mailbox.name):
                    try:
                        self._reconcile_folder(graph, mailbox, record, existing, lease)
                    except LeaseLost:
                        raise
                    except MailroomError as error:
                        self._record_failure(record, error)
        recorded_ids = {
            self.record_for(mailbox.name, folder).subscription
            for mailbox in self._mailboxes()
            for folder in mailbox.folders
        }
        for subscription in existing.values():
            if subscription.url == self.settings.graph_webhook_url and subscription.id not in recorded_ids:
                lease.ensure()
                _log.warning(
                    "subscription %s has our URL and belongs to no configured folder; deleting it", subscription.id
                )
                self._delete(graph, subscription.id)

    def _reconcile_folder(
        self,
        graph: GraphSubscriptions,
        mailbox: MailboxSettings,
        record: SubscriptionRecord,
        existing: Mapping[str, Subscription],
        lease: RenewingLease,
    ) -> None:
        subscription = existing.get(record.subscription)
        if subscription is None or subscription.expires <= self.now():
            if record.subscription:
                _log.warning("mailbox %s, %s: the subscription is gone; creating it again", mailbox.name, record.folder)
                record = self._write(SubscriptionRecord(mailbox=mailbox.name, folder=record.folder))
            self._create(graph, mailbox, record, lease)
        elif self._is_outdated(record, graph.resource(mailbox, record.folder)):
            # Create the replacement subscription before deleting this one.
            self._create(graph, mailbox, record, lease)
            self._delete(graph, subscription.id)
        elif subscription.expires - self.now() < self._lifetime(record) / 2:
            self._renew(graph, mailbox, record, lease)
        elif record.error or record.until != subscription.expires:
            self._write(replace(record, until=subscription.expires, error=""))

    def _is_outdated(self, record: SubscriptionRecord, resource: str) -> bool:
        """Return whether a subscription was created for another key, URL, mailbox address or folder id."""
        created_for = record.key, record.url, record.resource
        return created_for != (key_name(self._key), self.settings.graph_webhook_url, resource)

    def _lifetime(self, record: SubscriptionRecord) -> timedelta:
        """Return the lifetime of a subscription: as configured, or as granted if Graph granted less."""
        configured = self.settings.graph_subscription_minutes
        return timedelta(minutes=min(configured, record.minutes or configured))

    def _delete(self, graph: GraphSubscriptions, subscription: str) -> None:
        """Delete a subscription. If that fails, it expires."""
        try:
            graph.delete(subscription)
        except (MailboxError, MailboxBusy) as error:
            _log.warning("subscription %s could not be deleted: %s", subscription, error)

    @property
    def _key(self) -> str:
        return self.settings.graph_client_state_keys[0].get_secret_value()

    def _create(
        self,
        graph: GraphSubscriptions,
        mailbox: MailboxSettings,
        record: SubscriptionRecord,
        lease: RenewingLease,
    ) -> None:
        assert self.settings.graph_webhook_url is not None
        lease.ensure()
        created = graph.create(
            mailbox,
            record.folder,
            url=self.settings.graph_webhook_url,
            client_state=client_state(self._key, folder_token(mailbox.name, record.folder)),
            minutes=self.settings.graph_subscription_minutes,
        )
        new = SubscriptionRecord(
            mailbox=mailbox.name,
            folder=record.folder,
            subscription=created.id,
            until=created.expires,
            key=key_name(self._key),
            url=self.settings.graph_webhook_url,
            resource=created.resource,
            minutes=self._minutes_until(created.expires),
        )
        self._write(new)
        _log.info("mailbox %s, %s: subscribed until %s", mailbox.name, record.folder, _utc(created.expires))
        self._request_poll(mailbox)  # Graph sent no notifications of earlier mail

    def _renew(
        self, graph: GraphSubscriptions, mailbox: MailboxSettings, record: SubscriptionRecord, lease: RenewingLease
    ) -> None:
        renewed = graph.renew(mailbox, record.subscription, minutes=self.settings.graph_subscription_minutes)
        if renewed is None:
            cleared = self._write(SubscriptionRecord(mailbox=mailbox.name, folder=record.folder))
            self._create(graph, mailbox, cleared, lease)
            return
        _log.info("mailbox %s, %s: subscribed until %s", mailbox.name, record.folder, _utc(renewed.expires))
        minutes = self._minutes_until(renewed.expires)
        self._write(replace(record, until=renewed.expires, minutes=minutes, error=""))

    def _minutes_until(self, expires: datetime) -> int:
        return round((expires - self.now()).total_seconds() / 60)

    def _request_poll(self, mailbox: MailboxSettings) -> None:
        poll = Poll(mailbox.name, PollReason.NOTIFIED, requested_at=self.now())
        self.storage.queues[QueueName.POLLS].put_many([poll.to_json()])

    def _requeue(self, event: LifecycleEvent) -> None:
        if event.retries < MAX_RETRIES:
            retry = replace(event, retries=event.retries + 1)
            self.storage.queues[QueueName.LIFECYCLE].put_many([retry.to_json()], delay=RETRY_DELAY)

    def _write(self, record: SubscriptionRecord) -> SubscriptionRecord:
        record.write(self.storage.records)
        return record

    def _record_failure(self, record: SubscriptionRecord, error: MailroomError) -> None:
        metrics.count_failure(error, "subscription")
        text = without_mailbox(error, record.mailbox)
        with log_context.bind(mailbox=record.mailbox):
            _log.warning(
                "mailbox %s, %s: the subscription could not be created or renewed, so only the timer polls: %s",
                record.mailbox,
                record.folder,
                text,
            )
        self._write(replace(record, error=printable(text, 1000)))


def _group_by_sign_in(mailboxes: Iterable[MailboxSettings]) -> dict[tuple[object, ...], list[MailboxSettings]]:
    """Group mailboxes by app registration or identity, since one list shows all subscriptions of an app."""
    groups: dict[tuple[object, ...], list[MailboxSettings]] = {}
    for mailbox in mailboxes:
        sign_in = (mailbox.sign_in, mailbox.tenant_id, mailbox.client_id, mailbox.ca_file)
        groups.setdefault(sign_in, []).append(mailbox)
    return groups


def _record_key(mailbox: str, folder: str) -> str:
    return digest("subscription", mailbox, folder)


def _utc(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
