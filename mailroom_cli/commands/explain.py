"""`mailroom explain`: what would become of a message, and why; nothing is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from shared.bootstrap import App
from shared.clock import utc_now
from shared.dispatch.deduplication import Claims
from shared.dispatch.routing_input import envelope_hints, to_routing_input, visible_content
from shared.documents.blob_paths import result_path
from shared.errors import ConfigurationError
from shared.mime.parser import Message, parse
from shared.receipts import Receipt
from shared.routing.decision import decide
from shared.routing.fingerprints import Fingerprint, fingerprints
from shared.routing.model import Decision


def explain(app: App, file: Path, only: str | None = None, folder: str = "INBOX") -> Iterator[str]:
    """Read a message, and say what each mailbox would do with it if it arrived there now.

    Args:
        app: with the routes, and the storage whose claims are looked at.
        file: the raw message.
        only: one mailbox's name; None: every usable one.
        folder: where it would be collected.

    Yields:
        Lines for a person.

    Raises:
        ConfigurationError: the file cannot be read, or there is no such mailbox.
        TransientError: the storage is ill.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    if only is not None and only not in app.settings.mailboxes:
        raise ConfigurationError(f"there is no usable mailbox {only}; there are: {', '.join(app.settings.mailboxes)}")
    message, identity = parse(data), hashlib.sha256(data).hexdigest()
    yield from _read(message, identity)
    kinds = [one.kind for one in fingerprints(identity, visible_content(message))]
    yield f"the same as others by: {', '.join(kinds)}"
    for name, mailbox in app.settings.mailboxes.items():
        if only not in (None, name):
            continue
        yield ""
        yield f"in mailbox {name}, {folder}:"
        table = app.tables.for_mailbox(name)
        if table is None:
            yield from (
                f"  not routed until this is right: {fault}" for fault in app.route_repository.read().keeps(name)
            )
            continue
        hints = dict.fromkeys(envelope_hints(message, table.trust_policy))
        if hints:
            yield "  the receiving server says it is for: " + ", ".join(f"{h.address} ({h.where})" for h in hints)
        receipt = _receipt(name, mailbox.protocol.value, folder, identity, len(data))
        decision = decide(to_routing_input(message, folder, table.trust_policy), table)
        prints = fingerprints(identity, visible_content(message, table.trust_policy))
        yield from _decided(decision, receipt, prints, Claims(app.storage.records, receipt, app.storage.blobs))


def _read(message: Message, identity: str) -> Iterator[str]:
    yield f"message {identity}"
    for what, addresses in (("from", message.from_), ("to", message.to), ("cc", message.cc)):
        yield f"  {what}: {', '.join(one.address or one.name for one in addresses) or 'nobody'}"
    if message.invalid_addresses:
        yield f"  no addresses: {'; '.join(message.invalid_addresses)}"
    yield f"  subject: {message.subject}"
    yield f"  sent: {message.sent or 'not told'}; {len(message.attachments)} attachments"
    if message.automatic is not None:
        yield f"  automatic: {message.automatic} ({'; '.join(message.automatic_evidence)})"
    if message.report is not None:
        yield f"  reports on: {', '.join(one.address or '?' for one in message.report.failed) or 'no failure'}"
    for defect in message.defects:
        yield f"  repaired: {defect}"


def _decided(decision: Decision, receipt: Receipt, prints: tuple[Fingerprint, ...], claims: Claims) -> Iterator[str]:
    for tried in decision.tried:
        yield f"  {tried.address}: {f'route {tried.route}: ' if tried.route else ''}{tried.reason}"
    if decision.blocked_by is not None:
        yield f"  blocked: BLOCKED_SENDERS has {decision.blocked_by}"
    if decision.unhandled is not None:
        yield f"  unhandled, {decision.unhandled.value}: {decision.unhandled.detail}"
    for match in decision.matches:
        reference = f", reference {match.reference}" if match.reference else ""
        place = f", in place of the primary address {match.instead_of}" if match.instead_of else ""
        yield f"  {match.recipient}: route {match.route} takes it by {match.matched}{place}{reference}"
        owner = claims.find_duplicate(prints, match.recipient)
        if owner is None:
            yield f"    stored as {result_path(match.route, receipt.stored_at, receipt.message, match.recipient)}"
            for one in claims.different(prints, match.recipient):
                yield f"    another body than message {one.message} with the same Message-ID: {one.result}"
        else:
            yield f"    a duplicate by {owner.kind} of message {owner.message}: {owner.result}"
    if decision.unserved:
        yield f"  {len(decision.unserved)} recipients beyond MAX_RECIPIENTS get no result: {decision.unserved[0]} …"


def _receipt(mailbox: str, protocol: str, folder: str, message: str, size: int) -> Receipt:
    """As one that arrived now would have it."""
    return Receipt(
        arrival="",
        mailbox=mailbox,
        protocol=protocol,
        folder=folder,
        server_key="",
        message=message,
        size=size,
        reported_size=size,
        received=None,
        stored_at=utc_now(),
    )
