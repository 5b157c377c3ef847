"""Subscriptions to the changes in a folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from graph_simulator.items import Change, Folder
from graph_simulator.mailbox_store import MailboxStore


@dataclass(eq=False)
class Subscription:
    """A subscription to the changes in a folder.

    Attributes:
        app: client id of the app that created it.
        store: the mailbox.
        folder: the folder.
        resource: the resource as the app wrote it.
        kinds: created, updated, deleted.
        url: the URL that receives notifications.
        lifecycle_url: the URL that receives lifecycle notifications, or None.
        client_state: the value that every notification repeats.
        expires: when it expires.
        immutable: whether its notifications use immutable ids.
        tls: minimum TLS version.
        id: a GUID.
    """

    app: str
    store: MailboxStore
    folder: Folder
    resource: str
    kinds: tuple[str, ...]
    url: str
    lifecycle_url: str | None
    client_state: str | None = field(repr=False)
    expires: datetime
    immutable: bool
    tls: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def mailbox(self) -> str:
        """The address of the mailbox."""
        return self.store.address

    def is_live(self) -> bool:
        """Return whether the subscription has not expired."""
        return self.expires > datetime.now(UTC)

    def covers(self, store: MailboxStore, change: Change) -> bool:
        """Return whether the subscription is about a change."""
        return self.store is store and self.folder is change.folder and change.kind in self.kinds

    def json(self, *, with_client_state: bool = False) -> dict[str, Any]:
        """Return the JSON in Graph's format. Graph returns the client state only when a subscription is created."""
        return {
            "id": self.id,
            "resource": self.resource,
            "applicationId": self.app,
            "changeType": ",".join(self.kinds),
            "clientState": self.client_state if with_client_state else None,
            "notificationUrl": self.url,
            "notificationQueryOptions": None,
            "lifecycleNotificationUrl": self.lifecycle_url,
            "expirationDateTime": timestamp(self.expires),
            "creatorId": self.app,
            "includeResourceData": None,
            "latestSupportedTlsVersion": self.tls,
            "encryptionCertificate": None,
            "encryptionCertificateId": None,
            "notificationUrlAppId": None,
        }


class SubscriptionRegistry:
    """All subscriptions. The caller holds the simulator's lock."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, Subscription] = {}

    def add(self, subscription: Subscription) -> None:
        """Add a subscription."""
        self._subscriptions[subscription.id] = subscription

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription, which may already be gone."""
        self._subscriptions.pop(subscription.id, None)

    def live(self, mailbox: str | None = None) -> list[Subscription]:
        """Return the subscriptions that have not expired, of one mailbox or of all."""
        live = [subscription for subscription in self._subscriptions.values() if subscription.is_live()]
        if mailbox is None:
            return live
        return [subscription for subscription in live if subscription.mailbox.lower() == mailbox.lower()]

    def of_app(self, app: str) -> Iterator[Subscription]:
        """Return the subscriptions of an app that have not expired, oldest first."""
        return (subscription for subscription in self.live() if subscription.app == app)

    def find(self, key: str, app: str) -> Subscription | None:
        """Return an app's subscription with an id, if it has not expired."""
        return next((subscription for subscription in self.of_app(app) if subscription.id == key.lower()), None)


def timestamp(moment: datetime) -> str:
    """Return a time in Graph's format, with seven decimals."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
