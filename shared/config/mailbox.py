"""From what is written of one mailbox to a mailbox that can be used, or to everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.addresses import normalise
from shared.config.certificates import ca_file_error
from shared.config.model import (
    GLOBAL_GRAPH,
    PACE,
    SUBSCRIBED_PACE,
    After,
    DeliveryField,
    MailboxSettings,
    MailProtocol,
    Tls,
)
from shared.config.parsers import ANYWHERE, is_loopback
from shared.config.presets import DEFAULT_PORTS, PRESETS
from shared.config.schema import WrittenMailbox
from shared.config.section import Section
from shared.config.sign_in import sign_in_from_section

DELETED_ITEMS = frozenset({"deleteditems", "deleted items"})
"""What FOLDERS may call Graph's well-known folder `deleteditems`, in lower case (Graph: mailFolder resource type)."""

_NOT_WITH_GRAPH = {
    "HOST": "set GRAPH_ENDPOINT for another cloud, or remove it",
    "PORT": "put it into GRAPH_ENDPOINT, or remove it",
    "TLS": "Graph is HTTPS alone, remove it",
    "ALLOW_PLAINTEXT": "Graph is HTTPS alone, remove it",
}


@dataclass(frozen=True, slots=True)
class _Server:
    protocol: MailProtocol | None
    host: str | None
    port: int | None
    tls: Tls


def mailbox_from_section(
    part: Section[WrittenMailbox], graph_endpoint: str = GLOBAL_GRAPH, *, certificates: bool = True
) -> MailboxSettings | None:
    """Check one mailbox.

    Args:
        part: what is written of it.
        graph_endpoint: where Microsoft Graph is.
        certificates: whether they are opened.

    Returns:
        The mailbox, or None if something that it cannot be without is missing. It is usable only if the part's report
        has no fault of it.
    """
    written = part.written
    server = _server_of(part, graph_endpoint)
    _check_collecting(part, server.protocol)
    sign_in = sign_in_from_section(part, graph=server.protocol is MailProtocol.GRAPH, certificates=certificates)
    if written.address is None:
        part.missing("ADDRESS", "give the mailbox's primary address")
    if server.protocol is None or server.host is None or server.port is None:
        return None
    if sign_in is None or written.address is None:
        return None
    shared = written.shared_mailbox
    return MailboxSettings(
        name=part.name,
        enabled=written.enabled,
        protocol=server.protocol,
        address=written.address,
        host=server.host,
        port=server.port,
        tls=server.tls,
        ca_file=written.ca_file,
        allow_plaintext=written.allow_plaintext,
        sign_in=sign_in,
        username=written.username,
        password=written.password,
        tenant_id=written.tenant_id,
        client_id=written.client_id,
        client_secret=written.client_secret,
        certificate=written.certificate,
        certificate_file=written.certificate_file,
        certificate_password=written.certificate_password,
        shared_mailbox=(shared and normalise(shared)) or shared,
        shared_login=written.shared_login,
        folders=written.folders,
        after=written.after.after,
        move_to=written.after.move_to,
        since=written.since,
        poll_every=written.poll_every or PACE,
        poll_every_subscribed=written.poll_every or SUBSCRIBED_PACE,
        max_message_bytes=written.max_message_bytes,
        disable_after=written.disable_after,
        aliases=written.aliases,
        delivery_hints=written.delivery_hints,
        delivery_fields=tuple(
            DeliveryField(name.removesuffix(ANYWHERE), name.endswith(ANYWHERE)) for name in written.delivery_fields
        ),
        trusted_hops=written.trusted_hops,
        received_by=written.received_by,
        plus_addressing=written.plus_addressing,
        fallback=written.fallback,
        blocked_senders=written.blocked_senders,
    )


def _server_of(part: Section[WrittenMailbox], graph_endpoint: str) -> _Server:
    written = part.written
    preset = PRESETS[written.preset] if written.preset is not None else None
    protocol = written.protocol or (preset.protocol if preset else None)
    host = written.host or (preset.host if preset else None)
    tls = written.tls or (preset.tls if preset else Tls.IMPLICIT)
    port = written.port or (DEFAULT_PORTS.get((protocol, tls)) if protocol is not None else None)
    if preset and protocol is not preset.protocol:
        part.fault("PROTOCOL", f"contradicts PRESET, which is for {preset.protocol}; remove one of the two")
    # A preset that is wrong might have filled both in: its own fault is enough.
    if not part.given("PRESET"):
        if protocol is None:
            part.missing("PROTOCOL", "use imap, pop3 or graph, or set PRESET")
        if host is None and protocol is not MailProtocol.GRAPH:
            part.missing("HOST", "give the mail server's name, or set PRESET")
    if written.ca_file is not None and (trouble := ca_file_error(written.ca_file)):
        part.fault("CA_FILE", trouble)
    if protocol is MailProtocol.GRAPH:
        for name, remedy in _NOT_WITH_GRAPH.items():
            if part.given(name):
                part.fault(name, f"is not used with graph; {remedy}")
        where = urlsplit(graph_endpoint)
        return _Server(protocol, where.hostname, where.port or DEFAULT_PORTS[protocol, Tls.IMPLICIT], Tls.IMPLICIT)
    if tls is Tls.NONE and host is not None and not is_loopback(host) and not written.allow_plaintext:
        remedy = "use implicit or starttls, or set ALLOW_PLAINTEXT=true"
        part.fault("TLS", f"sends password and mail in the clear to a host that is not this machine; {remedy}", "none")
    return _Server(protocol, host, port, tls)


def _check_collecting(part: Section[WrittenMailbox], protocol: MailProtocol | None) -> None:
    written = part.written
    after, target = written.after
    if protocol is MailProtocol.POP3:
        if after is After.MOVE:
            part.fault("AFTER", "POP3 has no folders to move to; use delete or keep", None)
        if after is After.TRASH:
            part.fault("AFTER", "trash needs a folder for deleted items, and POP3 has none; use delete or keep", None)
        if written.folders != ("INBOX",):
            part.fault("FOLDERS", "POP3 has INBOX alone; remove the setting, or use imap")
    elif target is not None and _compared(target, protocol) in [_compared(one, protocol) for one in written.folders]:
        part.fault("AFTER", "is a folder that is collected, so that mail would come again; move it to another", target)
    elif after is After.TRASH and protocol is MailProtocol.GRAPH:
        for folder in written.folders:
            if _compared(folder, protocol) in DELETED_ITEMS:
                part.fault("AFTER", f"trash moves mail to {folder}, which FOLDERS collects; use delete, or move:FOLDER")


def _compared(folder: str, protocol: MailProtocol | None) -> str:
    """A folder's path as its server compares it: Exchange does so without case, IMAP's servers differ."""
    if protocol is not MailProtocol.GRAPH:
        return folder
    return "/".join(name.strip() for name in folder.split("/") if name.strip()).casefold()
