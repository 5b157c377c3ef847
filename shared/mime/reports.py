"""Reports of mail systems: delivery (RFC 3464, RFC 6533), disposition (RFC 8098), feedback (RFC 5965); rule 5.2.

They come as `multipart/report` (RFC 6522): a text, fields for machines, and the message that it is all about, or its
header. All of it is what a sender says: anybody can write one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from shared.addresses import normalise
from shared.mime.address_list import read_list
from shared.mime.buffer import Buffer
from shared.mime.defects import Defects
from shared.mime.encoded_words import decoded as decoded_words
from shared.mime.headers import Headers, read_block
from shared.mime.multipart import Part
from shared.mime.report_fields import (
    LONGEST_TEXT,
    address_of,
    host_of,
    read_fields,
    shortened,
    status_of,
    without_comments,
)
from shared.mime.transfer_encoding import decoded, encoding_of

ReportKind = Literal["delivery", "disposition", "feedback", "other"]

MOST_RECIPIENTS = 1000
"""Recipients of one report that are read."""

MOST_FIELDS = 1024 * 1024
"""Bytes of a report's fields that are read."""

MOST_HEADER = 256 * 1024
"""Bytes of the returned header that are read."""

_KINDS: dict[str, ReportKind] = {
    "message/delivery-status": "delivery",
    "message/global-delivery-status": "delivery",
    "message/disposition-notification": "disposition",
    "message/global-disposition-notification": "disposition",
    "message/feedback-report": "feedback",
}
_TYPES: dict[str, ReportKind] = {
    "delivery-status": "delivery",
    "disposition-notification": "disposition",
    "feedback-report": "feedback",
}
_RETURNED = frozenset({"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"})

_OF_A_RECIPIENT = frozenset(
    {"original-recipient", "final-recipient", "action", "status", "remote-mta", "diagnostic-code"}
)
_OF_THE_REPORT = frozenset({"reporting-mta", "disposition", "original-message-id", "x-original-message-id"})
_NAMES = frozenset({"original-recipient", "final-recipient"})
_ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})

_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")
_ID = re.compile(r"<([^<>]*)>")


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """What became of one recipient.

    Attributes:
        address: whom the reporting server tried, normalised, or as written if it is no address; None if untold.
        original: whom the sender had named, if it is told and another.
        action: `failed`, `delayed`, `delivered`, `relayed`, `expanded`, in lower case; None if untold.
        status: enhanced status code (RFC 3463), such as `5.1.1`; None if untold.
        diagnostic: what the remote server said, as reported; None if untold.
        remote_mta: the server that said it; None if untold.
    """

    address: str | None
    original: str | None = None
    action: str | None = None
    status: str | None = None
    diagnostic: str | None = None
    remote_mta: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says.

    Attributes:
        kind: what it reports on; `other` is a `multipart/report` of any other type.
        found_in: the content type that it was read from; "" if only `X-Failed-Recipients` tells of it.
        failed: recipients who will not get the message.
        others: the other recipients: delayed, delivered, relayed, expanded.
        reporting_mta: the server that wrote it.
        original_message_id: Message-ID of the message that it is about, without angle brackets.
        disposition: what became of the message at its reader's, such as `displayed` or `deleted/error`.
    """

    kind: ReportKind
    found_in: str = ""
    failed: tuple[ReportedRecipient, ...] = ()
    others: tuple[ReportedRecipient, ...] = ()
    reporting_mta: str | None = None
    original_message_id: str | None = None
    disposition: str | None = None


def read_report(root: Part, buffer: Buffer, defects: Defects) -> Report | None:
    """Read the report that a message is, or that a gateway wrapped.

    A report that was forwarded as `message/rfc822`, or as an attachment, is none.

    Args:
        root: the message, split.
        buffer: its bytes.
        defects: where it is noted if not all of a report was read.

    Returns:
        None if it is none, and has no `X-Failed-Recipients` either.
    """
    whole, machine = _places(root)
    named = _failed_recipients(root.headers)
    if whole is None and not named:
        return None
    found_in = (machine or whole).content.kind if whole else ""
    whole = whole or root
    fields, recipients = _read_fields(machine, buffer, defects) if machine else ({}, [])
    kind = _kind(whole, machine, by_header=bool(named))
    if kind != "delivery":
        recipients = []
    failed = [one for one in recipients if _has_failed(one)]
    if not any(one.address for one in failed):
        failed = [ReportedRecipient(address, action="failed") for address in named] or failed
    known = {one.address for one in failed} - {None}
    return Report(
        kind=kind,
        found_in=found_in,
        failed=tuple(failed),
        others=tuple(one for one in recipients if not _has_failed(one) and one.address not in known),
        reporting_mta=host_of(fields.get("reporting-mta")),
        original_message_id=_original_id(whole, fields, buffer) or _answered(root.headers),
        disposition=_disposition(fields) if kind == "disposition" else None,
    )


def _places(root: Part) -> tuple[Part | None, Part | None]:
    """The part that is the report as a whole, and in it the one with the fields."""
    if root.content.kind in _KINDS:
        return root, root
    wrapped = (child for child in root.children if child.content.kind == "multipart/report")
    whole = root if root.content.kind == "multipart/report" else next(wrapped, root)
    proper = whole.content.kind == "multipart/report"
    found = (child for child in whole.children if child.content.kind in _KINDS and (proper or not _attached(child)))
    machine = next(found, None)
    return whole if proper or machine else None, machine


def _attached(part: Part) -> bool:
    """Whether it says that it is an attachment: somebody forwards it. (In a report proper that means nothing.)"""
    texts = part.headers.texts("content-disposition")
    return bool(texts) and texts[0].lower().lstrip().startswith("attachment")


def _kind(whole: Part, machine: Part | None, *, by_header: bool) -> ReportKind:
    if machine is not None:
        return _KINDS[machine.content.kind]
    told = (whole.content.token("report-type") or "").lower()
    return _TYPES.get(told, "delivery" if by_header else "other")


def _failed_recipients(headers: Headers) -> list[str]:
    """Addresses of `X-Failed-Recipients`, each once."""
    found: dict[str, None] = {}
    for text in headers.texts("x-failed-recipients"):
        for one in read_list(text, Defects(), recover=False)[0]:
            if normal := normalise(one.address):
                found[normal] = None
    return list(found)[:MOST_RECIPIENTS]


def _has_failed(recipient: ReportedRecipient) -> bool:
    """As the action says; if it says nothing known, as the status does."""
    if recipient.action in _ACTIONS:
        return recipient.action == "failed"
    return (recipient.status or "").startswith("5")


def _content(part: Part, buffer: Buffer, most: int) -> bytes:
    """The beginning of a part's content, decoded. (What is wrong with its encoding is noted where attachments are.)"""
    found = bytearray()
    encoding = encoding_of(next(iter(part.headers.texts("content-transfer-encoding")), None))
    for piece in decoded(buffer.pieces(part.start, part.end), encoding, Defects()):
        found += piece
        if len(found) > most:
            break
    return bytes(found[: most + 1])


