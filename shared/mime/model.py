"""What a message is made of, once read (rule 7.3)."""

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
from shared.mime.tnef import sliced
from shared.mime.transfer_encoding import decoded

__all__ = ["Address", "Attachment", "Author", "Importance", "Kind", "Message", "Report"]

Importance = Literal["high", "normal", "low"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a message carries beside its text.

    Attributes:
        number: its place among the message's attachments, from 1.
        name: file name as sent, decoded; "" if it has none.
        safe_name: a name that any file system can stand, unique in the message (rule 7.5).
        content_type: as sent, in lower case, without parameters.
        size: octets, decoded.
        sha256: hex digest of the decoded content.
        disposition: `inline` is what the text shows in its place.
        content_id: without angle brackets; None if it has none.
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
    _place: tuple[int, int, str] = field(repr=False, compare=False)
    _inside: tuple[int, int] | None = field(default=None, repr=False, compare=False)

    def chunks(self) -> Iterator[bytes]:
        """The decoded content, decoded anew, in pieces of at most 1 MB.

        A mapping that was given to `parse` must still be open.
        """
        start, end, encoding = self._place
        pieces = decoded(self._buffer.pieces(start, end), encoding, Defects())
        return pieces if self._inside is None else sliced(pieces, *self._inside)


@dataclass(frozen=True, slots=True)
class Message:
    """What a message says. All text is valid UTF-8.

    Attributes:
        size: octets of the raw message.
        sent: when it says that it was sent, in UTC; None if it does not say so readably.
        message_id: without angle brackets; None if it is missing, empty or there twice.
        from_: authors; names without an address only if none has one (rule 2.5).
        sender: who sent it for them.
        reply_to: where replies go.
        to: addresses of every `To`.
        cc: addresses of every `Cc`.
        bcc: addresses of every `Bcc`.
        subject: decoded; "" if there is none.
        text: its text, made from HTML where there is no plain part; "" if there is neither.
        html: its HTML, untrusted; None if there is none.
        attachments: everything that is not text or HTML above.
        headers: every field in order, name and decoded value.
        important: whether it is marked so, as routes understand it (rule 3.2).
        importance: the same, with a name for the contrary.
        in_reply_to: Message-IDs, without angle brackets.
        references: Message-IDs, without angle brackets.
        authentication_results: every `Authentication-Results` field in order. Anybody can write one: what to trust is
            told by the server that it names first, and by where it stands among the headers.
        invalid_senders: pieces of `From` that are not addresses (rule 2.5).
        invalid_recipients: pieces of `To` and `Cc` that are not addresses (rule 2.5).
        automatic: what kind of automatic mail it is (rule 5.1); None if it is none.
        automatic_evidence: what said so.
        report: what it reports, if it is a report (rule 5.2).
        received: how many `Received` it has (rule 5.3).
        trace: the fields that `delivery_hints` and `dmarc_domain` read, in order, encoded words left as they are.
        defects: what had to be repaired in order to read it.
        whole: no cap was passed: all of it was read.
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
