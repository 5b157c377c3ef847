"""What sorting writes into the container: the parsed message, its attachments, results and records (rules 7.2 to 7.5).

All of it is create-only, and a document appears after everything that it points to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import cast
from zipfile import ZipFile, ZipInfo

from shared.documents.as_json import message_fields
from shared.documents.blob_paths import (
    RecordKind,
    archive_path,
    attachment_path,
    member_name,
    parsed_path,
    raw_path,
    record_path,
)
from shared.documents.describing import JSON, format_time, to_bytes, to_document
from shared.documents.message_document import Attachment as AttachmentFields
from shared.documents.message_document import MessageDocument, MessageFields, StoredAttachment
from shared.documents.schema import (
    BlockedDocument,
    CommonFields,
    Duplicate,
    DuplicatesDocument,
    FailedDocument,
    Original,
    Outcome,
    Record,
    RecordWithEnvelope,
    Resolved,
    ResultDocument,
    UnhandledDocument,
)
from shared.documents.size_limits import fit, shorten_lists
from shared.mailboxes.spool import temporary_file
from shared.mime.parser import Attachment, Message
from shared.receipts import Receipt
from shared.routing.model import Decision, EnvelopeHint, Match, TriedRoute, Unhandled
from shared.storage.base import Blobs

RESULT_LIMIT = 3584
"""Bytes of a result, and of a record beside what its message and its duplicates take: a message has up to 200 results.

A recipient costs at most 4 kB with it.
"""

PARSED_TIMES = 4
"""How many times the size of the message `message.json` may have."""

SMALL, FIXED, PER_ATTACHMENT = 64 * 1024, 1024, 512
"""A message of fewer bytes may have these more in `message.json`: the fields' names, and each attachment's entry."""

PER_DUPLICATE = 1024
"""Bytes of a record for each duplicate: two ids, a path and a recipient."""

REPEATED_LIMIT = 2560
"""Bytes of what all results of a message have alike."""

LARGEST_MEMBER = 1024**3
"""Bytes above which a member of a ZIP file is written with 64-bit sizes: the format's own limit is 4 GB."""

MOST_DIFFERENT = 3
"""Results of messages with the same Message-ID that a result names; `find` shows all."""

PER_DIFFERENT = 384
"""Bytes of a result for each of these: two ids and a path. What results have alike takes so much less."""

LARGE = 1024 * 1024
"""Octets above which an attachment is decoded into a file instead of into memory."""


