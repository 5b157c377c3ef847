"""What routing, claims and conversations ask of a message, taken from what was read of it."""

from __future__ import annotations

from collections.abc import Iterable

from shared.addresses import normalise, tag_as_written
from shared.dispatch.conversations import ThreadReferences
from shared.mime.authentication import dmarc_domain
from shared.mime.delivery_headers import delivery_hints
from shared.mime.parser import Address, Author, Message
from shared.routing.fingerprints import VisibleContent
from shared.routing.model import Decision, EnvelopeHint, RoutingInput
from shared.routing.route_table import TrustPolicy


def to_routing_input(message: Message, folder: str, reading: TrustPolicy) -> RoutingInput:
    """What the rules may ask of a message.

    Args:
        message: as read.
        folder: where it was collected.
        reading: what of it is believed.
    """
    return RoutingInput(
        to=_normalised(message.to),
        cc=_normalised(message.cc),
        invalid=message.invalid_recipients,
        senders=_normalised(message.from_),
        senders_well_formed=_are_well_formed(message),
        subject=message.subject,
        extensions=frozenset(
            name.rpartition(".")[2].lower() for name in (one.name for one in message.attachments) if "." in name
        ),
        important=message.important,
        folder=folder,
        hints=envelope_hints(message, reading),
        tags=_tags((*message.to, *message.cc)),
        loop=_loops(message, reading),
    )


def envelope_hints(message: Message, reading: TrustPolicy) -> tuple[EnvelopeHint, ...]:
    """Whom the receiving server says that a message is for (rule 2.2)."""
    if not reading.hints:
        return ()
    found = delivery_hints(message.trace, hops=reading.hops, received_by=reading.received_by, fields=reading.fields)
    return tuple(EnvelopeHint(one.address, one.where, one.tag, one.hop) for one in found)


def _loops(message: Message, reading: TrustPolicy) -> str | None:
    """Why a message goes in circles, in words; None if it does not (rule 5.3)."""
    if message.received > reading.loop_limit:
        return f"{message.received} Received lines are more than LOOP_LIMIT ({reading.loop_limit})"
    if message.automatic is None:
        return None
    ours = next((one for one in _normalised((*message.from_, *message.sender)) if one in reading.own_addresses), None)
    return None if ours is None else f"it is automatic mail ({message.automatic}) from our own mailbox {ours}"


def visible_content(message: Message, reading: TrustPolicy | None = None) -> VisibleContent:
    """What a reader sees of a message: what two copies of it share.

    Args:
        message: as read.
        reading: what of it is believed; None: nothing, so that no sender is authenticated.
    """
    return VisibleContent(
        senders=_normalised(message.from_),
        to=_normalised(message.to),
        cc=_normalised(message.cc),
        subject=message.subject,
        sent=message.sent,
        message_id=message.message_id,
        bodies=(message.text, message.html or ""),
        attachments=[(one.name, one.sha256) for one in message.attachments],
        whole=message.whole,
        authenticated=_authenticated(message, reading) if reading is not None else "",
    )


def _authenticated(message: Message, reading: TrustPolicy) -> str:
    """The domain of the sender, if there is one sender and a server of ours recorded a DMARC pass for the domain."""
    if not reading.hints or len(message.from_) != 1 or not _are_well_formed(message):
        return ""
    domain = dmarc_domain(message.trace, hops=reading.hops, received_by=reading.received_by)
    senders = _normalised(message.from_)
    return domain if domain is not None and senders and senders[0].rpartition("@")[2] == domain else ""


def thread_references(message: Message, decision: Decision, *, by_tag_alone: bool) -> ThreadReferences:
    """What a message says of the thread that it belongs to.

    Args:
        message: as read.
        decision: whose recipients may carry a plus-address reference.
        by_tag_alone: only these references count.
    """
    return ThreadReferences(
        message_id=message.message_id,
        in_reply_to=message.in_reply_to,
        references=message.references,
        tagged=[match.plus_address or match.recipient for match in decision.matches if match.reference is not None],
        by_tag_alone=by_tag_alone,
    )


def _are_well_formed(message: Message) -> bool:
    """Return whether From can be read in one way only: a server that checks DMARC read the same authors."""
    return not message.invalid_senders and not any(author.repaired for author in message.from_)


def _normalised(addresses: Iterable[Address | Author]) -> tuple[str, ...]:
    found = (normalise(one.address) for one in addresses if one.address is not None)
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _tags(addresses: Iterable[Address]) -> dict[str, str]:
    """Return the plus tags as written, by normalised address, where their case differs; the first spelling counts."""
    tags: dict[str, str | None] = {}
    for one in addresses:
        if "+" in one.address and (normal := normalise(one.address)) and normal not in tags:
            tags[normal] = tag_as_written(one.address, normal)
    return {normal: tag for normal, tag in tags.items() if tag is not None}
