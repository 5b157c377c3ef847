"""What is recorded of a folder's subscription at Microsoft Graph."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.keys import digest
from shared.storage.base import Records, Table

_NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionRecord:
    """What is known of a folder's subscription.

    Attributes:
        mailbox: the mailbox's name.
        folder: the folder's path in the settings.
        subscription: Graph's id; empty: there is none.
        until: when it ends.
        key: which key its notifications are proven by.
        url: where they go.
        resource: what it is about.
        minutes: how long it was granted for.
        error: why it could not be created or renewed; empty if it could.
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

    @property
    def was_tried(self) -> bool:
        """Return whether a subscription was created, or could not be."""
        return bool(self.subscription or self.error)

    @classmethod
    def read(cls, records: Records, mailbox: str, folder: str) -> SubscriptionRecord:
        """The record of a folder; where there is none, that there is no subscription."""
        record = records.get(Table.SUBSCRIPTIONS, _key(mailbox, folder))
        known = {} if record is None else {k: v for k, v in record.values.items() if k in cls.__dataclass_fields__}
        return cls(**{"mailbox": mailbox, "folder": folder, **known})  # type: ignore[arg-type]

    def write(self, records: Records) -> None:
        """Put it down."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        records.merge(Table.SUBSCRIPTIONS, _key(self.mailbox, self.folder), values)


def _key(mailbox: str, folder: str) -> str:
    return digest("subscription", mailbox, folder)
