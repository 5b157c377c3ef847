"""The values that settings choose from."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class MailProtocol(StrEnum):
    """How mail is retrieved."""

    IMAP = "imap"
    POP3 = "pop3"
    GRAPH = "graph"
    """Microsoft Graph over HTTPS: mailboxes of Office 365."""


class Tls(StrEnum):
    """How the connection is protected (rule 1.1)."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class SignIn(StrEnum):
    """How to sign in to the mailbox (rule 1.4)."""

    PASSWORD = "password"  # noqa: S105  the name of a method, not a password
    CLIENT_SECRET = "client-secret"  # noqa: S105  likewise
    CERTIFICATE = "certificate"
    MANAGED_IDENTITY = "managed-identity"
    """The app's own identity in Azure, without any secret."""


class After(StrEnum):
    """What happens to a message in the mailbox once it is stored (rule 1.3)."""

    DELETE = "delete"
    """Deleted permanently, where the server can."""
    TRASH = "trash"
    r"""Moved to the deleted items: Graph's `deleteditems`; IMAP's folder with the special use \Trash (RFC 6154)."""
    MOVE = "move"
    KEEP = "keep"


class PlusAddressing(StrEnum):
    """What the part of a local part after `+` means (rule 2.4)."""

    MIXED = "mixed"
    OFF = "off"
    ONLY = "only"


class DeliveryField(NamedTuple):
    """A delivery header that DELIVERY_FIELDS names.

    Attributes:
        name: in lower case.
        anywhere: the header counts wherever it is, not only above the trusted `Received`.
    """

    name: str
    anywhere: bool = False
