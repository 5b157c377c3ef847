"""Reports of mail systems: delivery (RFC 3464, RFC 6533), disposition (RFC 8098), feedback (RFC 5965); rule 5.2.

A report is a `multipart/report` (RFC 6522): a text, machine-readable fields, and the reported message or its header.
The content is untrusted: anyone can write a report.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from shared.addresses import normalise
from shared.mime.address_list import read_list
from shared.mime.address_tokens import COMMENT, tokenize
from shared.mime.buffer import Buffer
from shared.mime.charsets import replace_surrogates
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words, header_text
from shared.mime.headers import Headers, parse_block
from shared.mime.multipart import Part
from shared.mime.transfer_encoding import decode_pieces, parse_transfer_encoding

ReportKind = Literal["delivery", "disposition", "feedback", "other"]

MAX_RECIPIENTS = 1000
"""Maximum number of recipients of one report."""

MAX_FIELDS = 1024 * 1024
"""Maximum size of a report's fields in bytes."""

MAX_HEADER = 256 * 1024
"""Maximum number of bytes read of the returned header."""

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

_RECIPIENT_FIELDS = frozenset(
    {"original-recipient", "final-recipient", "action", "status", "remote-mta", "diagnostic-code"}
)
_REPORT_FIELDS = frozenset({"reporting-mta", "disposition", "original-message-id", "x-original-message-id"})
_ADDRESS_FIELDS = frozenset({"original-recipient", "final-recipient"})
_ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})

_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")
_ID = re.compile(r"<([^<>]*)>")

MAX_VALUE_LENGTH = 1000
"""Maximum length of a value in characters."""

