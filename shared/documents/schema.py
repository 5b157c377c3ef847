"""The types of the documents that consumers read, from which the published schemas are generated.

The code that writes a document is type-checked against its type (docs/reference/results.md, rule 7.2). `message.json`
is in shared/documents/message_document.py. A change of the valid values requires a new number in `schema`
(docs/reference/results.md, "What is stable").
"""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import TypedDict

from shared.documents.message_document import Automatic, Digest, FieldDoc, From, MailAddress, Time
from shared.mime.reports import ReportKind
from shared.routing.fingerprints import FingerprintKind
from shared.routing.model import Unhandled

Outcome = Literal["routed", "unhandled", "duplicate", "blocked"]
"""The outcome of an arrival that could be routed."""

Version = FieldDoc("The version of this document's schema.")
MessageId = Annotated[Digest, FieldDoc("The message: SHA-256 of its raw bytes, in hex.")]


class ArrivalFields(TypedDict):
    """One message in one place on one server. The same message may arrive several times."""

    id: Annotated[Digest, FieldDoc("The arrival's key, in hex.")]
    mailbox: Annotated[str, FieldDoc("The mailbox's name in the settings.")]
    protocol: Annotated[Literal["imap", "pop3", "graph"], FieldDoc("The protocol of the mailbox.")]
    folder: Annotated[str, FieldDoc("The mailbox folder.")]
    server_key: Annotated[str, FieldDoc("The server's key: `UIDVALIDITY.UID`, a UIDL, an immutable id, or `sha256:…`.")]
    received: Annotated[Time | None, FieldDoc("When the server received it; null if that is unknown.")]
    stored: Annotated[Time, FieldDoc("When Mailroom first saw it. Its day is the day in all paths.")]


Truncated = Annotated[
    list[str], FieldDoc("Fields that are incomplete, such as `envelope.to`, to bound the document's size.")
]


class EnvelopeFields(From):
    """The header fields by which mail is routed."""

    to: Annotated[list[MailAddress], FieldDoc("The addresses of every To.")]
    cc: Annotated[list[MailAddress], FieldDoc("The addresses of every Cc.")]
    subject: Annotated[str, FieldDoc("Decoded; empty if there is none.")]
    sent: Annotated[Time | None, FieldDoc("When the message was sent, by its Date field, in UTC.")]
    message_id: Annotated[str | None, FieldDoc("Its Message-ID, without angle brackets.")]


class Paths(TypedDict):
    """The message's paths in the container. All of these blobs exist before this document does."""

    raw: Annotated[str, FieldDoc("The bytes exactly as downloaded.")]
    message: Annotated[str, FieldDoc("The parsed message: `message.json`.")]
    attachments: Annotated[
        list[str], FieldDoc("The attachments' decoded bytes, in order: those with a blob of their own.")
    ]
    archive: Annotated[str | None, FieldDoc("A ZIP file of the other attachments; null if there are no others.")]


class Original(TypedDict):
    """Another arrival that has a result for the same recipient."""

    arrival: Annotated[Digest, FieldDoc("Its key.")]
    message: MessageId
    result: Annotated[str, FieldDoc("The path of its result.")]


_SAME_MESSAGE_ID = (
    "The first 3 results for the same recipient of earlier messages that have the same Message-ID, date, sender, "
    "recipients, subject and attachments' names, and another body. Any of them, or this one, may be forged."
)
_MATCHED = (
    "What matched: `to`, `cc`, `wildcard`, `fallback`, or the delivery header that named the recipient, in lower case, "
    "such as `x-original-to`; `received-for` is the `for` of a Received field."
)
_REFERENCE = "The part of the address after `+`, as written, if the route is for the address without it."


class HintFields(TypedDict):
    """An envelope recipient that the receiving server wrote into a header."""

    address: Annotated[str, FieldDoc("Normalised.")]
    where: Annotated[str, FieldDoc("The field's name in lower case, such as `delivered-to`, or `received-for`.")]


class CommonFields(TypedDict):
    """The fields that all results of a message share."""

    in_reply_to: Annotated[list[str], FieldDoc("Message-IDs of In-Reply-To.")]
    references: Annotated[list[str], FieldDoc("Message-IDs of References; the last ones if not all fit.")]
    hints: Annotated[list[HintFields], FieldDoc("The envelope recipients, by the receiving server's headers.")]
    automatic: Annotated[Automatic | None, FieldDoc("The kind of automatic mail; null if it is not automatic.")]
    report: Annotated[
        ReportKind | None, FieldDoc("The kind of report, if it is a report; `message.json` has its content.")
    ]
    envelope: EnvelopeFields
    attachments: Annotated[int, FieldDoc("The number of attachments.")]
    paths: Paths
    truncated: Truncated


