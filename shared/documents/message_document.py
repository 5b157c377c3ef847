"""`message.json`: its type, from which the published schema is generated, and its fields from a parsed message.

The code that writes the document is type-checked against these types (docs/reference/results.md, rules 7.2 and 7.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from typing_extensions import TypedDict

from shared.mime import model
from shared.mime.model import Importance, Kind, Message
from shared.mime.reports import ReportedRecipient as MimeReportedRecipient
from shared.mime.reports import ReportKind

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
"""Control characters without a meaning in mail: JSON needs six bytes for each. Tab, line and page breaks stay."""

_SHORT: Final = 1000
"""Characters up to which `str.isprintable` is tried first: longer text has line breaks, which fail it."""

_CONTROL_BYTES: Final = bytes((*range(9), 0x0B, *range(0x0E, 0x20)))


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """What the schema says about a field in addition to its type.

    Attributes:
        text: the description.
        pattern: the pattern that its text matches, in ECMA-262 syntax.
    """

    text: str = ""
    pattern: str = ""

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Return the field's JSON schema. pydantic calls this to generate a schema; the deployed app never does."""
        schema = handler(core)
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
    """An address in a header."""

    name: Annotated[str, FieldDoc("The display name, decoded; empty if there is none.")]
    address: Annotated[str, FieldDoc("Local part, `@`, domain, as written.")]


class Author(TypedDict):
    """An author in From."""

    name: Annotated[str, FieldDoc("The display name, decoded, or a bare local name; empty if there is none.")]
    address: Annotated[
        str | None, FieldDoc("Local part, `@`, domain, as written; null if From has no readable address.")
    ]


class Attachment(TypedDict):
    """An attachment: a part of the message that is not its text or HTML."""

    number: Annotated[int, FieldDoc("Its position among the attachments, from 1.")]
    name: Annotated[str, FieldDoc("The file name as sent, decoded; empty if it has none. Do not use it as a path.")]
    safe_name: Annotated[str, FieldDoc("A name that is valid on all file systems, unique in the message.")]
    content_type: Annotated[
        str, FieldDoc("As declared by the sender, in lower case, without parameters. Not verified.")
    ]
    size: Annotated[int, FieldDoc("Size in bytes, decoded.")]
    sha256: Annotated[Digest, FieldDoc("SHA-256 of the decoded content, in hex.")]
    disposition: Annotated[Literal["attachment", "inline"], FieldDoc("`inline` if the text shows it in place.")]
    content_id: Annotated[str | None, FieldDoc("The id by which HTML refers to it, without angle brackets.")]


class StoredAttachment(Attachment):
    """An attachment, and where it is stored."""

    path: Annotated[str, FieldDoc("The path of its decoded bytes in the container, or of the ZIP file with them.")]
    member: Annotated[str | None, FieldDoc("Its name in the ZIP file; null if `path` is a blob of its own.")]


class HeaderField(TypedDict):
    """A header field."""

    name: Annotated[str, FieldDoc("As written.")]
    value: Annotated[str, FieldDoc("Decoded.")]


class Automatic(TypedDict):
    """The kind of automatic mail that a message is, and the evidence for it."""

    kind: Annotated[Kind, FieldDoc("Never reply automatically to any of these.")]
    evidence: Annotated[list[str], FieldDoc("The header fields, or other properties, that indicate it.")]


class ReportedRecipient(TypedDict):
    """What a report says about one recipient."""

    address: Annotated[
        str | None,
        FieldDoc("The address that the reporting server tried, normalised, or as written if it is not an address."),
    ]
    original: Annotated[
        str | None, FieldDoc("The address that the sender named, if the report gives it and it is different.")
    ]
    action: Annotated[str | None, FieldDoc("`failed`, `delayed`, `delivered`, `relayed` or `expanded`.")]
    status: Annotated[str | None, FieldDoc("The enhanced status code (RFC 3463), such as `5.1.1`.")]
    diagnostic: Annotated[str | None, FieldDoc("The remote server's response, as reported.")]
    remote_mta: Annotated[str | None, FieldDoc("The remote server.")]


class Report(TypedDict):
    """The content of a report. Any sender can forge one."""

    kind: Annotated[ReportKind, FieldDoc("The kind of report.")]
    failed: Annotated[list[ReportedRecipient], FieldDoc("Recipients that will not get the message.")]
    others: Annotated[list[ReportedRecipient], FieldDoc("The other recipients: delayed, delivered, relayed, expanded.")]
    reporting_mta: Annotated[str | None, FieldDoc("The server that wrote it.")]
    original_message_id: Annotated[
        str | None, FieldDoc("Message-ID of the message that it is about, without angle brackets.")
    ]
    disposition: Annotated[str | None, FieldDoc("What the reader's mail client did with it, such as `displayed`.")]


class ThreadFields(TypedDict):
    """The messages that a message says it answers."""

    in_reply_to: Annotated[list[str], FieldDoc("Message-IDs of In-Reply-To, without angle brackets.")]
    references: Annotated[list[str], FieldDoc("Message-IDs of References, without angle brackets, in order.")]


From = TypedDict("From", {"from": Annotated[list[Author], FieldDoc("The authors in From.")]})
"""Written as a call because `from` is a Python keyword."""


