"""Servers that many mailboxes are on (rule 1.1). A preset fills in the settings that a mailbox does not set itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.config.choices import MailProtocol, Tls

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


@dataclass(frozen=True, slots=True)
class Server:
    """The server that a preset represents.

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
