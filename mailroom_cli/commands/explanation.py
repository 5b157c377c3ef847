"""The answer of `mailroom explain`: what happened to a message, and what routing would decide now; also as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from mailroom_cli.terminal import escape_json_line
from shared.documents.writer import format_time
from shared.operations.search import ArrivalOutcome
from shared.routing.model import FailedCondition
from shared.routing.near_misses import NearMiss


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """The parsed headers of a message.

    Attributes:
        id: the message's id.
        from_: addresses in From, or names without an address.
        to: addresses in To.
        cc: addresses in Cc.
        subject: the decoded subject.
        sent: the time of `Date`, UTC.
        attachments: the number of attachments.
        automatic: the kind of automatic mail.
        evidence: the evidence for it.
        failed_recipients: the recipients that a report names as failed; None: it is not a report.
        invalid_addresses: the parts of address headers that are not addresses.
        repaired: the repairs that reading the message needed.
    """

    id: str
    from_: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    subject: str
    sent: datetime | None
    attachments: int
    automatic: str | None
    evidence: tuple[str, ...]
    failed_recipients: tuple[str, ...] | None
    invalid_addresses: tuple[str, ...]
    repaired: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DuplicateOf:
    """The message that another is a duplicate of.

    Attributes:
        message: its id; None if it was erased.
        arrival: the key of its arrival.
        by: the fingerprint that both share: `raw`, `content` or `message-id`; None if it is not recorded.
        result: the path of its result for the recipient.
        mailbox: the mailbox where it arrived.
        stored: when it was stored.
    """

    message: str | None
    arrival: str
    by: str | None
    result: str | None
    mailbox: str | None
    stored: datetime | None


@dataclass(frozen=True, slots=True)
class RecipientHistory:
    """What happened for one recipient.

    Attributes:
        recipient: the address; `*` for the whole message.
        outcome: `routed`, `duplicate`, `unhandled`, …
        route: the route of the result.
        result: the path of the result.
        exists: whether the result still exists.
        duplicate_of: the original of a duplicate.
        detail: further information, such as the reason of `unhandled`.
    """

    recipient: str
    outcome: str
    route: str | None = None
    result: str | None = None
    exists: bool | None = None
    duplicate_of: DuplicateOf | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ArrivalHistory:
    """What happened to an arrival until now.

    Attributes:
        arrival: the arrival's key.
        mailbox: the mailbox where it arrived.
        folder: its folder.
        outcome: its outcome.
        stored: when its receipt was created.
        routed: when it was last routed.
        recipients: the outcome for each recipient.
        records: the paths of its records.
        detail: why it has this outcome, as a sentence; None if there is nothing to add.
        last_error: why the latest attempt to route it failed.
    """

    arrival: str
    mailbox: str
    folder: str
    outcome: ArrivalOutcome
    stored: datetime
    routed: datetime | None
    recipients: tuple[RecipientHistory, ...]
    records: tuple[str, ...]
    detail: str | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class ExplainedMatch:
    """A recipient that a route takes now.

    Attributes:
        recipient: the address, or `*`.
        route: the route's name.
        matched: where the match is: `to`, `cc`, `wildcard`, `fallback`, or the delivery header's name.
        reference: the plus-address reference.
        instead_of: the primary address that an alias replaces.
        result: the path of the result that it has already, or would get; None for a duplicate.
        has_result: whether it has this result already, which a replay keeps.
        duplicate_of: the original; None: it is a duplicate of no other message.
        same_message_id: messages with the same Message-ID and another body.
    """

    recipient: str
    route: str
    matched: str
    reference: str | None
    instead_of: str | None
    result: str | None
    has_result: bool
    duplicate_of: DuplicateOf | None
    same_message_id: tuple[DuplicateOf, ...]


@dataclass(frozen=True, slots=True)
class ExplainedAttempt:
    """A recipient that no route takes, or a route that was considered for it and does not take it.

    Attributes:
        address: the recipient, or `*`.
        route: the route that was considered; None: there is no route for the address.
        reason: why, as a sentence.
        conditions: every condition of the route that does not hold.
        similar: similar addresses that have a route.
    """

    address: str
    route: str | None
    reason: str
    conditions: tuple[FailedCondition, ...]
    similar: tuple[NearMiss, ...]


@dataclass(frozen=True, slots=True)
class ExplainedRouting:
    """What routing would decide now for a message in one mailbox.

    Attributes:
        mailbox: the mailbox's name.
        folder: the folder in which the message is, or would arrive.
        outcome: the outcome; None: it is not routed until `errors` are corrected.
        errors: errors in the mailbox's settings or routes, or that the raw message is missing.
        detail: the reason why it is unhandled or blocked, as a sentence.
        envelope_recipients: envelope recipients, by address the header that names it.
        matches: recipients that a route takes.
        tried: routes that do not take it, in the order in which they were tried.
        unserved: recipients beyond MAX_RECIPIENTS.
    """

    mailbox: str
    folder: str
    outcome: Literal["routed", "duplicate", "unhandled", "blocked"] | None
    errors: tuple[str, ...] = ()
    detail: str | None = None
    envelope_recipients: tuple[tuple[str, str], ...] = ()
    matches: tuple[ExplainedMatch, ...] = ()
    tried: tuple[ExplainedAttempt, ...] = ()
    unserved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one message in one place: a stored arrival, or a file.

    Attributes:
        id: the displayed id: of the message, or of an arrival that was never downloaded.
        message: its headers; None if its bytes are not stored.
        happened: what happened to the arrival; None for a file.
        now: what would happen now, by mailbox; empty if its bytes are not stored.
    """

    id: str
    message: MessageSummary | None
    happened: ArrivalHistory | None
    now: tuple[ExplainedRouting, ...]


def to_json_line(explanation: Explanation) -> str:
    """Return an explanation as a line of JSON."""
    fields = asdict(explanation)
    if fields["message"] is not None:
        fields["message"] = {name.rstrip("_"): value for name, value in fields["message"].items()}
    for routing in fields["now"]:
        routing["envelope_recipients"] = [
            {"address": address, "header": header} for address, header in routing["envelope_recipients"]
        ]
    return escape_json_line(json.dumps(fields, ensure_ascii=False, default=format_time))
