"""The words that settings choose from, and the presets: servers that many mailboxes are on (rule 1.1)."""

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


DEFAULT_PORTS = {
    (MailProtocol.IMAP, Tls.IMPLICIT): 993,
    (MailProtocol.IMAP, Tls.STARTTLS): 143,
    (MailProtocol.IMAP, Tls.NONE): 143,
    (MailProtocol.POP3, Tls.IMPLICIT): 995,
    (MailProtocol.POP3, Tls.STARTTLS): 110,
    (MailProtocol.POP3, Tls.NONE): 110,
    (MailProtocol.GRAPH, Tls.IMPLICIT): 443,
}
"""The ports of RFC 8314 section 7; presets use them too."""

GLOBAL_GRAPH = "https://graph.microsoft.com/v1.0"

WITHOUT_PERMANENT_DELETE = frozenset(
    {"graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"}
)
"""Hosts of the national clouds' Graph, which do not have `permanentDelete` (Graph: message: permanentDelete)."""


class Preset(StrEnum):
    """The name of a preset."""

    GMAIL_IMAP = "gmail-imap"
    GMAIL_POP3 = "gmail-pop3"
    OFFICE365_IMAP = "office365-imap"
    OFFICE365_POP3 = "office365-pop3"
    OFFICE365_GRAPH = "office365-graph"


class Server(NamedTuple):
    """The server that a preset represents. A preset fills in the settings that a mailbox does not set itself.

    Attributes:
        protocol: how mail is retrieved from it.
        host: its DNS name; None: the host of GRAPH_ENDPOINT.
        tls: how the connection is protected; with the protocol, it determines the port.
    """

    protocol: MailProtocol
    host: str | None
    tls: Tls = Tls.IMPLICIT


PRESETS = {
    Preset.GMAIL_IMAP: Server(MailProtocol.IMAP, "imap.gmail.com"),
    Preset.GMAIL_POP3: Server(MailProtocol.POP3, "pop.gmail.com"),
    Preset.OFFICE365_IMAP: Server(MailProtocol.IMAP, "outlook.office365.com"),
    Preset.OFFICE365_POP3: Server(MailProtocol.POP3, "outlook.office365.com"),
    Preset.OFFICE365_GRAPH: Server(MailProtocol.GRAPH, None),
}