class _CommonFields(From):
    size: Annotated[int, FieldDoc("Size in bytes of the raw message.")]
    sent: Annotated[Time | None, FieldDoc("When it was sent, by its Date field, in UTC; null if Date is unreadable.")]
    message_id: Annotated[
        str | None, FieldDoc("Without angle brackets; null if it is missing, empty or appears twice.")
    ]
    sender: Annotated[list[MailAddress], FieldDoc("The addresses of Sender, who sent it for the authors.")]
    reply_to: Annotated[list[MailAddress], FieldDoc("The addresses for replies.")]
    to: Annotated[list[MailAddress], FieldDoc("The addresses of every To.")]
    cc: Annotated[list[MailAddress], FieldDoc("The addresses of every Cc.")]
    bcc: Annotated[list[MailAddress], FieldDoc("The addresses of every Bcc.")]
    subject: Annotated[str, FieldDoc("Decoded; empty if there is none.")]
    text: Annotated[str, FieldDoc("The text, made from HTML if there is no plain part; empty if there is neither.")]
    html: Annotated[str | None, FieldDoc("HTML as sent. Untrusted: sanitise it before you display it.")]
    headers: Annotated[list[HeaderField], FieldDoc("Every field in order.")]
    importance: Annotated[Importance, FieldDoc("By Importance, X-Priority and Priority; high if any of them is.")]
    automatic: Annotated[Automatic | None, FieldDoc("The kind of automatic mail; null if it is not automatic.")]
    report: Annotated[Report | None, FieldDoc("The content of a report; null if it is not a report.")]
    thread: Annotated[ThreadFields, FieldDoc("The messages that it says it answers.")]
    authentication_results: Annotated[
        list[str],
        FieldDoc("Every Authentication-Results in order. Any sender can forge one: trust those of your own server."),
    ]
    invalid_addresses: Annotated[list[str], FieldDoc("Pieces of From, To and Cc that are not addresses.")]
    defects: Annotated[list[str], FieldDoc("What had to be repaired to read it, for people. Not for programs.")]


class MessageFields(_CommonFields):
    """The fields that are a function of the message's bytes alone."""

    attachments: list[Attachment]


class MessageDocument(_CommonFields):
    """The parsed message: `messages/ab/<id>/message.json`.

    A function of its bytes and of MAX_ATTACHMENTS, apart from the defect that counts recipients without a result.
    """

    schema: Annotated[Literal["mailroom/message/1"], FieldDoc("The version of this document's schema.")]
    id: Annotated[Digest, FieldDoc("SHA-256 of the raw bytes, in hex.")]
    raw: Annotated[str, FieldDoc("The path of the raw bytes in the container.")]
    attachments: Annotated[list[StoredAttachment], FieldDoc("Everything that is not its text or HTML, in order.")]
    truncated: Annotated[
        list[str], FieldDoc("Fields that are incomplete: the document has at most 4 times the message's size.")
    ]


def message_fields(message: Message) -> MessageFields:
    """Return the fields of `message.json` that are a function of the message's bytes.

    The caller adds the schema's version, the id, and where attachments are stored. Control characters without a meaning
    are removed from all text.
    """
    return {
        "size": message.size,
        "sent": _time(message.sent) if message.sent else None,
        "message_id": message.message_id,
        "from": [{"name": author.name, "address": author.address} for author in message.from_],
        "sender": _addresses(message.sender),
        "reply_to": _addresses(message.reply_to),
        "to": _addresses(message.to),
        "cc": _addresses(message.cc),
        "bcc": _addresses(message.bcc),
        "subject": without_controls(message.subject),
        "text": without_controls(message.text),
        "html": None if message.html is None else without_controls(message.html),
        "attachments": [_attachment(attachment) for attachment in message.attachments],
        "headers": [{"name": name, "value": without_controls(value)} for name, value in message.headers],
        "importance": message.importance,
        "automatic": _automatic(message),
        "report": _report(message.report) if message.report else None,
        "thread": {"in_reply_to": list(message.in_reply_to), "references": list(message.references)},
        "authentication_results": list(map(without_controls, message.authentication_results)),
        "invalid_addresses": list(map(without_controls, message.invalid_addresses)),
        "defects": list(message.defects),
    }


def _time(sent: datetime) -> str:
    return sent.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _addresses(addresses: Iterable[model.Address]) -> list[MailAddress]:
    return [
        {"name": without_controls(mailbox.name), "address": without_controls(mailbox.address)} for mailbox in addresses
    ]


def _automatic(message: Message) -> Automatic | None:
    if message.automatic is None:
        return None
    return {"kind": message.automatic, "evidence": list(message.automatic_evidence)}


def _report(report: model.Report) -> Report:
    return {
        "kind": report.kind,
        "failed": [_reported_recipient(recipient) for recipient in report.failed],
        "others": [_reported_recipient(recipient) for recipient in report.others],
        "reporting_mta": report.reporting_mta,
        "original_message_id": report.original_message_id,
        "disposition": report.disposition,
    }


def _reported_recipient(recipient: MimeReportedRecipient) -> ReportedRecipient:
    return {
        "address": recipient.address,
        "original": recipient.original,
        "action": recipient.action,
        "status": recipient.status,
        "diagnostic": None if recipient.diagnostic is None else without_controls(recipient.diagnostic),
        "remote_mta": recipient.remote_mta,
    }


def _attachment(attachment: model.Attachment) -> Attachment:
    return {
        "number": attachment.number,
        "name": without_controls(attachment.name),
        "safe_name": attachment.safe_name,
        "content_type": attachment.content_type,
        "size": attachment.size,
        "sha256": attachment.sha256,
        "disposition": attachment.disposition,
        "content_id": attachment.content_id,
    }


def without_controls(text: str) -> str:
    """Return a text without control characters that have no meaning in mail."""
    if len(text) <= _SHORT and text.isprintable():
        return text
    # Deleting bytes is several times as fast as searching, and ordinary text has none of them.
    data = text.encode("utf-8", "surrogatepass")
    if len(data.translate(None, _CONTROL_BYTES)) == len(data):
        return text
    return _CONTROLS.sub("", text)
