"""The parsed message (rule 7.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from shared.mime.address_list import Address, Author
from shared.mime.automatic_mail import Kind
from shared.mime.buffer import Buffer
from shared.mime.defects import Defects
from shared.mime.reports import Report
from shared.mime.tnef import slice_pieces
from shared.mime.transfer_encoding import decode_pieces

__all__ = ["Address", "Attachment", "Author", "Importance", "Kind", "Message", "Report"]

Importance = Literal["high", "normal", "low"]

_CHUNK_SIZE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Attachment:
    """An attachment of a message.

    Attributes:
        number: position among the message's attachments, from 1.
        name: decoded file name as sent, or "".
        safe_name: file name that is valid in any file system and unique in the message (rule 7.5).
        content_type: declared type in lower case, without parameters.
        size: decoded size in bytes.
        sha256: hex digest of the decoded content.
        disposition: `inline` if the text shows the attachment in its place.
        content_id: Content-ID without angle brackets, or None.
    """

    number: int
    name: str
    safe_name: str
    content_type: str
    size: int
    sha256: str
    disposition: Literal["attachment", "inline"]
    content_id: str | None
    _buffer: Buffer = field(repr=False, compare=False)
    _extent: tuple[int, int, str] = field(repr=False, compare=False)
    _byte_range: tuple[int, int] | None = field(default=None, repr=False, compare=False)
    _content: bytes | None = field(default=None, repr=False, compare=False)

    def chunks(self) -> Iterator[bytes]:
        """Return the decoded content in pieces of at most 1 MB.

        The content of a small message is kept. That of a large one is decoded again by each call: a mapping that was
        passed to `parse` must still be open.
        """
        if self._content is not None:
            content = self._content
            return (content[start : start + _CHUNK_SIZE] for start in range(0, len(content), _CHUNK_SIZE))
        start, end, encoding = self._extent
        pieces = decode_pieces(self._buffer.pieces(start, end), encoding, Defects())
        return pieces if self._byte_range is None else slice_pieces(pieces, *self._byte_range)


@dataclass(frozen=True, slots=True)
class Message:
    """A parsed message. All text is valid UTF-8.

    Attributes:
        size: size of the raw message in bytes.
        sent: time of `Date` in UTC; None if it is missing or unreadable.
        message_id: Message-ID without angle brackets; None if it is missing, empty or repeated.
        from_: authors; names without an address only if no author has an address (rule 2.5).
        sender: addresses of `Sender`.
        reply_to: addresses of `Reply-To`.
        to: addresses of every `To`.
        cc: addresses of every `Cc`.
        bcc: addresses of every `Bcc`.
        subject: decoded subject, or "".
        text: plain text, or converted HTML if the message has only HTML; "" without either.
        html: untrusted HTML, or None.
        attachments: everything that is not part of `text` or `html`.
        headers: every field in order, name and decoded value.
        important: whether the importance is high, as routes define it (rule 3.2).
        importance: the importance.
        in_reply_to: Message-IDs without angle brackets.
        references: Message-IDs without angle brackets.
        authentication_results: every `Authentication-Results` field in order. Anyone can write such a field. Whether it
            is trustworthy depends on the server that it names first and on its position in the header.
        invalid_senders: pieces of `From` that are not addresses (rule 2.5).
        invalid_recipients: pieces of `To` and `Cc` that are not addresses (rule 2.5).
        automatic: kind of automatic mail (rule 5.1), or None.
        automatic_evidence: the evidence for `automatic`.
        report: content of a report (rule 5.2), or None.
        received: number of `Received` fields (rule 5.3).
        trace: fields that `delivery_hints` and `dmarc_domain` read, in order, with encoded words left undecoded.
        defects: the repairs that reading the message needed.
        whole: whether all of the message was parsed: no limit was exceeded.
    """

    size: int
    sent: datetime | None = None
    message_id: str | None = None
    from_: tuple[Author, ...] = ()
    sender: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    subject: str = ""
    text: str = ""
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    important: bool = False
    importance: Importance = "normal"
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    authentication_results: tuple[str, ...] = ()
    invalid_senders: tuple[str, ...] = ()
    invalid_recipients: tuple[str, ...] = ()
    automatic: Kind | None = None
    automatic_evidence: tuple[str, ...] = ()
    report: Report | None = None
    received: int = 0
    trace: tuple[tuple[str, str], ...] = ()
    defects: tuple[str, ...] = ()
    whole: bool = True

    @property
    def invalid_addresses(self) -> tuple[str, ...]:
        """Return the pieces of `From`, `To` and `Cc` that are not addresses."""
        return self.invalid_senders + self.invalid_recipients