@dataclass(slots=True)
class Documents:
    """Writes the documents of one arrival.

    Attributes:
        blobs: where to.
        receipt: the arrival's.
        message: the parsed message.
        conversation: the id of the first message of its thread that was seen.
        hints: whom the receiving server says that it is for.
        rewrite: a replay or a retry: a record that says something else by now is written over.
        max_attachments: attachments that are blobs of their own.
        unserved: recipients beyond the limit of recipients.
    """

    blobs: Blobs
    receipt: Receipt
    message: Message
    conversation: str
    hints: Sequence[EnvelopeHint] = ()
    rewrite: bool = False
    max_attachments: int = 200
    unserved: Sequence[str] = ()
    _parsed: bool = field(default=False, init=False)
    _told: MessageFields | None = field(default=None, init=False)
    _told_repeatedly: CommonFields | None = field(default=None, init=False)

    def result(
        self, match: Match, path: str, *, replaces: str | None = None, different: Sequence[Original] = ()
    ) -> None:
        """Write the result of one recipient: complete in itself (rule 7.4), and its appearance is the event.

        Args:
            match: the recipient and its route.
            path: where; as the claim has it.
            replaces: the path of the result that this one is written in place of, by a replay.
            different: the results of messages with the same Message-ID and another body.
        """
        self._write_parsed()
        listed = list(different[:MOST_DIFFERENT])
        repeated: Mapping[str, object] = self._repeated()
        if listed:
            repeated = shorten_lists(repeated, REPEATED_LIMIT - PER_DIFFERENT * len(listed))
        result: ResultDocument = {
            "schema": "mailroom/result/1",
            "message": self.receipt.message,
            "arrival": to_document(self.receipt),
            "route": match.route,
            "recipient": match.recipient,
            "matched": match.matched,
            "reference": match.reference,
            "conversation": self.conversation,
            "replaces": replaces,
            "same_message_id": listed,
            **cast(CommonFields, repeated),
        }
        self.blobs.create(path, fit(result, RESULT_LIMIT), content_type=JSON)

    def unhandled(self, decision: Decision) -> None:
        """Record that the message has no result, why, and what was tried (rule 3.6)."""
        assert decision.unhandled is not None
        self._write_unhandled(decision.unhandled, decision.tried, ())

    def too_many_recipients(self, unserved: Sequence[str]) -> None:
        """Record the recipients that have no result since others before them took all that a message may have."""
        self._write_unhandled(Unhandled.TOO_MANY_RECIPIENTS, (), unserved)

    def _write_unhandled(self, reason: Unhandled, tried: Sequence[TriedRoute], recipients: Sequence[str]) -> None:
        self._write_parsed()
        record: UnhandledDocument = {
            "schema": "mailroom/unhandled/1",
            **self._record(),
            "reason": reason,
            "detail": reason.detail,
            "tried": [{"address": one.address, "route": one.route, "reason": one.reason} for one in tried],
            "recipients": list(recipients),
            "invalid_addresses": list(self.message.invalid_recipients),
            "paths": self._repeated()["paths"],
        }
        self._write_record("unhandled", record)

    def duplicates(self, duplicates: Sequence[Duplicate]) -> None:
        """Record who had the message before (rule 4.2)."""
        record: DuplicatesDocument = {
            "schema": "mailroom/duplicates/1",
            **self._record(),
            "duplicates": list(duplicates),
        }
        self._write_record("duplicates", record, more=PER_DUPLICATE * len(duplicates))

    def blocked(self, blocked_by: str) -> None:
        """Record that the sender is blocked, and by which entry (rule 3.7)."""
        record: BlockedDocument = {"schema": "mailroom/blocked/1", **self._record(), "blocked_by": blocked_by}
        self._write_record("blocked", record)

    def _record(self) -> RecordWithEnvelope:
        repeated = self._repeated()
        return {**_record(self.receipt), "envelope": repeated["envelope"], "truncated": self._truncated("envelope")}

    def _truncated(self, name: str) -> list[str]:
        return [one for one in self._repeated()["truncated"] if one.startswith(name)]

    def _write_record(self, fate: RecordKind, record: Record, *, more: int = 0) -> None:
        receipt = self.receipt
        path = record_path(fate, receipt.mailbox, receipt.stored_at, receipt.message, receipt.arrival)
        write = overwrite_record if self.rewrite else create_record
        write(self.blobs, path, fit(record, RESULT_LIMIT + self.message.size + more))

    def _write_parsed(self) -> None:
        if self._parsed:
            return
        message, attachments = self.receipt.message, self.message.attachments
        for attachment in attachments[: self.max_attachments]:
            self._write_attachment(attachment)
        if self._archive is not None:
            self._write_archive(self._archive, attachments[self.max_attachments :])
        parsed = self._as_json()
        told: MessageDocument = {
            "schema": "mailroom/message/1",
            "id": message,
            "raw": raw_path(message),
            **parsed,
            "attachments": [self._stored(*pair) for pair in zip(parsed["attachments"], attachments, strict=True)],
            "truncated": [],
        }
        if self.unserved:
            told["defects"] = [
                *told["defects"],
                f"{len(self.unserved)} recipients beyond MAX_RECIPIENTS have no result",
            ]
        size = self.message.size
        limit = PARSED_TIMES * size
        if size < SMALL:
            limit += FIXED + PER_ATTACHMENT * min(len(attachments), self.max_attachments)
        self.blobs.create(parsed_path(message), fit(told, limit), content_type=JSON)
        # A result must never be there without what it points to, a power failure between the two included.
        self.blobs.flush()
        self._parsed = True

    def _stored(self, fields: AttachmentFields, attachment: Attachment) -> StoredAttachment:
        if attachment.number <= self.max_attachments or self._archive is None:
            return {**fields, "path": self._attachment_path(attachment), "member": None}
        return {**fields, "path": self._archive, "member": member_name(attachment.number, attachment.safe_name)}

    @property
    def _archive(self) -> str | None:
        """The path of the ZIP file of the attachments that have no blob of their own; None if all have one."""
        return archive_path(self.receipt.message) if len(self.message.attachments) > self.max_attachments else None

    def _write_archive(self, path: str, attachments: Sequence[Attachment]) -> None:
        """Write attachments into one ZIP file, uncompressed and without times: the same bytes at each try."""
        file = temporary_file()
        try:
            with file.writer() as written, ZipFile(written, "w") as archive:
                for attachment in attachments:
                    member = ZipInfo(member_name(attachment.number, attachment.safe_name))
                    with archive.open(member, "w", force_zip64=attachment.size > LARGEST_MEMBER) as content:
                        for chunk in attachment.chunks():
                            content.write(chunk)
            self.blobs.create(path, Path(file.path), content_type="application/zip", download_name="attachments.zip")
        finally:
            file.remove()

    def _write_attachment(self, attachment: Attachment) -> None:
        path = attachment_path(self.receipt.message, attachment.number, attachment.safe_name)
        # Never the type that the sender names: opening it from the storage must run nothing (rule 7.5).
        content_type = "application/octet-stream"
        if attachment.size <= LARGE:
            data = b"".join(attachment.chunks())
            self.blobs.create(path, data, content_type=content_type, download_name=attachment.safe_name)
            return
        file = temporary_file()
        try:
            with file.writer() as decoded:
                for chunk in attachment.chunks():
                    decoded.write(chunk)
            self.blobs.create(path, Path(file.path), content_type=content_type, download_name=attachment.safe_name)
        finally:
            file.remove()

    def _attachment_path(self, attachment: Attachment) -> str:
        return attachment_path(self.receipt.message, attachment.number, attachment.safe_name)

    def _repeated(self) -> CommonFields:
        """Return what every result of the message has: there may be hundreds, so its size is bounded."""
        if self._told_repeatedly is None:
            parsed, message = self._as_json(), self.receipt.message
            apart = self.message.attachments[: self.max_attachments]
            whole: CommonFields = {
                "in_reply_to": parsed["thread"]["in_reply_to"],
                "references": parsed["thread"]["references"],
                "hints": [{"address": one.address, "where": one.where} for one in dict.fromkeys(self.hints)],
                "automatic": parsed["automatic"],
                "report": self.message.report.kind if self.message.report else None,
                "envelope": {
                    "from": parsed["from"],
                    "to": parsed["to"],
                    "cc": parsed["cc"],
                    "subject": parsed["subject"],
                    "sent": parsed["sent"],
                    "message_id": parsed["message_id"],
                },
                "attachments": len(parsed["attachments"]),
                "paths": {
                    "raw": raw_path(message),
                    "message": parsed_path(message),
                    "attachments": [self._attachment_path(attachment) for attachment in apart],
                    "archive": self._archive,
                },
                "truncated": [],
            }
            self._told_repeatedly = cast(CommonFields, shorten_lists(whole, REPEATED_LIMIT))
        return self._told_repeatedly

    def _as_json(self) -> MessageFields:
        if self._told is None:
            self._told = message_fields(self.message)
        return self._told