def _read_fields(part: Part, buffer: Buffer, defects: Defects) -> tuple[dict[str, str], list[ReportedRecipient]]:
    """The fields of the report as a whole, and its recipients.

    An empty line begins the next recipient, and so does a recipient's name where the last one has a name already; some
    servers leave the lines out, and some put them where none belongs.
    """
    data = _content(part, buffer, MOST_FIELDS)
    if len(data) > MOST_FIELDS:
        defects.add(f"a report has more than {MOST_FIELDS} bytes of fields: the rest is not read")
    report: dict[str, str] = {}
    records: list[dict[str, str]] = []
    for apart, name, value in read_fields(data[:MOST_FIELDS]):
        if name in _OF_THE_REPORT:
            report.setdefault(name, value)
        elif name in _OF_A_RECIPIENT:
            last = records[-1] if records else None
            if last is None or (name in _NAMES and (name in last or (apart and last.keys() & _NAMES))):
                if len(records) == MOST_RECIPIENTS:
                    defects.add(f"a report has more than {MOST_RECIPIENTS} recipients: the rest is not read")
                    break
                records.append({})
            records[-1].setdefault(name, value)
    return report, list(dict.fromkeys(map(_recipient, records)))


def _recipient(record: dict[str, str]) -> ReportedRecipient:
    final, original = address_of(record.get("final-recipient")), address_of(record.get("original-recipient"))
    diagnostic = shortened(record.get("diagnostic-code"))
    action = without_comments(record.get("action", "")).lower()
    return ReportedRecipient(
        address=final or original,
        original=original if final and original != final else None,
        action=shortened(action),
        status=status_of(record.get("status"), diagnostic),
        diagnostic=diagnostic,
        remote_mta=host_of(record.get("remote-mta")),
    )


def _disposition(fields: dict[str, str]) -> str | None:
    """The type, with its modifiers, behind the modes: `manual-action/MDN-sent-manually; displayed`."""
    text = without_comments(fields.get("disposition", "")).rpartition(";")[2]
    return shortened("".join(text.lower().split()))


def _original_id(whole: Part, fields: dict[str, str], buffer: Buffer) -> str | None:
    """As the fields have it, or else the message that was returned, or its header."""
    told = fields.get("original-message-id") or fields.get("x-original-message-id")
    if told and (found := _message_id(told)):
        return found
    returned = next((child for child in whole.children if child.content.kind in _RETURNED), None)
    if returned is None:
        return None
    data = _content(returned, buffer, MOST_HEADER).lstrip(b"\r\n")
    data = data if b"\n" in data else data.replace(b"\r", b"\n")
    headers, _ = read_block(_EMPTY_LINE.split(data, maxsplit=1)[0], Defects())
    return next(filter(None, map(_message_id, headers.texts("message-id"))), None)


def _answered(headers: Headers) -> str | None:
    """The one message that it answers: what is left where nothing was returned."""
    found = {found for text in headers.texts("in-reply-to") for found in _ID.findall(text)}
    return _message_id(found.pop()) if len(found) == 1 else None


def _message_id(text: str) -> str | None:
    match = _ID.search(text)
    return "".join(decoded_words(match[1] if match else text, Defects()).split())[:LONGEST_TEXT] or None
