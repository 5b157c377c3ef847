"""What `message.json` holds of a message, as types: what writes it is checked against them, and the published schema is
made of them (docs/reference/results.md, rule 7.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from shared.mime.model import Importance, Kind
from shared.mime.reports import ReportKind


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """What the schema says of a field beside its type.

    Attributes:
        words: for whoever reads the schema.
        pattern: what its text matches, as ECMA-262 writes it.
    """

    text: str = ""
    pattern: str = ""

    def __get_pydantic_json_schema__(self, core: Any, made: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Asked for by pydantic where it makes a schema; what runs in the cloud never asks, and does not load it."""
        schema = made(core)
        if self.text:
            schema["description"] = self.text
        if self.pattern:
            schema["pattern"] = self.pattern
        return schema


Digest = Annotated[str, FieldDoc(pattern="^[0-9a-f]{64}$")]
"""SHA-256 in hex."""

Time = Annotated[str, FieldDoc(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
"""ISO 8601, UTC, to the second."""


class MailAddress(TypedDict):
    """An address of a header."""

    name: Annotated[str, FieldDoc("The display name, decoded; empty if there is none.")]
    address: Annotated[str, FieldDoc("Local part, `@`, domain, as written.")]


class Author(TypedDict):
    """An author in From."""

    name: Annotated[str, FieldDoc("The display name, decoded, or a bare local name; empty if there is none.")]
    address: Annotated[
        str | None, FieldDoc("Local part, `@`, domain, as written; null if From has no readable address.")
    ]


class Attachment(TypedDict):
    """What a message carries beside its text."""

    number: Annotated[int, FieldDoc("Its place among the attachments, from 1.")]
    name: Annotated[str, FieldDoc("The file name as sent, decoded; empty if it has none. Do not make paths of it.")]
    safe_name: Annotated[str, FieldDoc("A name that any file system can stand, unique in the message.")]
    content_type: Annotated[str, FieldDoc("As the sender says, in lower case, without parameters. Not verified.")]
    size: Annotated[int, FieldDoc("Octets, decoded.")]
    sha256: Annotated[Digest, FieldDoc("SHA-256 of the decoded content, in hex.")]
    disposition: Annotated[Literal["attachment", "inline"], FieldDoc("`inline` is what the text shows in its place.")]
    content_id: Annotated[str | None, FieldDoc("What HTML refers to it by, without angle brackets.")]


class StoredAttachment(Attachment):
    """What a message carries beside its text, and where that is stored."""

    path: Annotated[str, FieldDoc("Where its decoded bytes are in the container, or the ZIP file that holds them.")]
    member: Annotated[str | None, FieldDoc("Its name in the ZIP file; null if `path` is a blob of its own.")]


class HeaderField(TypedDict):
    """A field of the header."""

    name: Annotated[str, FieldDoc("As written.")]
    value: Annotated[str, FieldDoc("Decoded.")]


class Automatic(TypedDict):
    """What kind of automatic mail a message is, and what said so."""

    kind: Annotated[Kind, FieldDoc("Never answer any of these by machine.")]
    evidence: Annotated[list[str], FieldDoc("The header fields, or what else, that said so.")]


class ReportedRecipient(TypedDict):
    """What a report says became of one recipient."""

    address: Annotated[
        str | None, FieldDoc("Whom the reporting server tried, normalised, or as written if no address.")
    ]
    original: Annotated[str | None, FieldDoc("Whom the sender had named, if it is told and another.")]
    action: Annotated[str | None, FieldDoc("`failed`, `delayed`, `delivered`, `relayed` or `expanded`.")]
    status: Annotated[str | None, FieldDoc("The enhanced status code (RFC 3463), such as `5.1.1`.")]
    diagnostic: Annotated[str | None, FieldDoc("What the remote server said, as reported.")]
    remote_mta: Annotated[str | None, FieldDoc("The server that said it.")]


class Report(TypedDict):
    """What a report says. Anybody can write one."""

    kind: Annotated[ReportKind, FieldDoc("What it reports on.")]
    failed: Annotated[list[ReportedRecipient], FieldDoc("Recipients who will not get the message.")]
    others: Annotated[list[ReportedRecipient], FieldDoc("The other recipients: delayed, delivered, relayed, expanded.")]
    reporting_mta: Annotated[str | None, FieldDoc("The server that wrote it.")]
    original_message_id: Annotated[str | None, FieldDoc("Message-ID of what it is about, without angle brackets.")]
    disposition: Annotated[str | None, FieldDoc("What became of it at its reader's, such as `displayed`.")]


class ThreadFields(TypedDict):
    """What a message says that it answers."""

    in_reply_to: Annotated[list[str], FieldDoc("Message-IDs of In-Reply-To, without angle brackets.")]
    references: Annotated[list[str], FieldDoc("Message-IDs of References, without angle brackets, in order.")]


From = TypedDict("From", {"from": Annotated[list[Author], FieldDoc("The authors, as the message says.")]})
"""`from` is a word of Python's."""


class _Text(From):
    size: Annotated[int, FieldDoc("Octets of the raw message.")]
    sent: Annotated[
        Time | None, FieldDoc("When it says that it was sent, in UTC; null if it does not say so readably.")
    ]
    message_id: Annotated[str | None, FieldDoc("Without angle brackets; null if it is missing, empty or there twice.")]
    sender: Annotated[list[MailAddress], FieldDoc("Who sent it for the authors.")]
    reply_to: Annotated[list[MailAddress], FieldDoc("Where replies go.")]
    to: Annotated[list[MailAddress], FieldDoc("The addresses of every To.")]
    cc: Annotated[list[MailAddress], FieldDoc("The addresses of every Cc.")]
    bcc: Annotated[list[MailAddress], FieldDoc("The addresses of every Bcc.")]
    subject: Annotated[str, FieldDoc("Decoded; empty if there is none.")]
    text: Annotated[str, FieldDoc("The text, made from HTML where there is no plain part; empty if there is neither.")]
    html: Annotated[str | None, FieldDoc("HTML as sent. Untrusted: show it to nobody without cleaning it.")]
    headers: Annotated[list[HeaderField], FieldDoc("Every field in order.")]
    importance: Annotated[Importance, FieldDoc("As Importance, X-Priority and Priority say; high if any of them does.")]
    automatic: Annotated[Automatic | None, FieldDoc("What kind of automatic mail it is; null if it is none.")]
    report: Annotated[Report | None, FieldDoc("What it reports, if it is a report.")]
    thread: Annotated[ThreadFields, FieldDoc("What it says that it answers.")]
    authentication_results: Annotated[
        list[str],
        FieldDoc("Every Authentication-Results in order. Anybody can write one: trust those of your own server alone."),
    ]
    invalid_addresses: Annotated[list[str], FieldDoc("Pieces of From, To and Cc that are not addresses.")]
    defects: Annotated[list[str], FieldDoc("What had to be repaired in order to read it, in words. Not for machines.")]


class MessageFields(_Text):
    """What is a function of the message's bytes alone."""

    attachments: list[Attachment]


class MessageDocument(_Text):
    """The parsed message: `messages/ab/<id>/message.json`.

    A function of its bytes and of MAX_ATTACHMENTS, apart from the defect that counts recipients without a result.
    """

    schema: Annotated[Literal["mailroom/message/1"], FieldDoc("The version of this document's schema.")]
    id: Annotated[Digest, FieldDoc("SHA-256 of the raw bytes, in hex.")]
    raw: Annotated[str, FieldDoc("Where the raw bytes are in the container.")]
    attachments: Annotated[list[StoredAttachment], FieldDoc("Everything that is not its text or HTML, in order.")]
    truncated: Annotated[
        list[str], FieldDoc("Fields that hold only a part: the document has at most 4 times the size.")
    ]