class ResultDocument(CommonFields):
    """The result of one recipient: `routed/<route>/…`. Its creation is the event to wait for."""

    schema: Annotated[Literal["mailroom/result/1"], Version]
    message: MessageId
    arrival: Annotated[ArrivalFields, FieldDoc("The arrival that it is the result of.")]
    route: Annotated[str, FieldDoc("The route's name.")]
    recipient: Annotated[
        str, FieldDoc("The recipient, normalised; `*` if a wildcard route matched and no recipient is named.")
    ]
    matched: Annotated[str, FieldDoc(_MATCHED)]
    reference: Annotated[str | None, FieldDoc(_REFERENCE)]
    conversation: Annotated[Digest, FieldDoc("The first message seen of the thread. A hint, not a proof.")]
    replaces: Annotated[str | None, FieldDoc("The path of the result that this one replaces after a replay.")]
    same_message_id: Annotated[list[Original], FieldDoc(_SAME_MESSAGE_ID)]


class Resolved(TypedDict):
    """The mark of a record whose arrival was routed again. The record describes the earlier outcome."""

    at: Annotated[Time, FieldDoc("When the arrival was routed again.")]
    outcome: Annotated[Outcome, FieldDoc("Its new outcome.")]
    results: Annotated[list[str], FieldDoc("The paths of its results.")]


class Record(TypedDict):
    """The fields of every record of a downloaded message."""

    message: MessageId
    arrival: ArrivalFields
    resolved: Annotated[
        Resolved | None, FieldDoc("Null while the record is unresolved; a replay that resolves it sets this.")
    ]


class RecordWithEnvelope(Record):
    """The fields of every record of a message that could be parsed."""

    envelope: EnvelopeFields
    truncated: Truncated


class Tried(TypedDict):
    """A route that did not match the message."""

    address: Annotated[str, FieldDoc("The recipient, or `*`.")]
    route: Annotated[str | None, FieldDoc("The route's name; null if no route is for the address.")]
    reason: Annotated[str, FieldDoc("The condition that does not hold, for people.")]


class UnhandledDocument(RecordWithEnvelope):
    """Why a message has no result, or not for all recipients: `unhandled/<mailbox>/…`."""

    schema: Annotated[Literal["mailroom/unhandled/1"], Version]
    reason: Annotated[Unhandled, FieldDoc("Why, for programs.")]
    detail: Annotated[str, FieldDoc("Why, for people.")]
    tried: Annotated[list[Tried], FieldDoc("The routes that were tried, and why they did not match.")]
    recipients: Annotated[
        list[str], FieldDoc("Recipients without a result, for `too-many-recipients`; the others have one.")
    ]
    invalid_addresses: Annotated[list[str], FieldDoc("Pieces of To and Cc that are not addresses.")]
    paths: Paths


class Duplicate(TypedDict):
    """A recipient that has a result of the same message already."""

    recipient: Annotated[str, FieldDoc("Normalised, or `*`.")]
    route: Annotated[str, FieldDoc("The route that matched.")]
    duplicate_of: Original
    by: Annotated[FingerprintKind, FieldDoc("What the two messages share.")]


class DuplicatesDocument(RecordWithEnvelope):
    """The recipients that had a message already: `duplicates/<mailbox>/…`. Others may have a result."""

    schema: Annotated[Literal["mailroom/duplicates/1"], Version]
    duplicates: Annotated[list[Duplicate], FieldDoc("The recipients, each with the original.")]


class BlockedDocument(RecordWithEnvelope):
    """A message whose sender is blocked: `blocked/<mailbox>/…`."""

    schema: Annotated[Literal["mailroom/blocked/1"], Version]
    blocked_by: Annotated[str, FieldDoc("The entry of BLOCKED_SENDERS that the sender matches.")]


class FailedDocument(Record):
    """A message that could not be routed in five attempts: `failed/<mailbox>/…`. Its raw bytes are stored."""

    schema: Annotated[Literal["mailroom/failed/1"], Version]
    error: Annotated[str, FieldDoc("Why the last attempt failed, for people.")]


class SkippedDocument(TypedDict):
    """The fields of the record of a message that was never downloaded."""

    detail: Annotated[str, FieldDoc("Why, and how to fix it, for people.")]
    arrival: ArrivalFields
    size: Annotated[int, FieldDoc("Size in bytes, as far as the server reports it.")]


class OversizedDocument(SkippedDocument):
    """A message that is too large: `oversized/<mailbox>/…`. It stays in its mailbox until the limit is raised."""

    schema: Annotated[Literal["mailroom/oversized/1"], Version]


_From = TypedDict("_From", {"from": Annotated[str | None, FieldDoc("The author's address.")]})


class ReportedFields(_From):
    """What a server reports about a message that it does not deliver. Not verified."""

    subject: Annotated[str | None, FieldDoc("Decoded.")]
    to: Annotated[list[str], FieldDoc("Addresses.")]
    message_id: Annotated[str | None, FieldDoc("As the server has it, with angle brackets.")]
    received: Annotated[str | None, FieldDoc("When the server received it, as the server writes it.")]


class UnreadableDocument(SkippedDocument):
    """A message that the server does not deliver: `unreadable/<mailbox>/…`. It stays in its mailbox."""

    schema: Annotated[Literal["mailroom/unreadable/1"], Version]
    message: Annotated[ReportedFields, FieldDoc("What the server reports about it.")]
