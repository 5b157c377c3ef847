"""Write the documents of an arrival: the parsed message, its attachments, results and records (rules 7.2 to 7.5).

All writes are create-only, except to records. A message's attachments and `message.json` are written in any order, and
are durable before a result or record refers to them.

Documents have a bounded size (shared/documents/size_limits.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast
from zipfile import ZipFile, ZipInfo

from shared.config import MailProtocol
from shared.documents.blob_paths import (
    RecordKind,
    archive_path,
    attachment_path,
    member_name,
    parsed_path,
    raw_path,
    record_path,
)
from shared.documents.message_document import Attachment as AttachmentFields
from shared.documents.message_document import MessageDocument, MessageFields, StoredAttachment, message_fields
from shared.documents.schema import (
    ArrivalFields,
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
from shared.documents.serialization import to_bytes
from shared.documents.size_limits import fit, shorten_lists
from shared.mailboxes.spool import temporary_file
from shared.mime.parser import Attachment, Message
from shared.receipts import Receipt
from shared.routing.model import Decision, EnvelopeHint, Match, TriedRoute, Unhandled
from shared.storage.base import Blobs, NewBlob

JSON: Final = "application/json"
"""The content type of all documents."""

RESULT_LIMIT = 3584
"""Bytes of a result, and of a record apart from its message and its duplicates. A message has up to 200 results.

With it, a recipient costs at most 4 kB.
"""

MESSAGE_SIZE_FACTOR = 4
"""How many times the size of the message `message.json` may have."""

SMALL_MESSAGE, FIELD_NAMES_SIZE, ATTACHMENT_ENTRY_SIZE = 64 * 1024, 1024, 512
"""For a message below the first size, `message.json` may have the second size more, and the third per attachment."""

DUPLICATE_SIZE = 1024
"""Bytes of a record for each duplicate: two ids, a path and a recipient."""

COMMON_FIELDS_LIMIT = 2560
"""Bytes of the fields that all results of a message share."""

ZIP64_SIZE = 1024**3
"""Bytes above which a member of a ZIP file is written with 64-bit sizes: the format's own limit is 4 GB."""

MAX_SAME_MESSAGE_ID = 3
"""Results of different messages with the same Message-ID that a result names; `find` shows all."""

SAME_MESSAGE_ID_SIZE = 384
"""Bytes of a result for each of these: two ids and a path. The common fields get so much less room."""

MAX_ATTACHMENT_IN_MEMORY = 1024 * 1024
"""Bytes above which an attachment is decoded into a file instead of into memory."""

MAX_TOGETHER = 4 * 1024 * 1024
"""Bytes of a message's attachments that are created together, and so are in memory together; others follow in turn."""

_REST = "the rest"
"""All that `write_rest` writes, as one entry of the paths that are not written yet."""


