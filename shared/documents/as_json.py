"""A message as what `message.json` holds (rule 7.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from shared.documents import message_document
from shared.mime.model import Address, Attachment, Message, Report
from shared.mime.reports import ReportedRecipient

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
"""Control characters that mean nothing in mail: JSON needs six bytes for each. Tab, line and page breaks stay."""

_SHORT: Final = 1000
"""Characters up to which `str.isprintable` is tried first: longer text has line breaks, which fail it."""

_CONTROL_BYTES: Final = bytes((*range(9), 0x0B, *range(0x0E, 0x20)))


def message_fields(message: Message) -> message_document.MessageFields:
    """The fields of `message.json` that are a function of the message's bytes.

    The caller adds what is not known here: the schema's version, the id, and where attachments are stored. Control
    characters that mean nothing are left out of all text.
    """
    return {
        "size": message.size,
        "sent": _time(message.sent) if message.sent else None,
        "message_id": message.message_id,
        "from": [{"name": one.name, "address": one.address} for one in message.from_],
        "sender": _addresses(message.sender),
        "reply_to": _addresses(message.reply_to),
        "to": _addresses(message.to),
        "cc": _addresses(message.cc),
        "bcc": _addresses(message.bcc),
        "subject": plain(message.subject),
        "text": plain(message.text),
        "html": None if message.html is None else plain(message.html),
        "attachments": [_attachment(attachment) for attachment in message.attachments],
        "headers": [{"name": name, "value": plain(value)} for name, value in message.headers],
        "importance": message.importance,
        "automatic": _automatic(message),
        "report": _report(message.report) if message.report else None,
        "thread": {"in_reply_to": list(message.in_reply_to), "references": list(message.references)},
        "authentication_results": list(map(plain, message.authentication_results)),
        "invalid_addresses": list(map(plain, message.invalid_addresses)),
        "defects": list(message.defects),
    }


def _time(sent: datetime) -> str:
    return sent.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _addresses(addresses: Iterable[Address]) -> list[message_document.MailAddress]:
    return [{"name": plain(one.name), "address": plain(one.address)} for one in addresses]


def _automatic(message: Message) -> message_document.Automatic | None:
    if message.automatic is None:
        return None
    return {"kind": message.automatic, "evidence": list(message.automatic_evidence)}


def _report(report: Report) -> message_document.Report:
    return {
        "kind": report.kind,
        "failed": [_reported(one) for one in report.failed],
        "others": [_reported(one) for one in report.others],
        "reporting_mta": report.reporting_mta,
        "original_message_id": report.original_message_id,
        "disposition": report.disposition,
    }


def _reported(recipient: ReportedRecipient) -> message_document.ReportedRecipient:
    return {
        "address": recipient.address,
        "original": recipient.original,
        "action": recipient.action,
        "status": recipient.status,
        "diagnostic": None if recipient.diagnostic is None else plain(recipient.diagnostic),
        "remote_mta": recipient.remote_mta,
    }


def _attachment(attachment: Attachment) -> message_document.Attachment:
    return {
        "number": attachment.number,
        "name": plain(attachment.name),
        "safe_name": attachment.safe_name,
        "content_type": attachment.content_type,
        "size": attachment.size,
        "sha256": attachment.sha256,
        "disposition": attachment.disposition,
        "content_id": attachment.content_id,
    }


def plain(text: str) -> str:
    """Return a text without control characters that mean nothing."""
    if len(text) <= _SHORT and text.isprintable():
        return text
    # Deleting bytes is several times as fast as searching, and ordinary text has none of them.
    data = text.encode("utf-8", "surrogatepass")
    if len(data.translate(None, _CONTROL_BYTES)) == len(data):
        return text
    return _CONTROLS.sub("", text)
