"""The data of routing: routes, the input that they are matched with, and the decision. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

ANY_RECIPIENT = "*"
"""The recipient of a result from a wildcard route: the message does not name the recipient."""

Matched = str
"""The property that a route matched (rule 2.3): `to`, `cc`, `wildcard`, `fallback`, or the name of the delivery header
with the recipient (`received-for`: the `for` of a `Received`)."""


@dataclass(frozen=True, slots=True)
class EnvelopeHint:
    """An envelope recipient that a receiving server wrote into a delivery header (rule 2.2).

    Attributes:
        address: the normalised address.
        where: the header's name in lower case, such as `delivered-to`, or `received-for`.
        tag: the part of the address after `+` as written, if its case differs; else None.
        hop: the number, from the top, of the next `Received` line below the header, or of the line with the `for`.
    """

    address: str
    where: str
    tag: str | None = field(default=None, compare=False)
    hop: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One rule (rules 3.1, 3.2).

    Attributes:
        name: its name, and the folder under `routed/`.
        address: a normalised address, `*@domain`, `*` (a wildcard route), or None (only a fallback).
        order: the smaller comes first; equal ones by name.
        senders: addresses or `*@domain`, which must match every address in From; empty: any.
        recipients: the same over To and Cc.
        subject_words: one of which must be in the subject, whole, whatever the case; empty: any.
        attachment_types: extensions, one of which an attachment must have; empty: any.
        important: take only what is marked important.
        folders: the folders whose mail is taken; empty or `*`: any.
    """

    name: str
    address: str | None
    order: int = 100
    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    subject_words: tuple[str, ...] = ()
    attachment_types: tuple[str, ...] = ()
    important: bool = False
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingInput:
    """The properties of a message that routing uses. All addresses are normalised.

    Attributes:
        to: addresses in To.
        cc: addresses in Cc.
        invalid: pieces of To and Cc that are not addresses.
        senders: addresses in From.
        senders_well_formed: whether From is unambiguous. An ambiguous From never satisfies SENDERS.
        subject: the decoded subject.
        extensions: extensions of the attachments' names in lower case, without the dot.
        important: whether the importance headers mark the message as important (rule 3.2).
        folder: the folder that the message was downloaded from.
        hints: envelope recipients that the receiving servers recorded.
        tags: by address in To and Cc, the part after `+` as written, if its case differs.
        loop: the reason why the message is part of a mail loop (rule 5.3), or None.
    """

    to: tuple[str, ...]
    cc: tuple[str, ...]
    invalid: tuple[str, ...]
    senders: tuple[str, ...]
    subject: str
    extensions: frozenset[str]
    important: bool
    folder: str
    hints: tuple[EnvelopeHint, ...] = ()
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    loop: str | None = None
    senders_well_formed: bool = True


@dataclass(frozen=True, slots=True)
class Match:
    """A recipient and the route that takes the message for it.

    Attributes:
        recipient: a normalised address as in the header, or `*`.
        route: the route's name.
        matched: the property that matched.
        reference: the part after `+` as written, if the route names the address without it (rule 2.4).
        instead_of: the primary address, if an alias from a delivery header replaces it.
        plus_address: the normalised address with the reference, if the recipient is `*`.
    """

    recipient: str
    route: str
    matched: Matched
    reference: str | None = None
    instead_of: str | None = None
    plus_address: str | None = None


class Unhandled(StrEnum):
    """The reason why no route took a message (rule 3.6)."""

    NO_RECIPIENT = "no-recipient"
    INVALID_RECIPIENTS = "invalid-recipients"
    NO_ROUTE = "no-route"
    CONDITIONS = "conditions"
    LOOP = "loop"
    TOO_MANY_RECIPIENTS = "too-many-recipients"
    """Other recipients have a result. Only the recipients that the record lists have none."""

    @property
    def detail(self) -> str:
        """Return the reason as a sentence."""
        return _DETAILS[self]


_DETAILS = {
    Unhandled.NO_RECIPIENT: "To and Cc contain no address, and no wildcard route takes the sender's mail.",
    Unhandled.INVALID_RECIPIENTS: "No address in To or Cc can be read, and no wildcard route takes the sender's mail.",
    Unhandled.NO_ROUTE: "None of the message's recipients matches a route.",
    Unhandled.LOOP: "The message is part of a mail loop.",
    Unhandled.TOO_MANY_RECIPIENTS: "More recipients match a route than MAX_RECIPIENTS allows for one message.",
    Unhandled.CONDITIONS: "Routes match the message's recipients, but each has a condition that does not hold.",
}


@dataclass(frozen=True, slots=True)
class TriedRoute:
    """A route that was tried for an address and did not take the message.

    Attributes:
        address: the recipient, or `*`.
        route: the route's name, or None if no route has the address.
        reason: the condition that does not hold, as text.
    """

    address: str
    route: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The recipients and routes of a message.

    Attributes:
        matches: one match for each recipient, in the order of their recipients.
        unhandled: the reason why no route matches; None if a route matches or the sender is blocked.
        blocked_by: the entry of BLOCKED_SENDERS that the sender matches.
        tried: the routes that did not take the message, for the record.
        unserved: recipients beyond the limit of RouteTable, in the order of the message. They match a route, and get no
            result.
    """

    matches: tuple[Match, ...] = ()
    unhandled: Unhandled | None = None
    blocked_by: str | None = None
    tried: tuple[TriedRoute, ...] = ()
    unserved: tuple[str, ...] = ()
