"""The documents that consumers read, as types: what writes them is checked against these, and the published schemas are
made of them (docs/reference/results.md, rule 7.2). `message.json` is in shared/documents/message_document.py.

A change of what is valid here is a new number in `schema`: docs/reference/results.md promises it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import TypedDict

from shared.documents.message_document import Automatic, Digest, FieldDoc, From, MailAddress, Time
from shared.mime.reports import ReportKind
from shared.routing.fingerprints import FingerprintKind
from shared.routing.model import Unhandled

Outcome = Literal["routed", "unhandled", "duplicate", "blocked"]
"""What becomes of an arrival that can be routed."""

Version = FieldDoc("The version of this document's schema.")
MessageId = Annotated[Digest, FieldDoc("The message: SHA-256 of its raw bytes, in hex.")]


class ArrivalFields(TypedDict):
    """One message in one place on one server. The same message may arrive several times."""

    id: Annotated[Digest, FieldDoc("The arrival's key, in hex.")]
    mailbox: Annotated[str, FieldDoc("The mailbox's name in the settings.")]
    protocol: Annotated[Literal["imap", "pop3", "graph"], FieldDoc("How it was collected.")]
    folder: Annotated[str, FieldDoc("The folder where it was collected.")]
    server_key: Annotated[str, FieldDoc("The server's key: `UIDVALIDITY.UID`, a UIDL, an immutable id, or `sha256:…`.")]
    received: Annotated[Time | None, FieldDoc("When the server received it; null if it was not asked or did not tell.")]
    stored: Annotated[Time, FieldDoc("When Mailroom first saw it. Its day is the day in all paths.")]


Truncated = Annotated[
    list[str], FieldDoc("Fields that hold only a part, such as `envelope.to`, to bound the document's size.")
]


class EnvelopeFields(From):
    """What mail is sorted by."""

    to: Annotated[list[MailAddress], FieldDoc("The addresses of every To.")]
    cc: Annotated[list[MailAddress], FieldDoc("The addresses of every Cc.")]
    subject: Annotated[str, FieldDoc("Decoded; empty if there is none.")]
    sent: Annotated[Time | None, FieldDoc("When the message says that it was sent, in UTC.")]
    message_id: Annotated[str | None, FieldDoc("Its Message-ID, without angle brackets.")]


class Paths(TypedDict):
    """Where the message is in the container. All of it is there before this document is."""

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
    "The first 3 results for the same recipient of messages that came before and have the same Message-ID, date, "
    "sender, recipients, subject and attachments' names, and another body. Any of them, or this one, may be forged."
)
_MATCHED = (
    "What matched: `to`, `cc`, `wildcard`, `fallback`, or the delivery header that named the recipient, in lower case, "
    "such as `x-original-to`; `received-for` is the `for` of a Received line."
)
_REFERENCE = "The part of the address after `+`, as written, if the route is for the address without it."


class HintFields(TypedDict):
    """An address that the receiving server wrote."""

    address: Annotated[str, FieldDoc("Normalised.")]
    where: Annotated[str, FieldDoc("The field's name in lower case, such as `delivered-to`, or `received-for`.")]


class CommonFields(TypedDict):
    """What all results of a message have alike."""

    in_reply_to: Annotated[list[str], FieldDoc("Message-IDs of In-Reply-To.")]
    references: Annotated[list[str], FieldDoc("Message-IDs of References; the last, if there is no room for all.")]
    hints: Annotated[list[HintFields], FieldDoc("Whom the receiving server says that it is for.")]
    automatic: Annotated[Automatic | None, FieldDoc("What kind of automatic mail it is; null if it is none.")]
    report: Annotated[
        ReportKind | None, FieldDoc("What it reports on, if it is a report; `message.json` has the report.")
    ]
    envelope: EnvelopeFields
    attachments: Annotated[int, FieldDoc("How many attachments the message has.")]
    paths: Paths
    truncated: Truncated


class ResultDocument(CommonFields):
    """The result of one recipient: `routed/<route>/…`. Its appearance is the event to wait for."""

    schema: Annotated[Literal["mailroom/result/1"], Version]
    message: MessageId
    arrival: Annotated[ArrivalFields, FieldDoc("The arrival that it is the result of.")]
    route: Annotated[str, FieldDoc("The route's name.")]
    recipient: Annotated[
        str, FieldDoc("The recipient, normalised; `*` if a wildcard route took it and nobody is named.")
    ]
    matched: Annotated[str, FieldDoc(_MATCHED)]
    reference: Annotated[str | None, FieldDoc(_REFERENCE)]
    conversation: Annotated[Digest, FieldDoc("The first message of the thread that was seen. A hint, no proof.")]
    replaces: Annotated[str | None, FieldDoc("The path of the result that a replay wrote this one in place of.")]
    same_message_id: Annotated[list[Original], FieldDoc(_SAME_MESSAGE_ID)]


class Resolved(TypedDict):
    """That an arrival was routed anew, and its record tells what was."""

    at: Annotated[Time, FieldDoc("When.")]
    outcome: Annotated[Outcome, FieldDoc("What became of it.")]
    results: Annotated[list[str], FieldDoc("The paths of its results.")]


class Record(TypedDict):
    """What every record of an arrival has."""

    message: MessageId
    arrival: ArrivalFields
    resolved: Annotated[Resolved | None, FieldDoc("Null as long as the record waits for somebody; a replay sets it.")]


class RecordWithEnvelope(Record):
    """What every record of an arrival has that could be read."""

    envelope: EnvelopeFields
    truncated: Truncated


class Tried(TypedDict):
    """A route that did not take the message."""

    address: Annotated[str, FieldDoc("The recipient, or `*`.")]
    route: Annotated[str | None, FieldDoc("The route's name; null if no route is for the address.")]
    reason: Annotated[str, FieldDoc("The condition that does not hold, in words.")]


class UnhandledDocument(RecordWithEnvelope):
    """Why a message has no result, or not for all recipients: `unhandled/<mailbox>/…`."""

    schema: Annotated[Literal["mailroom/unhandled/1"], Version]
    reason: Annotated[Unhandled, FieldDoc("Why, for machines.")]
    detail: Annotated[str, FieldDoc("Why, for people.")]
    tried: Annotated[list[Tried], FieldDoc("What was looked at, and why it did not take the message.")]
    recipients: Annotated[
        list[str], FieldDoc("Recipients without a result, for `too-many-recipients`; the others have one.")
    ]
    invalid_addresses: Annotated[list[str], FieldDoc("Pieces of To and Cc that are not addresses.")]
    paths: Paths


class Duplicate(TypedDict):
    """A recipient who had the message before."""

    recipient: Annotated[str, FieldDoc("Normalised, or `*`.")]
    route: Annotated[str, FieldDoc("The route that would have taken it.")]
    duplicate_of: Original
    by: Annotated[FingerprintKind, FieldDoc("What is the same.")]


class DuplicatesDocument(RecordWithEnvelope):
    """Which recipients had a message before: `duplicates/<mailbox>/…`. Others may have a result."""

    schema: Annotated[Literal["mailroom/duplicates/1"], Version]
    duplicates: Annotated[list[Duplicate], FieldDoc("Who had it, and by what.")]


class BlockedDocument(RecordWithEnvelope):
    """A message whose sender is blocked: `blocked/<mailbox>/…`."""

    schema: Annotated[Literal["mailroom/blocked/1"], Version]
    blocked_by: Annotated[str, FieldDoc("The entry of BLOCKED_SENDERS that the sender matches.")]


class FailedDocument(Record):
    """A message that could not be routed in five tries: `failed/<mailbox>/…`. Its raw bytes are stored."""

    schema: Annotated[Literal["mailroom/failed/1"], Version]
    error: Annotated[str, FieldDoc("Why the last try failed, in words.")]


class SkippedDocument(TypedDict):
    """What the record of a message has that was never downloaded."""

    detail: Annotated[str, FieldDoc("Why, and what helps, for people.")]
    arrival: ArrivalFields
    size: Annotated[int, FieldDoc("Octets, as far as the server told.")]


class OversizedDocument(SkippedDocument):
    """A message that is too large: `oversized/<mailbox>/…`. It stays in its mailbox until the limit is larger."""

    schema: Annotated[Literal["mailroom/oversized/1"], Version]


_From = TypedDict("_From", {"from": Annotated[str | None, FieldDoc("The author's address.")]})


class ToldFields(_From):
    """What a server tells of a message that it does not give out. As told, and not verified."""

    subject: Annotated[str | None, FieldDoc("Decoded.")]
    to: Annotated[list[str], FieldDoc("Addresses.")]
    message_id: Annotated[str | None, FieldDoc("As the server has it, with angle brackets.")]
    received: Annotated[str | None, FieldDoc("When the server received it, as it writes it.")]


class UnreadableDocument(SkippedDocument):
    """A message that the server will never give out: `unreadable/<mailbox>/…`. It stays in its mailbox."""

    schema: Annotated[Literal["mailroom/unreadable/1"], Version]
    message: Annotated[ToldFields, FieldDoc("What the server tells of it instead.")]
