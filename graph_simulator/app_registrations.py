"""App registrations and their permissions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

READ, WRITE = "Mail.Read", "Mail.ReadWrite"
DIRECTORY, BASIC_DIRECTORY = "User.Read.All", "User.ReadBasic.All"


@dataclass(eq=False)
class App:
    """An app registration. Changes to its permissions take effect at once.

    Attributes:
        client_id: the application id.
        secret: the client secret.
        mailboxes: addresses that the app may open, in any case; None: all.
        permissions: application permissions. The simulator knows `Mail.Read`, `Mail.ReadWrite`, `User.Read.All` and
            `User.ReadBasic.All`.
    """

    client_id: str
    secret: str = field(repr=False)
    mailboxes: Collection[str] | None = None
    permissions: Collection[str] = (WRITE,)

    def may_read(self) -> bool:
        """Return whether the app may read mail and subscribe to it."""
        return READ in self.permissions or WRITE in self.permissions

    def may_write(self) -> bool:
        """Return whether the app may move and delete messages."""
        return WRITE in self.permissions

    def may_read_users(self) -> bool:
        """Return whether the app may read all properties of users."""
        return DIRECTORY in self.permissions

    def may_read_basic_profiles(self) -> bool:
        """Return whether the app may read the basic properties of users."""
        return self.may_read_users() or BASIC_DIRECTORY in self.permissions

    def may_open(self, address: str) -> bool:
        """Return whether the app may open a mailbox."""
        return self.mailboxes is None or address.lower() in {mailbox.lower() for mailbox in self.mailboxes}
