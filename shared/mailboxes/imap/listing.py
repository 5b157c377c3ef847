r"""Lists a folder in one round trip.

Messages with the flag `\Deleted` are listed like any others. If Mailroom flagged a message and stopped before the
expunge, the message has a receipt and is removed without a download. If another client flagged it, it has no receipt.
Storing it loses nothing; leaving it out might.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared.errors import MailboxBusy, printable
from shared.mailboxes.base import ListedMessage
from shared.mailboxes.imap.errors import CommandRejected, map_error, session_error
from shared.mailboxes.imap.session import SelectedFolder, Session
from shared.mailboxes.imap.syntax import internal_date

_log = logging.getLogger("mailroom.imap")

_UID = re.compile(rb"[( ]UID (\d+)", re.IGNORECASE)
_SIZE = re.compile(rb"[( ]RFC822\.SIZE (\d+)", re.IGNORECASE)
_DATE = re.compile(rb'[( ]INTERNALDATE "([^"]*)"', re.IGNORECASE)
_LISTED = re.compile(rb"\* \d+ FETCH (?=\()(?=.*?[( ](?:UID|RFC822\.SIZE) \d)", re.IGNORECASE)
"""A FETCH response with a UID or a size. Other FETCH responses report changed flags."""

_WATERMARK = re.compile(r"(\d+)\.(\d+)(?: size=(\d+))?(?: received=(-?\d+))?")


@dataclass(frozen=True, slots=True)
class Watermark:
    """The position in a folder up to which everything has been processed (`keep`).

    Its text is `UIDVALIDITY.UID size=BYTES received=SECONDS`. The part up to the first space is the key of the last
    processed message.

    Attributes:
        uidvalidity: the folder's UIDVALIDITY.
        uid: the message's UID.
        size: the message's size in bytes as listed; None if unknown.
        received: the message's INTERNALDATE, in seconds since 1970; None if unknown.
    """

    uidvalidity: int
    uid: int
    size: int | None = None
    received: int | None = None

    @classmethod
    def at(cls, message: ListedMessage) -> Watermark:
        """Return the watermark at a listed message."""
        validity = int(str(message.key).partition(".")[0])
        return cls(validity, message.number, message.size, _seconds(message.received))

    @classmethod
    def parse(cls, text: str | None) -> Watermark | None:
        """Parse a watermark; return None if the text is not one."""
        match = _WATERMARK.fullmatch(text or "")
        return cls(*(int(part) if part is not None else None for part in match.groups())) if match else None  # type: ignore[arg-type]  # the first two groups always match

    def __str__(self) -> str:
        size = "" if self.size is None else f" size={self.size}"
        received = "" if self.received is None else f" received={self.received}"
        return f"{self.uidvalidity}.{self.uid}{size}{received}"

    def is_contradicted_by(self, message: ListedMessage) -> bool:
        """Return whether the message with the watermark's UID is another: UIDs were reused (Courier, Mailutils)."""
        received = _seconds(message.received)
        return (self.size is not None and message.size != self.size) or (
            self.received is not None and received is not None and received != self.received
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """The messages of a folder.

    Attributes:
        messages: the messages, ordered by UID.
        complete: the server listed everything; otherwise any message may be missing.
    """

    messages: Sequence[ListedMessage]
    complete: bool = True


def list_messages(session: Session, opened: SelectedFolder, *, received: bool, above: str | None) -> Listing:
    """List the messages of the selected folder, ordered by UID.

    A UID that the server reports twice is listed once. A message without a reported size is listed with size 0.

    Args:
        session: the session, with the folder selected.
        opened: the selected folder.
        received: request when each message was received.
        above: a watermark; only later messages are listed, unless the folder contradicts the watermark.
    """
    if not opened.exists:
        return Listing([])
    watermark = _valid(Watermark.parse(above), opened, session.where)
    if watermark is None:
        return _list_from(session, opened, 1, received=received)
    # From the watermark's own message on, to verify that it is still the same message.
    listing = _list_from(session, opened, watermark.uid, received=received or watermark.received is not None)
    first = next(iter(listing.messages), None)
    if first is not None and first.number == watermark.uid and watermark.is_contradicted_by(first):
        _log.warning(
            "%s: UID %d is another message than at the last poll (size or date differ); the folder is listed again",
            session.where,
            watermark.uid,
        )
        return _list_from(session, opened, 1, received=received)
    return Listing([message for message in listing.messages if message.number > watermark.uid], listing.complete)


def _valid(watermark: Watermark | None, opened: SelectedFolder, where: str) -> Watermark | None:
    """Return the watermark if the folder's UIDs may still be the same; else None."""
    if watermark is None or watermark.uidvalidity != opened.uidvalidity:
        return None
    if opened.uidnext is not None and opened.uidnext <= watermark.uid:
        _log.warning(
            "%s: UIDNEXT %d is not above UID %d of the last poll; the folder is listed again",
            where,
            opened.uidnext,
            watermark.uid,
        )
        return None
    return watermark


@dataclass(slots=True)
class _ListingResponses:
    """The values of the FETCH responses of a listing, by UID."""

    sizes: dict[int, int] = field(default_factory=dict)
    dates: dict[int, bytes] = field(default_factory=dict)
    without_uid: int = 0

    def add(self, line: bytes) -> None:
        """Add a line that matches `_LISTED`."""
        uid, size = _UID.search(line), _SIZE.search(line)
        if uid is None:
            self.without_uid += 1
            return
        number = int(uid[1])
        if size is not None:
            self.sizes[number] = int(size[1])
        else:
            self.sizes.setdefault(number, 0)
        if date := _DATE.search(line):
            self.dates[number] = date[1]


def _list_from(session: Session, opened: SelectedFolder, lowest: int, *, received: bool) -> Listing:
    responses = _ListingResponses()
    wire = session.wire
    items = b"UID RFC822.SIZE INTERNALDATE" if received else b"UID RFC822.SIZE"
    (command,) = wire.send(b"UID FETCH %d:* (%b)" % (lowest, items))
    for line in wire.lines_until(command, _LISTED):
        responses.add(line)
    sizes, dates = responses.sizes, responses.dates
    complete = True
    if command.status != "OK":
        rejection = CommandRejected(command.text, command.status, command.response)
        busy = isinstance(map_error(rejection, session.where), MailboxBusy)
        if not sizes or busy or session_error(rejection.text, session.where) is not None:
            raise rejection
        complete = rejection.code == "EXPUNGEISSUED"
        _log.warning("%s: the listing is incomplete: %s", session.where, printable(command.response))
    elif responses.without_uid or (lowest == 1 and len(sizes) < opened.exists):
        # The server omitted some UIDs or messages, or the messages were expunged during the listing.
        for uid in wire.search(b"UID %d:*" % lowest):
            sizes.setdefault(uid, 0)
    # `n:*` with n above the highest UID is the last message (RFC 3501 section 6.4.8).
    messages = [
        ListedMessage(
            f"{opened.uidvalidity}.{uid}", uid, sizes[uid], internal_date(dates[uid]) if uid in dates else None
        )
        for uid in sorted(sizes)
        if uid >= lowest
    ]
    return Listing(messages, complete)


def _seconds(received: datetime | None) -> int | None:
    if received is None:
        return None
    return int((received if received.tzinfo is not None else received.replace(tzinfo=UTC)).timestamp())