@dataclass(slots=True)
class DocumentWriter:
    """Writes the documents of one arrival.

    The caller creates the blobs of the message, calls `write_rest`, flushes the blobs, and only then writes results, or
    the record of an unhandled message: these refer to the message, and must not survive a power failure without it.

    Attributes:
        blobs: where they are written.
        receipt: the arrival's.
        message: the parsed message.
        hints: the envelope recipients.
        overwrites_records: whether a record with other content is overwritten: for a replay or a retry.
        max_attachments: attachments that are blobs of their own.
        unserved: recipients beyond MAX_RECIPIENTS.
    """

    blobs: Blobs
    receipt: Receipt
    message: Message
    hints: Sequence[EnvelopeHint] = ()
    overwrites_records: bool = False
    max_attachments: int = 200
    unserved: Sequence[str] = ()
    _unwritten: set[str] | None = field(default=None, init=False)
    _rest: list[Attachment] = field(default_factory=list, init=False)
    _message_fields_cache: MessageFields | None = field(default=None, init=False)
    _common_fields_cache: CommonFields | None = field(default=None, init=False)

    def message_blobs(self) -> list[NewBlob]:
        """Return `message.json`, and the attachments that are small enough; none if called before.

        The caller creates them together with those of other messages, then calls `accept_message`. `write_rest` writes
        the others. At most `MAX_TOGETHER` bytes of attachments are in memory at once.
        """
        if self._unwritten is not None:
            return []
        blobs = [self._message_blob()]
        size = 0
        for attachment in self.message.attachments[: self.max_attachments]:
            if attachment.size <= MAX_ATTACHMENT_IN_MEMORY and size + attachment.size <= MAX_TOGETHER:
                size += attachment.size
                blobs.append(self._attachment_blob(attachment))
            else:
                self._rest.append(attachment)
        self._unwritten = {blob.path for blob in blobs}
        if self._rest or self._archive is not None:
            self._unwritten.add(_REST)
        return blobs

    def accept_message(self) -> None:
        """Take note that all that `message_blobs` returned exists."""
        assert self._unwritten is not None
        self._unwritten &= {_REST}

    @property
    def has_rest(self) -> bool:
        """Whether `write_rest` has to be called."""
        return self._unwritten is not None and _REST in self._unwritten

    def write_rest(self) -> None:
        """Write the attachments that `message_blobs` did not return, then the archive: one file at a time on the disk.

        May be called again after an error: it creates the same blobs.
        """
        for attachment in self._rest:
            self._write_attachment(attachment)
        if self._archive is not None:
            self._write_archive(self._archive, self.message.attachments[self.max_attachments :])
        assert self._unwritten is not None
        self._unwritten.discard(_REST)

    def _check_message_written(self) -> None:
        """Raise an error unless all that a result refers to was written."""
        if self._unwritten is None or self._unwritten:
            raise RuntimeError(
                f"message {self.receipt.message}: a result or record must not be written before the blobs of the "
                f"message ({'not requested' if self._unwritten is None else f'{len(self._unwritten)} missing'})"
            )

    def result_blob(
        self,
        match: Match,
        path: str,
        *,
        conversation: str,
        replaces: str | None = None,
        different: Sequence[Original] = (),
    ) -> NewBlob:
        """Return the result of one recipient. It is complete in itself (rule 7.4), and its creation is the event.

        Args:
            match: the recipient and its route.
            path: the path in the claim.
            conversation: the id of the first message seen of its thread.
            replaces: the path of the result that this one replaces after a replay.
            different: the results of messages with the same Message-ID and another body.

        Raises:
            RuntimeError: a blob of the message has not been written.
        """
        self._check_message_written()
        same_message_id = list(different[:MAX_SAME_MESSAGE_ID])
        common: Mapping[str, object] = self._common_fields()
        if same_message_id:
            common = shorten_lists(common, COMMON_FIELDS_LIMIT - SAME_MESSAGE_ID_SIZE * len(same_message_id))
        result: ResultDocument = {
            "schema": "mailroom/result/1",
            "message": self.receipt.message,
            "arrival": to_document(self.receipt),
            "route": match.route,
            "recipient": match.recipient,
            "matched": match.matched,
            "reference": match.reference,
            "conversation": conversation,
            "replaces": replaces,
            "same_message_id": same_message_id,
            **cast(CommonFields, common),
        }
        return NewBlob(path, fit(result, RESULT_LIMIT), JSON)

    def write_unhandled(self, decision: Decision) -> None:
        """Record that the message has no result, why, and which routes were tried (rule 3.6).

        Raises:
            RuntimeError: a blob of the message has not been written.
        """
        assert decision.unhandled is not None
        self._write_unhandled(decision.unhandled, decision.tried, ())

    def write_unserved(self, unserved: Sequence[str]) -> None:
        """Record the recipients that have no result because the message has more than MAX_RECIPIENTS.

        Raises:
            RuntimeError: a blob of the message has not been written.
        """
        self._write_unhandled(Unhandled.TOO_MANY_RECIPIENTS, (), unserved)

    def _write_unhandled(self, reason: Unhandled, tried: Sequence[TriedRoute], recipients: Sequence[str]) -> None:
        self._check_message_written()
        record: UnhandledDocument = {
            "schema": "mailroom/unhandled/1",
            **self._record_fields(),
            "reason": reason,
            "detail": reason.detail,
            "tried": [{"address": route.address, "route": route.route, "reason": route.reason} for route in tried],
            "recipients": list(recipients),
            "invalid_addresses": list(self.message.invalid_recipients),
            "paths": self._common_fields()["paths"],
        }
        self._write_record("unhandled", record)

    def write_duplicates(self, duplicates: Sequence[Duplicate]) -> None:
        """Record the recipients that had the message already (rule 4.2)."""
        record: DuplicatesDocument = {
            "schema": "mailroom/duplicates/1",
            **self._record_fields(),
            "duplicates": list(duplicates),
        }
        self._write_record("duplicates", record, additional_size=DUPLICATE_SIZE * len(duplicates))

    def write_blocked(self, blocked_by: str) -> None:
        """Record that the sender is blocked, and by which entry (rule 3.7)."""
        record: BlockedDocument = {"schema": "mailroom/blocked/1", **self._record_fields(), "blocked_by": blocked_by}
        self._write_record("blocked", record)

    def _record_fields(self) -> RecordWithEnvelope:
        common = self._common_fields()
        truncated = [name for name in common["truncated"] if name.startswith("envelope")]
        return {**_record_fields(self.receipt), "envelope": common["envelope"], "truncated": truncated}

    def _write_record(self, kind: RecordKind, record: Record, *, additional_size: int = 0) -> None:
        receipt = self.receipt
        path = record_path(kind, receipt.mailbox, receipt.stored_at, receipt.message, receipt.arrival)
        write = overwrite_record if self.overwrites_records else create_record
        write(self.blobs, path, fit(record, RESULT_LIMIT + self.message.size + additional_size))

    def _message_blob(self) -> NewBlob:
        """Return `message.json`."""
        message, attachments = self.receipt.message, self.message.attachments
        fields = self._message_fields()
        document: MessageDocument = {
            "schema": "mailroom/message/1",
            "id": message,
            "raw": raw_path(message),
            **fields,
            "attachments": [self._stored(*pair) for pair in zip(fields["attachments"], attachments, strict=True)],
            "truncated": [],
        }
        if self.unserved:
            document["defects"] = [
                *document["defects"],
                f"{len(self.unserved)} recipients beyond MAX_RECIPIENTS have no result",
            ]
        size = self.message.size
        limit = MESSAGE_SIZE_FACTOR * size
        if size < SMALL_MESSAGE:
            limit += FIELD_NAMES_SIZE + ATTACHMENT_ENTRY_SIZE * min(len(attachments), self.max_attachments)
        return NewBlob(parsed_path(message), fit(document, limit), JSON)

    def _stored(self, fields: AttachmentFields, attachment: Attachment) -> StoredAttachment:
        if attachment.number <= self.max_attachments or self._archive is None:
            return {**fields, "path": self._attachment_path(attachment), "member": None}
        return {**fields, "path": self._archive, "member": member_name(attachment.number, attachment.safe_name)}

    @property
    def _archive(self) -> str | None:
        """The path of the ZIP file of the attachments that have no blob of their own; None if all have one."""
        return archive_path(self.receipt.message) if len(self.message.attachments) > self.max_attachments else None

    def _write_archive(self, path: str, attachments: Sequence[Attachment]) -> None:
        """Write attachments into one ZIP file, uncompressed and without times: the same bytes at each attempt."""
        file = temporary_file()
        try:
            with file.writer() as target, ZipFile(target, "w") as archive:
                for attachment in attachments:
                    member = ZipInfo(member_name(attachment.number, attachment.safe_name))
                    with archive.open(member, "w", force_zip64=attachment.size > ZIP64_SIZE) as content:
                        for chunk in attachment.chunks():
                            content.write(chunk)
            self.blobs.create(path, Path(file.path), content_type="application/zip", download_name="attachments.zip")
        finally:
            file.remove()

    def _write_attachment(self, attachment: Attachment) -> None:
        if attachment.size <= MAX_ATTACHMENT_IN_MEMORY:
            self.blobs.create_many([self._attachment_blob(attachment)])
            return
        file = temporary_file()
        try:
            with file.writer() as target:
                for chunk in attachment.chunks():
                    target.write(chunk)
            self.blobs.create_many([self._attachment_blob(attachment, Path(file.path))])
        finally:
            file.remove()

    def _attachment_blob(self, attachment: Attachment, file: Path | None = None) -> NewBlob:
        data = b"".join(attachment.chunks()) if file is None else file
        # Never the type that the sender declares: a browser that opens the blob must not execute it (rule 7.5).
        return NewBlob(self._attachment_path(attachment), data, "application/octet-stream", attachment.safe_name)

    def _attachment_path(self, attachment: Attachment) -> str:
        return attachment_path(self.receipt.message, attachment.number, attachment.safe_name)

    def _common_fields(self) -> CommonFields:
        """Return the fields that all results of the message share. A message may have hundreds, so they are bounded."""
        if self._common_fields_cache is None:
            fields, message = self._message_fields(), self.receipt.message
            with_own_blob = self.message.attachments[: self.max_attachments]
            common: CommonFields = {
                "in_reply_to": fields["thread"]["in_reply_to"],
                "references": fields["thread"]["references"],
                "hints": [{"address": hint.address, "where": hint.where} for hint in dict.fromkeys(self.hints)],
                "automatic": fields["automatic"],
                "report": self.message.report.kind if self.message.report else None,
                "envelope": {
                    "from": fields["from"],
                    "to": fields["to"],
                    "cc": fields["cc"],
                    "subject": fields["subject"],
                    "sent": fields["sent"],
                    "message_id": fields["message_id"],
                },
                "attachments": len(fields["attachments"]),
                "paths": {
                    "raw": raw_path(message),
                    "message": parsed_path(message),
                    "attachments": [self._attachment_path(attachment) for attachment in with_own_blob],
                    "archive": self._archive,
                },
                "truncated": [],
            }
            self._common_fields_cache = cast(CommonFields, shorten_lists(common, COMMON_FIELDS_LIMIT))
        return self._common_fields_cache

    def _message_fields(self) -> MessageFields:
        if self._message_fields_cache is None:
            self._message_fields_cache = message_fields(self.message)
        return self._message_fields_cache


