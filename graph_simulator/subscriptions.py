"""Subscriptions: what one is, and those that there are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from graph_simulator.items import Change, Folder
from graph_simulator.mailbox_store import Store


@dataclass(eq=False)
class Subscription:
    """A subscription to the changes in a folder.

    Attributes:
        app: the client id of the app that made it.
        store: the mailbox.
        folder: the folder in it.
        resource: as the app wrote it.
        kinds: created, updated, deleted.
        url: where notifications go.
        lifecycle_url: where lifecycle events go.
        client_state: what every notification brings along.
        expires: when it ends.
        immutable: the kind of ids in its notifications.
        tls: the least TLS version that it asked for.
        id: a GUID.
    """

    app: str
    store: Store
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
        """Whether it has not expired."""
        return self.expires > datetime.now(UTC)

    def covers(self, store: Store, change: Change) -> bool:
        """Whether it is about such a change."""
        return self.store is store and self.folder is change.folder and change.kind in self.kinds

    def json(self, *, with_state: bool = False) -> dict[str, Any]:
        """As Graph writes it; the state is told once, when it is made."""
        return {
            "id": self.id,
            "resource": self.resource,
            "applicationId": self.app,
            "changeType": ",".join(self.kinds),
            "clientState": self.client_state if with_state else None,
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


class Subscriptions:
    """Those that there are. The caller holds the stand-in's lock."""

    def __init__(self) -> None:
        self._all: dict[str, Subscription] = {}

    def add(self, subscription: Subscription) -> None:
        """One more."""
        self._all[subscription.id] = subscription

    def remove(self, subscription: Subscription) -> None:
        """One less."""
        self._all.pop(subscription.id, None)

    def live(self, mailbox: str | None = None) -> list[Subscription]:
        """Those that have not expired: of one mailbox, or of all."""
        found = [each for each in self._all.values() if each.is_live()]
        return [each for each in found if mailbox is None or each.mailbox.lower() == mailbox.lower()]

    def of_app(self, app: str) -> Iterator[Subscription]:
        """Those that an app made, oldest first."""
        return (each for each in self.live() if each.app == app)

    def find(self, key: str, app: str) -> Subscription | None:
        """An app's own live one with that id."""
        return next((each for each in self.of_app(app) if each.id == key.lower()), None)


def timestamp(moment: datetime) -> str:
    """A time with the seven decimals that Graph gives it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
