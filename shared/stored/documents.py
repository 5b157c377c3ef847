"""What sorting writes into the container: the parsed message, its attachments, results and records (rules 7.2 to 7.5).

All of it is create-only, and a document appears after everything that it points to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from shared.mail.as_json import as_json
from shared.mail.message import Attachment, Message
from shared.mail.published import MessageDocument, MessageFields, StoredAttachment
from shared.mailboxes.spool import temporary_file
from shared.receipts import Receipt
from shared.routing.model import Decision, Hint, Match
from shared.storage.protocol import Blobs
from shared.stored.describing import JSON, as_bytes, described, told_time
from shared.stored.layout import Fate, attachment_path, parsed_path, raw_path, record_path
from shared.stored.published import (
    Became,
    BlockedDocument,
    Duplicate,
    DuplicatesDocument,
    EnvelopeFields,
    FailedDocument,
    Original,
    Paths,
    Record,
    RecordWithEnvelope,
    Resolved,
    ResultDocument,
    UnhandledDocument,
)

ENVELOPE_LIMIT = 100
"""Addresses of one header in a result's or record's envelope; `message.json` has them all."""

MOST_DIFFERENT = 5
"""Results of messages with the same Message-ID that a result names; `find` shows all."""

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
        anew: a replay: a record that says something else by now is written over.
    """

    blobs: Blobs
    receipt: Receipt
    message: Message
    conversation: str
    hints: Sequence[Hint] = ()
    anew: bool = False
    _parsed: bool = field(default=False, init=False)
    _told: MessageFields | None = field(default=None, init=False)
    _told_envelope: EnvelopeFields | None = field(default=None, init=False)

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
        result: ResultDocument = {
            "schema": "mailroom/result/1",
            "message": self.receipt.message,
            "arrival": described(self.receipt),
            "route": match.route,
            "recipient": match.recipient,
            "matched": match.matched,
            "reference": match.reference,
            "conversation": self.conversation,
            "in_reply_to": list(self.message.in_reply_to[:ENVELOPE_LIMIT]),
            "references": list(self.message.references[-ENVELOPE_LIMIT:]),
            "hints": [
                {"address": one.address, "where": one.where} for one in list(dict.fromkeys(self.hints))[:ENVELOPE_LIMIT]
            ],
            "automatic": self._as_json()["automatic"],
            "report": self._as_json()["report"],
            "envelope": self._envelope(),
            "paths": self._paths(),
            "replaces": replaces,
            "same_message_id": list(different[:MOST_DIFFERENT]),
        }
        self.blobs.create(path, as_bytes(result), content_type=JSON)

    def unhandled(self, decision: Decision) -> None:
        """Record that nobody gets the message, why, and what was tried (rule 3.6)."""
        assert decision.unhandled is not None
        self._write_parsed()
        record: UnhandledDocument = {
            "schema": "mailroom/unhandled/1",
            **self._record(),
            "reason": decision.unhandled,
            "words": decision.unhandled.words,
            "tried": [{"address": one.address, "route": one.route, "because": one.because} for one in decision.tried],
            "invalid_addresses": list(self.message.invalid_addresses),
            "paths": self._paths(),
        }
        self._write_record("unhandled", record)

    def duplicates(self, duplicates: Sequence[Duplicate]) -> None:
        """Record who had the message before (rule 4.2)."""
        record: DuplicatesDocument = {
            "schema": "mailroom/duplicates/1",
            **self._record(),
            "duplicates": list(duplicates),
        }
        self._write_record("duplicates", record)

    def blocked(self, blocked_by: str) -> None:
        """Record that the sender is blocked, and by which entry (rule 3.7)."""
        record: BlockedDocument = {"schema": "mailroom/blocked/1", **self._record(), "blocked_by": blocked_by}
        self._write_record("blocked", record)

    def _record(self) -> RecordWithEnvelope:
        return {**_record(self.receipt), "envelope": self._envelope()}

    def _write_record(self, fate: Fate, record: Record) -> None:
        receipt = self.receipt
        path = record_path(fate, receipt.mailbox, receipt.stored_at, receipt.message, receipt.arrival)
        write = write_anew if self.anew else create_record
        write(self.blobs, path, as_bytes(record))

    def _write_parsed(self) -> None:
        if self._parsed:
            return
        message = self.receipt.message
        for attachment in self.message.attachments:
            self._write_attachment(attachment)
        parsed = self._as_json()
        attachments: list[StoredAttachment] = [
            {**one, "path": path} for one, path in zip(parsed["attachments"], self._attachment_paths(), strict=True)
        ]
        told: MessageDocument = {
            "schema": "mailroom/message/1",
            "id": message,
            "raw": raw_path(message),
            **parsed,
            "attachments": attachments,
        }
        self.blobs.create(parsed_path(message), as_bytes(told), content_type=JSON)
        # A result must never be there without what it points to, a power failure between the two included.
        self.blobs.settle()
        self._parsed = True

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

    def _attachment_paths(self) -> list[str]:
        message = self.receipt.message
        return [attachment_path(message, one.number, one.safe_name) for one in self.message.attachments]

    def _paths(self) -> Paths:
        message = self.receipt.message
        return {"raw": raw_path(message), "message": parsed_path(message), "attachments": self._attachment_paths()}

    def _envelope(self) -> EnvelopeFields:
        """What consumers sort by. Long lists are cut: every recipient's result holds it, and there may be thousands."""
        if self._told_envelope is None:
            parsed = self._as_json()
            self._told_envelope = {
                "from": parsed["from"][:ENVELOPE_LIMIT],
                "to": parsed["to"][:ENVELOPE_LIMIT],
                "cc": parsed["cc"][:ENVELOPE_LIMIT],
                "subject": parsed["subject"],
                "sent": parsed["sent"],
                "message_id": parsed["message_id"],
            }
        return self._told_envelope

    def _as_json(self) -> MessageFields:
        if self._told is None:
            self._told = as_json(self.message)
        return self._told


def failed_record(receipt: Receipt, error: str) -> bytes:
    """The record of an arrival that could not be routed (rule 8.4).

    Args:
        receipt: the arrival's.
        error: why the last try failed, in words.
    """
    record: FailedDocument = {"schema": "mailroom/failed/1", **_record(receipt), "error": error}
    return as_bytes(record)


def create_record(blobs: Blobs, path: str, data: bytes) -> None:
    """Write a record; one that is there already is an earlier try's."""
    blobs.create(path, data, content_type=JSON)


def write_anew(blobs: Blobs, path: str, data: bytes) -> None:
    """Write a record; over the one that is there, if that says something else.

    Raises:
        RecordChanged: another replay writes the same record now.
    """
    if blobs.create(path, data, content_type=JSON):
        return
    version = blobs.version(path)
    if version is not None and version.data != data:
        blobs.replace(path, data, etag=version.etag, content_type=JSON)


def marked(data: bytes, *, at: datetime, became: Became, results: Sequence[str]) -> bytes:
    """A record, marked as resolved.

    Args:
        data: the record as it is.
        at: when a replay resolved it.
        became: what became of its arrival then.
        results: the paths of the arrival's results.
    """
    resolved: Resolved = {"at": told_time(at), "became": became, "results": list(results)}
    return as_bytes({**json.loads(data), "resolved": resolved})


def _record(receipt: Receipt) -> Record:
    return {"message": receipt.message, "arrival": described(receipt), "resolved": None}
