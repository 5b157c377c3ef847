"""`mailroom explain`: show how a message would be routed, and why; store nothing."""

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
    """Parse a message, and describe its routing in each mailbox if it arrived there now.

    Args:
        app: supplies the routes, and the storage whose claims are read.
        file: the raw message.
        only: name of one mailbox; None means every mailbox with valid settings.
        folder: folder in which the message would arrive.

    Yields:
        Lines for a person.

    Raises:
        ConfigurationError: the file cannot be read, or the settings have no such mailbox.
        TransientError: the storage failed.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    if only is not None and only not in app.settings.mailboxes:
        raise ConfigurationError(
            f"the settings have no valid mailbox {only}; valid are: {', '.join(app.settings.mailboxes) or 'none'}"
        )
    message, message_id = parse(data), hashlib.sha256(data).hexdigest()
    yield from _describe_message(message, message_id)
    kinds = [fingerprint.kind for fingerprint in fingerprints(message_id, visible_content(message))]
    yield f"duplicates are found by: {', '.join(kinds)}"
    for name, mailbox in app.settings.mailboxes.items():
        if only not in (None, name):
            continue
        yield ""
        yield f"in mailbox {name}, {folder}:"
        table = app.route_tables.for_mailbox(name)
        if table is None:
            errors = app.route_repository.read().errors_for(name)
            yield from (f"  not routed until this error is corrected: {error}" for error in errors)
            continue
        hints = dict.fromkeys(envelope_hints(message, table.trust_policy))
        if hints:
            yield "  envelope recipients: " + ", ".join(f"{hint.address} ({hint.where})" for hint in hints)
        receipt = _receipt(name, mailbox.protocol.value, folder, message_id, len(data))
        decision = decide(to_routing_input(message, folder, table.trust_policy), table)
        message_fingerprints = fingerprints(message_id, visible_content(message, table.trust_policy))
        claims = Claims(app.storage.records, receipt, app.storage.blobs)
        yield from _describe_decision(decision, receipt, message_fingerprints, claims)


def _describe_message(message: Message, message_id: str) -> Iterator[str]:
    yield f"message {message_id}"
    for label, addresses in (("from", message.from_), ("to", message.to), ("cc", message.cc)):
        yield f"  {label}: {', '.join(address.address or address.name for address in addresses) or 'none'}"
    if message.invalid_addresses:
        yield f"  invalid addresses: {'; '.join(message.invalid_addresses)}"
    yield f"  subject: {message.subject}"
    yield f"  sent: {message.sent or 'unknown'}; {len(message.attachments)} attachments"
    if message.automatic is not None:
        yield f"  automatic: {message.automatic} ({'; '.join(message.automatic_evidence)})"
    if message.report is not None:
        failed = ", ".join(address.address or "?" for address in message.report.failed)
        yield f"  reports failed recipients: {failed or 'none'}"
    for defect in message.defects:
        yield f"  repaired: {defect}"


def _describe_decision(
    decision: Decision, receipt: Receipt, message_fingerprints: tuple[Fingerprint, ...], claims: Claims
) -> Iterator[str]:
    for tried in decision.tried:
        yield f"  {tried.address}: {f'route {tried.route}: ' if tried.route else ''}{tried.reason}"
    if decision.blocked_by is not None:
        yield f"  blocked: BLOCKED_SENDERS contains {decision.blocked_by}"
    if decision.unhandled is not None:
        yield f"  unhandled, {decision.unhandled.value}: {decision.unhandled.detail}"
    for match in decision.matches:
        reference = f", reference {match.reference}" if match.reference else ""
        alias = f", in place of the primary address {match.instead_of}" if match.instead_of else ""
        yield f"  {match.recipient}: route {match.route} takes it by {match.matched}{alias}{reference}"
        original = claims.find_duplicate(message_fingerprints, match.recipient)
        if original is None:
            path = result_path(match.route, receipt.stored_at, receipt.message, match.recipient)
            yield f"    stored as {path}"
            for claim in claims.different(message_fingerprints, match.recipient):
                yield f"    message {claim.message} has the same Message-ID and another body: {claim.result}"
        else:
            yield f"    a duplicate by {original.kind} of message {original.message}: {original.result}"
    if decision.unserved:
        yield (
            f"  {len(decision.unserved)} recipients beyond MAX_RECIPIENTS get no result, such as {decision.unserved[0]}"
        )


def _receipt(mailbox: str, protocol: str, folder: str, message: str, size: int) -> Receipt:
    """Return the receipt of a message that arrived now."""
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