def to_document(receipt: Receipt) -> ArrivalFields:
    """Return an arrival's fields in results and records."""
    return {
        "id": receipt.arrival,
        "mailbox": receipt.mailbox,
        "protocol": MailProtocol(receipt.protocol).value,
        "folder": receipt.folder,
        "server_key": receipt.server_key,
        "received": format_time(receipt.received) if receipt.received else None,
        "stored": format_time(receipt.stored_at),
    }


def _record_fields(receipt: Receipt) -> Record:
    return {"message": receipt.message, "arrival": to_document(receipt), "resolved": None}


def to_failed_record(receipt: Receipt, error: str) -> bytes:
    """Return the record of an arrival that could not be routed (rule 8.4).

    Args:
        receipt: the arrival's.
        error: why the last attempt failed.
    """
    record: FailedDocument = {"schema": "mailroom/failed/1", **_record_fields(receipt), "error": error}
    return to_bytes(record)


def to_resolved_record(data: bytes, *, at: datetime, outcome: Outcome, results: Sequence[str]) -> bytes:
    """Return a record, marked as resolved.

    Args:
        data: the record as it is stored.
        at: when a replay resolved it.
        outcome: the arrival's new outcome.
        results: the paths of the arrival's results.
    """
    resolved: Resolved = {"at": format_time(at), "outcome": outcome, "results": list(results)}
    return to_bytes({**json.loads(data), "resolved": resolved})


def create_record(blobs: Blobs, path: str, data: bytes) -> None:
    """Write a record. An existing one is from an earlier attempt and stays."""
    blobs.create(path, data, content_type=JSON)


def overwrite_record(blobs: Blobs, path: str, data: bytes) -> None:
    """Write a record, over an existing one with other content.

    Raises:
        WriteConflict: another replay writes the same record now.
    """
    if blobs.create(path, data, content_type=JSON):
        return
    version = blobs.read_version(path)
    if version is not None and version.data != data:
        blobs.replace(path, data, etag=version.etag, content_type=JSON)


def format_time(time: datetime) -> str:
    """Return a time in the format of all documents: ISO 8601, UTC, to the second."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