def failed_record(receipt: Receipt, error: str) -> bytes:
    """The record of an arrival that could not be routed (rule 8.4).

    Args:
        receipt: the arrival's.
        error: why the last try failed, in words.
    """
    record: FailedDocument = {"schema": "mailroom/failed/1", **_record(receipt), "error": error}
    return to_bytes(record)


def create_record(blobs: Blobs, path: str, data: bytes) -> None:
    """Write a record; one that is there already is an earlier try's."""
    blobs.create(path, data, content_type=JSON)


def overwrite_record(blobs: Blobs, path: str, data: bytes) -> None:
    """Write a record; over the one that is there, if that says something else.

    Raises:
        WriteConflict: another replay writes the same record now.
    """
    if blobs.create(path, data, content_type=JSON):
        return
    version = blobs.read_version(path)
    if version is not None and version.data != data:
        blobs.replace(path, data, etag=version.etag, content_type=JSON)


def marked(data: bytes, *, at: datetime, outcome: Outcome, results: Sequence[str]) -> bytes:
    """A record, marked as resolved.

    Args:
        data: the record as it is.
        at: when a replay resolved it.
        outcome: the outcome of its arrival then.
        results: the paths of the arrival's results.
    """
    resolved: Resolved = {"at": format_time(at), "outcome": outcome, "results": list(results)}
    return to_bytes({**json.loads(data), "resolved": resolved})


def _record(receipt: Receipt) -> Record:
    return {"message": receipt.message, "arrival": to_document(receipt), "resolved": None}
