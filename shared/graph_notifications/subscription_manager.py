"""Looks after the subscriptions at Microsoft Graph: one for each collected folder, made, renewed and made anew in time.

Notifications only make mail come sooner: whatever goes wrong here, the clock collects it. One worker at a time does
this, under a lease. What Graph has is compared with what is recorded at every round: a subscription that is gone is
made anew, and one that sends to our address and is not recorded (its maker died in between) is ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from shared.clock import Now, utc_now
from shared.config import AppSettings, MailboxSettings, MailProtocol
from shared.errors import LeaseLost, MailboxBusy, MailboxError, MailroomError, printable
from shared.graph_notifications.client_state import client_state, folder_token, key_name
from shared.graph_notifications.subscription_record import SubscriptionRecord
from shared.lease import RenewingLease
from shared.observability import log_context, metrics
from shared.queue_messages import LifecycleEvent, LifecycleKind, Poll, PollReason
from shared.storage.base import QueueName, Storage

if TYPE_CHECKING:
    from shared.mailboxes.graph.subscriptions import GraphSubscriptions, Subscription

LEASE: Final = "graph-subscriptions"

MENDING: Final = 30.0
"""Seconds after which a lifecycle event is tried again, while another worker looks after the subscriptions."""

MOST_RETRIES: Final = 4
"""How often; then the timer takes over."""

_log = logging.getLogger("mailroom.subscriptions")


@dataclass(frozen=True, slots=True)
class SubscriptionManager:
    """Looks after subscriptions.

    Attributes:
        settings: the app's.
        stores: where they are recorded, the lease, and the queues.
        connect: opens a session with Graph by a mailbox's sign-in.
        now: the time.
    """

    settings: AppSettings
    stores: Storage
    connect: Callable[[MailboxSettings], GraphSubscriptions]
    now: Now = utc_now
    _tried: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False, compare=False)

    def of(self, mailbox: str, folder: str) -> SubscriptionRecord:
        """What is recorded of a folder's subscription."""
        return SubscriptionRecord.read(self.stores.records, mailbox, folder)

    def is_active(self, mailbox: MailboxSettings) -> bool:
        """Whether Graph notifies us of new mail in every folder of a mailbox, as far as is known."""
        if mailbox.protocol is not MailProtocol.GRAPH or self.settings.graph_webhook_url is None:
            return False
        everything = [self.of(mailbox.name, folder) for folder in mailbox.folders]
        self._tried.update((one.mailbox, one.folder) for one in everything if one.was_tried)
        # One that was made for another address of ours, or of the mailbox's, tells us nothing.
        whose = f"users/{mailbox.mailbox_address}/"
        url = self.settings.graph_webhook_url
        return all(one.until > self.now() and one.url == url and one.resource.startswith(whose) for one in everything)

    def request_missing(self, traceparent: str = "") -> None:
        """Enqueue one lifecycle event if there is a collected folder for which no subscription was ever tried.

        The timer of `keep` would come up to five minutes later. Nothing is asked of Graph here. A folder's record is
        read until it shows a try, and no more after that.

        Args:
            traceparent: the trace that the event belongs to.

        Raises:
            TransientError: the storage is unavailable.
        """
        if self.settings.graph_webhook_url is None:
            return
        for mailbox in self._mailboxes():
            for folder in mailbox.folders:
                if (mailbox.name, folder) in self._tried:
                    continue
                if self.of(mailbox.name, folder).was_tried:
                    self._tried.add((mailbox.name, folder))
                    continue
                # One for all: `keep` creates whatever is missing, under one lease.
                kind = LifecycleKind.SUBSCRIPTION_REMOVED
                event = LifecycleEvent(mailbox.name, folder, kind, "", traceparent=traceparent)
                self.stores.queues[QueueName.LIFECYCLE].put_many([event.to_json()])
                return

    def reconcile(self) -> None:
        """One round: see that every folder has its subscription, and that there are no others of ours.

        What fails with one mailbox is recorded with it, and does not stop the others.

        Raises:
            TransientError: the storage is ill.
        """
        mailboxes = self._mailboxes()
        if self.settings.graph_webhook_url is None or not mailboxes:
            return
        lease = RenewingLease.acquire(self.stores.leases, LEASE)
        if lease is None:
            _log.info("another worker looks after the subscriptions")
            return
        with lease:
            for signed_in_alike in _by_sign_in(mailboxes).values():
                try:
                    with self.connect(signed_in_alike[0]) as graph:
                        self._keep(graph, signed_in_alike, lease)
                except LeaseLost:
                    raise
                except MailroomError as error:
                    for mailbox in signed_in_alike:
                        for folder in mailbox.folders:
                            self._failed(self.of(mailbox.name, folder), error)

    def handle_lifecycle_event(self, event: LifecycleEvent) -> None:
        """Do what a lifecycle notification asks for. A look at the mailbox comes first; the timer makes good the rest.

        Raises:
            TransientError: the storage is ill.
        """
        mailbox = next((one for one in self._mailboxes() if one.name == event.mailbox), None)
        if self.settings.graph_webhook_url is None or mailbox is None or event.folder not in mailbox.folders:
            _log.warning("mailbox %s, %s: %s is about nothing of ours", event.mailbox, event.folder, event.kind)
            return
        with log_context.bind(mailbox=mailbox.name):
            self._mend(mailbox, event)

    def _mend(self, mailbox: MailboxSettings, event: LifecycleEvent) -> None:
        if event.kind is not LifecycleKind.REAUTHORIZATION_REQUIRED:
            self._look_at(mailbox)
        if event.kind is LifecycleKind.SUBSCRIPTION_REMOVED and not event.subscription:
            self.reconcile()
            return
        if event.kind is LifecycleKind.MISSED or self.of(mailbox.name, event.folder).subscription != event.subscription:
            return  # of one that is not ours any more there is nothing to mend
        lease = RenewingLease.acquire(self.stores.leases, LEASE)
        if lease is None:
            self._put_back(event)
            return
        with lease:
            recorded = self.of(mailbox.name, event.folder)
            if recorded.subscription != event.subscription:
                return  # another worker was faster
            try:
                with self.connect(mailbox) as graph:
                    if event.kind is LifecycleKind.SUBSCRIPTION_REMOVED:
                        # Until there is another one, the clock is not to take its time.
                        recorded = self._record(SubscriptionRecord(mailbox=mailbox.name, folder=event.folder))
                        self._create(graph, mailbox, recorded, lease)
                    else:
                        self._renew(graph, mailbox, recorded, lease)
            except LeaseLost:
                raise
            except MailroomError as error:
                self._failed(recorded, error)

    def _mailboxes(self) -> list[MailboxSettings]:
        everybody = self.settings.mailboxes.values()
        return [one for one in everybody if one.enabled and one.protocol is MailProtocol.GRAPH]

    def _keep(self, graph: GraphSubscriptions, mailboxes: Iterable[MailboxSettings], lease: RenewingLease) -> None:
        found = {one.id: one for one in graph.every()}
        for mailbox in mailboxes:
            for folder in mailbox.folders:
                recorded = self.of(mailbox.name, folder)
                with log_context.bind(mailbox=mailbox.name):
                    try:
                        self._kept(graph, mailbox, recorded, found, lease)
                    except LeaseLost:
                        raise
                    except MailroomError as error:
                        self._failed(recorded, error)
        everybodys = {self.of(one.name, folder).subscription for one in self._mailboxes() for folder in one.folders}
        for other in found.values():
            if other.url == self.settings.graph_webhook_url and other.id not in everybodys:
                lease.ensure()
                _log.warning("subscription %s sends to our address and is no folder's: it is ended", other.id)
                self._end(graph, other.id)

    def _kept(
        self,
        graph: GraphSubscriptions,
        mailbox: MailboxSettings,
        recorded: SubscriptionRecord,
        found: Mapping[str, Subscription],
        lease: RenewingLease,
    ) -> None:
        there = found.get(recorded.subscription)
        if there is None or there.until <= self.now():
            if recorded.subscription:
                _log.warning("mailbox %s, %s: its subscription is gone", mailbox.name, recorded.folder)
                recorded = self._record(SubscriptionRecord(mailbox=mailbox.name, folder=recorded.folder))
            self._create(graph, mailbox, recorded, lease)
        elif self._is_another(recorded, graph.resource(mailbox, recorded.folder)):
            # Its key is on its way out, or it is about another mailbox or folder: another first, then no more of it.
            self._create(graph, mailbox, recorded, lease)
            self._end(graph, there.id)
        elif there.until - self.now() < self._wanted(recorded) / 2:
            self._renew(graph, mailbox, recorded, lease)
        elif recorded.error or recorded.until != there.until:
            self._record(replace(recorded, until=there.until, error=""))

    def _is_another(self, recorded: SubscriptionRecord, resource: str) -> bool:
        made = recorded.key, recorded.url, recorded.resource
        return made != (key_name(self._key), self.settings.graph_webhook_url, resource)

    def _wanted(self, recorded: SubscriptionRecord) -> timedelta:
        """How long it may be had: as long as it was granted for, where that is less than what is asked for."""
        asked = self.settings.graph_subscription_minutes
        return timedelta(minutes=min(asked, recorded.minutes or asked))

    def _end(self, graph: GraphSubscriptions, subscription: str) -> None:
        """End one; if that cannot be, it runs out by itself."""
        try:
            graph.delete(subscription)
        except (MailboxError, MailboxBusy) as error:
            _log.warning("subscription %s could not be ended: %s", subscription, error)

    @property
    def _key(self) -> str:
        return self.settings.graph_client_state_keys[0].get_secret_value()

    def _create(
        self,
        graph: GraphSubscriptions,
        mailbox: MailboxSettings,
        recorded: SubscriptionRecord,
        lease: RenewingLease,
    ) -> None:
        assert self.settings.graph_webhook_url is not None
        lease.ensure()
        created = graph.create(
            mailbox,
            recorded.folder,
            url=self.settings.graph_webhook_url,
            state=client_state(self._key, folder_token(mailbox.name, recorded.folder)),
            minutes=self.settings.graph_subscription_minutes,
        )
        new = SubscriptionRecord(
            mailbox=mailbox.name,
            folder=recorded.folder,
            subscription=created.id,
            until=created.until,
            key=key_name(self._key),
            url=self.settings.graph_webhook_url,
            resource=created.resource,
            minutes=self._granted(created.until),
        )
        self._record(new)
        _log.info("mailbox %s, %s: subscribed until %s", mailbox.name, recorded.folder, created.until)
        self._look_at(mailbox)  # nobody told us of what came before

    def _renew(
        self, graph: GraphSubscriptions, mailbox: MailboxSettings, recorded: SubscriptionRecord, lease: RenewingLease
    ) -> None:
        renewed = graph.renew(mailbox, recorded.subscription, minutes=self.settings.graph_subscription_minutes)
        if renewed is None:
            gone = self._record(SubscriptionRecord(mailbox=mailbox.name, folder=recorded.folder))
            self._create(graph, mailbox, gone, lease)
            return
        _log.info("mailbox %s, %s: subscribed until %s", mailbox.name, recorded.folder, renewed.until)
        minutes = self._granted(renewed.until)
        self._record(replace(recorded, until=renewed.until, minutes=minutes, error=""))

    def _granted(self, until: datetime) -> int:
        return round((until - self.now()).total_seconds() / 60)

    def _look_at(self, mailbox: MailboxSettings) -> None:
        poll = Poll(mailbox.name, PollReason.NOTIFIED, requested_at=self.now())
        self.stores.queues[QueueName.POLLS].put_many([poll.to_json()])

    def _put_back(self, event: LifecycleEvent) -> None:
        if event.retries < MOST_RETRIES:
            again = replace(event, retries=event.retries + 1)
            self.stores.queues[QueueName.LIFECYCLE].put_many([again.to_json()], delay=MENDING)

    def _record(self, recorded: SubscriptionRecord) -> SubscriptionRecord:
        recorded.write(self.stores.records)
        return recorded

    def _failed(self, recorded: SubscriptionRecord, error: MailroomError) -> None:
        metrics.count_failure(error, "subscription")
        with log_context.bind(mailbox=recorded.mailbox):
            _log.warning(
                "mailbox %s, %s: no subscription could be made or renewed, the clock collects its mail: %s",
                recorded.mailbox,
                recorded.folder,
                error,
            )
        self._record(replace(recorded, error=printable(error, 1000)))


def _by_sign_in(mailboxes: Iterable[MailboxSettings]) -> dict[tuple[object, ...], list[MailboxSettings]]:
    """Mailboxes that the same app registration, or identity, looks at: one list shows all of their subscriptions."""
    alike: dict[tuple[object, ...], list[MailboxSettings]] = {}
    for one in mailboxes:
        alike.setdefault((one.sign_in, one.tenant_id, one.client_id, one.ca_file), []).append(one)
    return alike
