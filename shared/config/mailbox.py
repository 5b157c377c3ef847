"""Check the settings of one mailbox against each other."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from shared.config.certificates import ca_file_error
from shared.config.choices import After, MailProtocol, Tls
from shared.config.model import POLL_INTERVAL, SUBSCRIBED_POLL_INTERVAL, MailboxSettings
from shared.config.parsers import is_loopback, parse_move_target
from shared.config.presets import DEFAULT_PORTS, GLOBAL_GRAPH, PRESETS
from shared.config.section import Section
from shared.config.sign_in import check_sign_in

DELETED_ITEMS = frozenset({"deleteditems", "deleted items"})
"""Names in FOLDERS of Graph's well-known folder `deleteditems`, in lower case (Graph: mailFolder resource type)."""

_NOT_WITH_GRAPH = {
    "HOST": "set GRAPH_ENDPOINT for another cloud, or remove it",
    "PORT": "put it into GRAPH_ENDPOINT, or remove it",
    "TLS": "Graph is HTTPS alone, remove it",
    "ALLOW_PLAINTEXT": "Graph is HTTPS alone, remove it",
}


class _Server(NamedTuple):
    """The server's settings; None if they are neither set nor known."""

    protocol: MailProtocol | None
    host: str | None
    port: int | None
    tls: Tls


def build_mailbox(
    section: Section, graph_endpoint: str = GLOBAL_GRAPH, *, certificates: bool = True
) -> MailboxSettings | None:
    """Check a mailbox's settings against each other, and build the mailbox.

    Args:
        section: the mailbox's settings.
        graph_endpoint: the URL of Microsoft Graph.
        certificates: open the certificates to check them.

    Returns:
        The mailbox; None if a required setting is missing or invalid. It is usable only if no error was reported.
    """
    values = section.values
    server = _build_server(section, graph_endpoint)
    move_to = parse_move_target(section.text("AFTER")) if values.get("after") is After.MOVE else None
    _check_folders(section, server.protocol, move_to)
    sign_in = check_sign_in(section, graph=server.protocol is MailProtocol.GRAPH, certificates=certificates)
    if "address" not in values:
        section.missing("ADDRESS", "give the mailbox's primary address")
    if sign_in is None or "address" not in values or None in server:
        return None
    interval = values.get("poll_every")
    derived = {
        **server._asdict(),
        "sign_in": sign_in,
        "move_to": move_to,
        "poll_every": interval or POLL_INTERVAL,
        "poll_every_subscribed": interval or SUBSCRIBED_POLL_INTERVAL,
    }
    return MailboxSettings(name=section.name, **{**values, **derived})


def _build_server(section: Section, graph_endpoint: str) -> _Server:
    values = section.values
    preset = PRESETS[values["preset"]] if "preset" in values else None
    protocol = values.get("protocol", preset and preset.protocol)
    host = values.get("host", preset and preset.host)
    tls = values.get("tls", preset.tls if preset else Tls.IMPLICIT)
    port = values.get("port") or (DEFAULT_PORTS.get((protocol, tls)) if protocol else None)
    if preset and protocol is not preset.protocol:
        section.error("PROTOCOL", f"contradicts PRESET, which is for {preset.protocol}; remove one of the two")
    # An invalid preset might fill both in: its own error is enough.
    if not section.is_set("PRESET"):
        if protocol is None:
            section.missing("PROTOCOL", "use imap, pop3 or graph, or set PRESET")
        if host is None and protocol is not MailProtocol.GRAPH:
            section.missing("HOST", "give the mail server's name, or set PRESET")
    if "ca_file" in values and (detail := ca_file_error(values["ca_file"])):
        section.error("CA_FILE", detail)
    if protocol is MailProtocol.GRAPH:
        for name, fix in _NOT_WITH_GRAPH.items():
            if section.is_set(name):
                section.error(name, f"is not used with graph; {fix}")
        url = urlsplit(graph_endpoint)
        return _Server(protocol, url.hostname, url.port or DEFAULT_PORTS[protocol, Tls.IMPLICIT], Tls.IMPLICIT)
    if tls is Tls.NONE and host is not None and not is_loopback(host) and not values.get("allow_plaintext"):
        fix = "use implicit or starttls, or set ALLOW_PLAINTEXT=true"
        section.error("TLS", f"sends password and mail in the clear to a host that is not this machine; {fix}", "none")
    return _Server(protocol, host, port, tls)


def _check_folders(section: Section, protocol: MailProtocol | None, move_to: str | None) -> None:
    folders: tuple[str, ...] = section.values.get("folders", ("INBOX",))
    after = section.values.get("after")
    if protocol is MailProtocol.POP3:
        if after is After.MOVE:
            section.error("AFTER", "POP3 has no folders to move to; use delete or keep")
        if after is After.TRASH:
            section.error("AFTER", "trash needs a folder for deleted items, and POP3 has none; use delete or keep")
        if folders != ("INBOX",):
            section.error("FOLDERS", "POP3 has INBOX alone; remove the setting, or use imap")
    elif move_to is not None and _fold(move_to, protocol) in [_fold(folder, protocol) for folder in folders]:
        section.error(
            "AFTER", "is a folder that is polled, so that mail would arrive again; move it to another", move_to
        )
    elif after is After.TRASH and protocol is MailProtocol.GRAPH:
        for folder in folders:
            if _fold(folder, protocol) in DELETED_ITEMS:
                detail = f"trash moves mail to {folder}, which FOLDERS polls; use delete, or move:FOLDER"
                section.error("AFTER", detail)


def _fold(folder: str, protocol: MailProtocol | None) -> str:
    """Return a folder's path as its server compares it: Exchange ignores case, IMAP servers differ."""
    if protocol is not MailProtocol.GRAPH:
        return folder
    return "/".join(name.strip() for name in folder.split("/") if name.strip()).casefold()