_MAX_RAW = 4 * MAX_VALUE_LENGTH
_FIELD = re.compile(rb"([!-9;-~]{1,80})[ \t]*:(.*)", re.DOTALL)
_TYPED = re.compile(r"\s*([A-Za-z0-9-]{1,40})\s*;(.*)", re.DOTALL)
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_UNICODE = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_LAST_CHARACTER = 0x10FFFF


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """The report on one recipient.

    Attributes:
        address: the address that the reporting server tried, normalised (as written if it is invalid), or None.
        original: the address that the sender used, if it is reported and another; else None.
        action: `failed`, `delayed`, `delivered`, `relayed` or `expanded` in lower case, or None.
        status: enhanced status code (RFC 3463) such as `5.1.1`, or None.
        diagnostic: the remote server's response as reported, or None.
        remote_mta: the remote server, or None.
    """

    address: str | None
    original: str | None = None
    action: str | None = None
    status: str | None = None
    diagnostic: str | None = None
    remote_mta: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a report.

    Attributes:
        kind: the subject of the report; `other` is a `multipart/report` of any other type.
        fields_type: the content type of the part with the fields; "" if only `X-Failed-Recipients` reports a failure.
        failed: recipients that will not receive the message.
        others: the other recipients: delayed, delivered, relayed, expanded.
        reporting_mta: the server that wrote the report.
        original_message_id: Message-ID of the reported message, without angle brackets.
        disposition: the reader's disposition of the message, such as `displayed` or `deleted/error`.
    """

    kind: ReportKind
    fields_type: str = ""
    failed: tuple[ReportedRecipient, ...] = ()
    others: tuple[ReportedRecipient, ...] = ()
    reporting_mta: str | None = None
    original_message_id: str | None = None
    disposition: str | None = None


def read_report(root: Part, buffer: Buffer, defects: Defects) -> Report | None:
    """Parse the report that a message is, or that a gateway wrapped.

    A report that was forwarded as `message/rfc822` or as an attachment does not count.

    Args:
        root: the message's root part.
        buffer: the message's bytes.
        defects: records if a report is not read completely.

    Returns:
        None if the message is not a report and has no `X-Failed-Recipients`.
    """
    report_part, fields_part = _find_report(root)
    failed_addresses_in_header = _failed_recipients(root.headers)
    if report_part is None and not failed_addresses_in_header:
        return None
    fields_type = (fields_part or report_part).content_type.kind if report_part else ""
    report_part = report_part or root
    fields, recipients = _read_fields(fields_part, buffer, defects) if fields_part else ({}, [])
    kind = _report_kind(report_part, fields_part, by_header=bool(failed_addresses_in_header))
    if kind != "delivery":
        recipients = []
    failed = [recipient for recipient in recipients if _has_failed(recipient)]
    if not any(recipient.address for recipient in failed):
        failed = [ReportedRecipient(address, action="failed") for address in failed_addresses_in_header] or failed
    failed_addresses = {recipient.address for recipient in failed} - {None}
    return Report(
        kind=kind,
        fields_type=fields_type,
        failed=tuple(failed),
        others=tuple(
            recipient
            for recipient in recipients
            if not _has_failed(recipient) and recipient.address not in failed_addresses
        ),
        reporting_mta=parse_host(fields.get("reporting-mta")),
        original_message_id=_original_message_id(report_part, fields, buffer) or _replied_message_id(root.headers),
        disposition=_disposition_type(fields) if kind == "disposition" else None,
    )


def _find_report(root: Part) -> tuple[Part | None, Part | None]:
    """Return the part that is the whole report, and the part within it that holds the fields."""
    if root.content_type.kind in _KINDS:
        return root, root
    wrapped = (child for child in root.children if child.content_type.kind == "multipart/report")
    report_part = root if root.content_type.kind == "multipart/report" else next(wrapped, root)
    proper = report_part.content_type.kind == "multipart/report"
    parts = (
        child
        for child in report_part.children
        if child.content_type.kind in _KINDS and (proper or not _is_attachment(child))
    )
    fields_part = next(parts, None)
    return report_part if proper or fields_part else None, fields_part


def _is_attachment(part: Part) -> bool:
    """Return whether a part is declared an attachment, like a forwarded report. In a proper report it means nothing."""
    texts = part.headers.get_all("content-disposition")
    return bool(texts) and texts[0].lower().lstrip().startswith("attachment")


def _report_kind(report_part: Part, fields_part: Part | None, *, by_header: bool) -> ReportKind:
    if fields_part is not None:
        return _KINDS[fields_part.content_type.kind]
    report_type = (report_part.content_type.token("report-type") or "").lower()
    return _TYPES.get(report_type, "delivery" if by_header else "other")


def _failed_recipients(headers: Headers) -> list[str]:
    """Return the addresses of `X-Failed-Recipients` without repetitions."""
    addresses: dict[str, None] = {}
    for text in headers.get_all("x-failed-recipients"):
        for address in read_list(text, Defects(), recover=False)[0]:
            if normal := normalise(address.address):
                addresses[normal] = None
    return list(addresses)[:MAX_RECIPIENTS]


def _has_failed(recipient: ReportedRecipient) -> bool:
    """Return whether delivery failed, by the action, or by the status if the action is unknown."""
    if recipient.action in _ACTIONS:
        return recipient.action == "failed"
    return (recipient.status or "").startswith("5")


def _read_content(part: Part, buffer: Buffer, limit: int) -> bytes:
    """Return the beginning of a part's decoded content. (Attachments record the defects of its encoding.)"""
    content = bytearray()
    encoding = parse_transfer_encoding(next(iter(part.headers.get_all("content-transfer-encoding")), None))
    for piece in decode_pieces(buffer.pieces(part.start, part.end), encoding, Defects()):
        content += piece
        if len(content) > limit:
            break
    return bytes(content[: limit + 1])


def _read_fields(part: Part, buffer: Buffer, defects: Defects) -> tuple[dict[str, str], list[ReportedRecipient]]:
    """Return the fields of the report as a whole, and its recipients.

    An empty line begins the next recipient, and so does a recipient field that the current recipient already has. Some
    servers omit the empty lines, and some write additional ones.
    """
    data = _read_content(part, buffer, MAX_FIELDS)
    if len(data) > MAX_FIELDS:
        defects.add(f"a report has more than {MAX_FIELDS} bytes of fields: the rest is ignored")
    report: dict[str, str] = {}
    records: list[dict[str, str]] = []
    for separated, name, value in parse_fields(data[:MAX_FIELDS]):
        if name in _REPORT_FIELDS:
            report.setdefault(name, value)
        elif name in _RECIPIENT_FIELDS:
            last = records[-1] if records else None
            if last is None or (
                name in _ADDRESS_FIELDS and (name in last or (separated and last.keys() & _ADDRESS_FIELDS))
            ):
                if len(records) == MAX_RECIPIENTS:
                    defects.add(f"a report has more than {MAX_RECIPIENTS} recipients: the rest is ignored")
                    break
                records.append({})
            records[-1].setdefault(name, value)
    return report, list(dict.fromkeys(map(_to_recipient, records)))


