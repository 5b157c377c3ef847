"""The types of routing: routes, the properties of a message that routes match, and decisions. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from shared.addresses import parse_pattern, parse_route_address
from shared.setting_values import Boolean, LowerCase, Texts, from_text, list_of, parse_folder, parse_integer

ANY_RECIPIENT = "*"
"""The recipient of a wildcard route's result: the message does not name a recipient that a route takes."""

Matched = str
"""Where a route's match was (rule 2.3): `to`, `cc`, `wildcard`, `fallback`, or the name of the delivery header
that named the recipient (`received-for`: the `for` of a `Received`)."""


@dataclass(frozen=True, slots=True)
class EnvelopeHint:
    """An envelope recipient that a receiving server wrote into a delivery header (rule 2.2).

    Attributes:
        address: normalised.
        where: the header's name in lower case, such as `delivered-to`, or `received-for`.
        tag: the part of the address after `+` as written, where its case differs; else None.
        hop: the number, from the top, of the `Received` line that is next below the header, or that has the `for`.
    """

    address: str
    where: str
    tag: str | None = field(default=None, compare=False)
    hop: int = field(default=1, compare=False)


ORDER_LIMIT = 1_000_000
"""The largest and, negated, the smallest ORDER of a route."""

Patterns = Annotated[tuple[str, ...], from_text(list_of(parse_pattern))]
"""Normalised addresses or `*@domain`."""


def _parse_folders(text: str) -> tuple[str, ...]:
    folders = list_of(parse_folder)(text)
    return () if "*" in folders else folders


def _parse_extension(text: str) -> str:
    return text.lower().lstrip("*.")


@pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid", hide_input_in_errors=True))
class Route:
    """A route (rules 3.1, 3.2). Each field with a description is a setting, `ROUTES__<name>__<FIELD>`.

    Attributes:
        name: the route's name in lower case, and the folder under `routed/`.
    """

    name: str
    mailbox: LowerCase = Field(default=None, description="The mailbox whose mail it routes. Default: every mailbox.")
    address: Annotated[str | None, from_text(parse_route_address)] = Field(
        default=None,
        description="The recipient it takes: an address, *@domain, or * (a wildcard route, for mail by Bcc).",
    )
    order: Annotated[int, from_text(parse_integer(-ORDER_LIMIT, ORDER_LIMIT))] = Field(
        default=100, description="The route with the smaller number is tried first; equal ones by name."
    )
    senders: Patterns = Field(
        default=(),
        description="Addresses or *@domain, separated by ;, that every address in a well-formed From must match.",
    )
    recipients: Patterns = Field(
        default=(), description="Addresses or *@domain, separated by ;, of which one must be in To or Cc."
    )
    subject_words: Texts = Field(default=(), description="Words, separated by ;, of which one must be in the subject.")
    attachment_types: Annotated[tuple[str, ...], from_text(list_of(_parse_extension))] = Field(
        default=(), description="File extensions, separated by ;, of which one attachment must have one."
    )
    important: Boolean = Field(default=False, description="Take only mail that is marked important.")
    folders: Annotated[tuple[str, ...], from_text(_parse_folders)] = Field(
        default=(), description="The folders whose mail it takes, separated by ;. Empty or *: any."
    )
    enabled: Boolean = Field(default=True, description="false: it takes nothing.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingInput:
    """The properties of a message that routes match. All addresses are normalised.

    Attributes:
        to: addresses in To.
        cc: addresses in Cc.
        invalid: texts in To and Cc that are not an address.
        senders: addresses in From.
        senders_well_formed: From has only one interpretation; if not, it matches no SENDERS.
        subject: decoded.
        extensions: of the attachments' names, lower case, without the dot.
        important: the importance headers mark it as important (rule 3.2).
        folder: the folder it arrived in.
        hints: the envelope recipients.
        tags: by address in To and Cc, the part after `+` as written, where its case differs.
        loops: the reason why it is a mail loop, as a sentence; None if it is not (rule 5.3).
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
    loops: str | None = None
    senders_well_formed: bool = True


@dataclass(frozen=True, slots=True)
class Match:
    """One recipient and the route that takes it.

    Attributes:
        recipient: a normalised address from the header, or `*`.
        route: the route's name.
        matched: where the match was.
        reference: the part after `+`, as written, where the route names the address without it (rule 2.4).
        instead_of: the primary address, where an alias that a delivery header names is matched in its place.
        plus_address: the normalised address that has the reference, where the recipient is `*`.
    """

    recipient: str
    route: str
    matched: Matched
    reference: str | None = None
    instead_of: str | None = None
    plus_address: str | None = None


class Unhandled(StrEnum):
    """Why no route took a message (rule 3.6)."""

    NO_RECIPIENT = "no-recipient"
    INVALID_RECIPIENTS = "invalid-recipients"
    NO_ROUTE = "no-route"
    CONDITIONS = "conditions"
    LOOP = "loop"
    TOO_MANY_RECIPIENTS = "too-many-recipients"
    """Only the recipients that the record lists have no result; the others have one."""

    @property
    def detail(self) -> str:
        """The reason as a sentence."""
        return _DETAILS[self]


_DETAILS = {
    Unhandled.NO_RECIPIENT: "To and Cc name no recipient, and no wildcard route takes the sender's mail.",
    Unhandled.INVALID_RECIPIENTS: "No address in To or Cc can be read, and no wildcard route takes the sender's mail.",
    Unhandled.NO_ROUTE: "No route matches any recipient of the message.",
    Unhandled.LOOP: "The message is in a mail loop.",
    Unhandled.TOO_MANY_RECIPIENTS: "More recipients match a route than MAX_RECIPIENTS allows for one message.",
    Unhandled.CONDITIONS: "There are routes for the message, but a condition of each does not hold.",
}


@dataclass(frozen=True, slots=True)
class TriedRoute:
    """A route that was tried for an address and did not match.

    Attributes:
        address: the recipient, or `*`.
        route: the route's name, or None where no route is for the address.
        reason: the condition that does not hold, as a sentence.
    """

    address: str
    route: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class FailedCondition:
    """A condition of a route that does not hold for a message.

    Attributes:
        setting: the condition's name in the route's settings, such as `SENDERS`.
        wanted: the first values in the setting.
        actual: the first values of the message.
    """

    setting: str
    wanted: tuple[str, ...]
    actual: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The recipients that get a message.

    Attributes:
        matches: in the order of their recipients; each recipient once.
        unhandled: the reason why no route matches; None if one does, or the sender is blocked.
        blocked_by: the entry of BLOCKED_SENDERS that the sender matches.
        tried: the routes that did not match, for the record.
        unserved: recipients beyond the limit of RouteTable, in the order of the message: a route matches them, but
            they get no result.
    """

    matches: tuple[Match, ...] = ()
    unhandled: Unhandled | None = None
    blocked_by: str | None = None
    tried: tuple[TriedRoute, ...] = ()
    unserved: tuple[str, ...] = ()
