"""What sorting writes into the container: the parsed message, its attachments, results and records (rules 7.2 to 7.5).

All of it is create-only, and a document appears after everything that it points to.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.arriving import as_bytes, described
from shared.layout import Fate, attachment_path, parsed_path, raw_path, record_path
from shared.mail.as_json import as_json
from shared.mail.message import Attachment, Message
from shared.mailboxes.spool import PREFIX
from shared.receipts import Receipt
from shared.routing.model import Decision, Hint, Match
from shared.storage.protocol import Blobs

JSON = "application/json"

ENVELOPE_LIMIT = 100
"""Addresses of one header in a result's or record's envelope; `message.json` has them all."""

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
    """

    blobs: Blobs
    receipt: Receipt
    message: Message
    conversation: str
    hints: Sequence[Hint] = ()
    _parsed: bool = field(default=False, init=False)
    _told: dict[str, object] | None = field(default=None, init=False)
    _told_envelope: dict[str, object] | None = field(default=None, init=False)

    def result(self, match: Match, path: str) -> None:
        """Write the result of one recipient: complete in itself (rule 7.4), and its appearance is the event.

        Args:
            match: the recipient and its route.
            path: where; as the claim has it.
        """
        self._write_parsed()
        result = {
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
            "hints": [{"address": one.address, "where": one.where} for one in self.hints[:ENVELOPE_LIMIT]],
            "automatic": self._as_json()["automatic"],
            "report": self._as_json()["report"],
            "envelope": self._envelope(),
            "paths": self._paths(),
        }
        self.blobs.create(path, as_bytes(result), content_type=JSON)

    def unhandled(self, decision: Decision) -> None:
        """Record that nobody gets the message, why, and what was tried (rule 3.6)."""
        assert decision.unhandled is not None
        self._write_parsed()
        tried = [{"address": one.address, "route": one.route, "because": one.because} for one in decision.tried]
        self.record(
            "unhandled",
            {
                "reason": decision.unhandled.value,
                "words": decision.unhandled.words,
                "tried": tried,
                "invalid_addresses": list(self.message.invalid_addresses),
                "paths": self._paths(),
            },
        )

    def record(self, fate: Fate, told: Mapping[str, object]) -> None:
        """Record what became of an arrival that has no result, or not for every recipient."""
        receipt = self.receipt
        path = record_path(fate, receipt.mailbox, receipt.stored_at, receipt.message, receipt.arrival)
        record = {
            "schema": f"mailroom/{fate}/1",
            "message": receipt.message,
            "arrival": described(receipt),
            **told,
            "envelope": self._envelope(),
        }
        self.blobs.create(path, as_bytes(record), content_type=JSON)

    def _write_parsed(self) -> None:
        if self._parsed:
            return
        message = self.receipt.message
        for attachment in self.message.attachments:
            self._write_attachment(attachment)
        parsed = dict(self._as_json())
        paths = self._attachment_paths()
        listed = parsed["attachments"]
        assert isinstance(listed, list)
        parsed["attachments"] = [{**one, "path": path} for one, path in zip(listed, paths, strict=True)]
        told = {"schema": "mailroom/message/1", "id": message, "raw": raw_path(message), **parsed}
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
        with tempfile.NamedTemporaryFile(prefix=PREFIX, suffix=".eml") as file:
            for chunk in attachment.chunks():
                file.write(chunk)
            file.flush()
            decoded = Path(file.name)
            self.blobs.create(path, decoded, content_type=content_type, download_name=attachment.safe_name)

    def _attachment_paths(self) -> list[str]:
        message = self.receipt.message
        return [attachment_path(message, one.number, one.safe_name) for one in self.message.attachments]

    def _paths(self) -> dict[str, object]:
        message = self.receipt.message
        return {"raw": raw_path(message), "message": parsed_path(message), "attachments": self._attachment_paths()}

    def _envelope(self) -> dict[str, object]:
        """What consumers sort by. Long lists are cut: every recipient's result holds it, and there may be thousands."""
        if self._told_envelope is None:
            parsed = self._as_json()
            self._told_envelope = {name: parsed[name] for name in ("from", "to", "cc", "subject", "sent", "message_id")}
            for name in ("from", "to", "cc"):
                addresses = parsed[name]
                assert isinstance(addresses, list)
                self._told_envelope[name] = addresses[:ENVELOPE_LIMIT]
        return self._told_envelope

    def _as_json(self) -> dict[str, object]:
        if self._told is None:
            self._told = as_json(self.message)
        return self._told
