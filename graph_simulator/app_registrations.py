"""App registrations, and what each may do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

READ, WRITE = "Mail.Read", "Mail.ReadWrite"
DIRECTORY, BASIC_DIRECTORY = "User.Read.All", "User.ReadBasic.All"


@dataclass(eq=False)
class App:
    """An app registration. What it may do can be changed while the stand-in runs, and holds at once.

    Attributes:
        client_id: its id.
        secret: what it signs in with.
        mailboxes: the addresses that it may open, in any case; None: all.
        permissions: `Mail.Read`, `Mail.ReadWrite`, `User.Read.All` and `User.ReadBasic.All` mean something here.
    """

    client_id: str
    secret: str = field(repr=False)
    mailboxes: Collection[str] | None = None
    permissions: Collection[str] = (WRITE,)

    def may_read(self) -> bool:
        """Whether it may read and subscribe."""
        return READ in self.permissions or WRITE in self.permissions

    def may_write(self) -> bool:
        """Whether it may move and delete."""
        return WRITE in self.permissions

    def may_read_users(self) -> bool:
        """Return whether it may read all properties of users."""
        return DIRECTORY in self.permissions

    def may_read_names(self) -> bool:
        """Return whether it may read the basic properties of users."""
        return self.may_read_users() or BASIC_DIRECTORY in self.permissions

    def may_open(self, address: str) -> bool:
        """Whether that mailbox is one of its own."""
        return self.mailboxes is None or address.lower() in {each.lower() for each in self.mailboxes}
