"""Servers that many mailboxes are on (rule 1.1). A preset fills in what the mailbox's own settings leave open."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.config.model import MailProtocol, Tls

DEFAULT_PORTS = {
    (MailProtocol.IMAP, Tls.IMPLICIT): 993,
    (MailProtocol.IMAP, Tls.STARTTLS): 143,
    (MailProtocol.IMAP, Tls.NONE): 143,
    (MailProtocol.POP3, Tls.IMPLICIT): 995,
    (MailProtocol.POP3, Tls.STARTTLS): 110,
    (MailProtocol.POP3, Tls.NONE): 110,
    (MailProtocol.GRAPH, Tls.IMPLICIT): 443,
}
"""RFC 8314 section 7; a preset's ports are these too."""


WITHOUT_PERMANENT_DELETE = frozenset(
    {"graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"}
)
"""Hosts of the national clouds' Graph, which do not have `permanentDelete` (Graph: message: permanentDelete)."""


class Preset(StrEnum):
    """The presets' names."""

    GMAIL_IMAP = "gmail-imap"
    GMAIL_POP3 = "gmail-pop3"
    OFFICE365_IMAP = "office365-imap"
    OFFICE365_POP3 = "office365-pop3"
    OFFICE365_GRAPH = "office365-graph"


@dataclass(frozen=True, slots=True)
class Server:
    """What a preset stands for.

    Attributes:
        protocol: what is spoken there.
        host: its name; None: GRAPH_ENDPOINT has it.
        tls: how the connection is protected; with the protocol it says the port.
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