def _to_recipient(record: dict[str, str]) -> ReportedRecipient:
    final, original = parse_address(record.get("final-recipient")), parse_address(record.get("original-recipient"))
    diagnostic = shorten(record.get("diagnostic-code"))
    action = without_comments(record.get("action", "")).lower()
    return ReportedRecipient(
        address=final or original,
        original=original if final and original != final else None,
        action=shorten(action),
        status=find_status(record.get("status"), diagnostic),
        diagnostic=diagnostic,
        remote_mta=parse_host(record.get("remote-mta")),
    )


def _disposition_type(fields: dict[str, str]) -> str | None:
    """Return the type and modifiers of a disposition such as `manual-action/MDN-sent-manually; displayed`."""
    text = without_comments(fields.get("disposition", "")).rpartition(";")[2]
    return shorten("".join(text.lower().split()))


def _original_message_id(report_part: Part, fields: dict[str, str], buffer: Buffer) -> str | None:
    """Return the reported message's ID from the fields, or else from the returned message or its header."""
    reported = fields.get("original-message-id") or fields.get("x-original-message-id")
    if reported and (message_id := _message_id(reported)):
        return message_id
    returned = next((child for child in report_part.children if child.content_type.kind in _RETURNED), None)
    if returned is None:
        return None
    data = _read_content(returned, buffer, MAX_HEADER).lstrip(b"\r\n")
    data = data if b"\n" in data else data.replace(b"\r", b"\n")
    headers, _ = parse_block(_EMPTY_LINE.split(data, maxsplit=1)[0], Defects())
    return next(filter(None, map(_message_id, headers.get_all("message-id"))), None)


def _replied_message_id(headers: Headers) -> str | None:
    """Return the only message that the report replies to; used where no message was returned."""
    message_ids = {message_id for text in headers.get_all("in-reply-to") for message_id in _ID.findall(text)}
    return _message_id(message_ids.pop()) if len(message_ids) == 1 else None


def _message_id(text: str) -> str | None:
    match = _ID.search(text)
    return "".join(decode_words(match[1] if match else text, Defects()).split())[:MAX_VALUE_LENGTH] or None


def parse_fields(data: bytes) -> Iterator[tuple[bool, str, str]]:
    """Parse the fields of a report. Lines that are not fields are skipped.

    Args:
        data: the content of the part.

    Yields:
        Whether an empty line separates the field from the field before, its name in lower case, its value on one line.
    """
    name, value, separated, field_separated = "", b"", False, False
    for line in io.BytesIO(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")):
        if line[:1] in b" \t" and line.strip():
            value = value + line if len(value) < _MAX_RAW else value
            continue
        if name:
            yield field_separated, name, _decode_value(value)
            name = ""
        if match := _FIELD.fullmatch(line):
            name, value, field_separated, separated = match[1].decode("ascii").lower(), match[2], separated, False
        else:
            separated = separated or not line.strip()
    if name:
        yield field_separated, name, _decode_value(value)


def _decode_value(raw: bytes) -> str:
    return " ".join(header_text(raw, Defects())[:_MAX_RAW].split())


def parse_address(value: str | None) -> str | None:
    """Return an address without its type: `rfc822;a@b`, or `utf-8;` with escapes (RFC 6533 section 3).

    The address is normalised; an address of another mail system is returned as written.
    """
    if value is None:
        return None
    kind, text = _split_type(value)
    if kind == "utf-8":
        text = replace_surrogates(_UNICODE.sub(lambda match: _to_character(int(match[1], 16)), text))
    text = without_comments(text)
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    return normalise(text) or shorten(text)


def _to_character(number: int) -> str:
    return chr(number) if number <= _LAST_CHARACTER else "\N{REPLACEMENT CHARACTER}"


def parse_host(value: str | None) -> str | None:
    """Return a server name without its type: `dns; mx.example.com`."""
    return None if value is None else shorten(without_comments(_split_type(value)[1]))


def _split_type(value: str) -> tuple[str, str]:
    match = _TYPED.fullmatch(value)
    return (match[1].lower(), match[2].strip()) if match else ("", value.strip())


def find_status(*values: str | None) -> str | None:
    """Return the first enhanced status code (RFC 3463) from the first value that contains one."""
    return next((match[1] for value in values if value and (match := _STATUS.search(value))), None)


def without_comments(text: str) -> str:
    """Return a value without comments in parentheses (RFC 5322 section 3.2.2)."""
    return "".join(word for kind, word in tokenize(text) if kind != COMMENT).strip() if "(" in text else text.strip()


def shorten(text: str | None) -> str | None:
    """Return a value decoded, without controls, at most `MAX_VALUE_LENGTH` characters long; None if nothing is left."""
    return decode_words(text, Defects())[:MAX_VALUE_LENGTH] or None if text else None
