r"""What a folder holds, in one round trip.

Messages that carry `\Deleted` are listed like any others. Ours have receipts, from a run that ended between flagging
and expunging, and are removed without a download. One that another client flagged and did not expunge has none: to
collect it loses nothing, to leave it out might.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared.errors import MailboxBusy, printable
from shared.mailboxes.base import ListedMessage
from shared.mailboxes.imap.errors import CommandRejected, mapped_errors, session_error
from shared.mailboxes.imap.session import SelectedFolder, Session
from shared.mailboxes.imap.syntax import internal_date

_log = logging.getLogger("mailroom.imap")

_UID = re.compile(rb"[( ]UID (\d+)", re.IGNORECASE)
_SIZE = re.compile(rb"[( ]RFC822\.SIZE (\d+)", re.IGNORECASE)
_DATE = re.compile(rb'[( ]INTERNALDATE "([^"]*)"', re.IGNORECASE)
_FETCH = re.compile(rb"\* \d+ FETCH \(", re.IGNORECASE)
_WATERMARK = re.compile(r"(\d+)\.(\d+)(?: size=(\d+))?(?: received=(-?\d+))?")


@dataclass(frozen=True, slots=True)
class Watermark:
    """The last message of a folder before the first that was not dealt with (`keep`).

    Written as `UIDVALIDITY.UID size=OCTETS received=SECONDS`; the part up to the first space is the message's key.

    Attributes:
        uidvalidity: the folder's.
        uid: the message's.
        size: its size as listed; None if unknown.
        received: its INTERNALDATE, in seconds since 1970; None if unknown.
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
        return cls(*(int(part) if part is not None else None for part in match.groups())) if match else None  # type: ignore[arg-type]  # the first two always match

    def __str__(self) -> str:
        size = "" if self.size is None else f" size={self.size}"
        received = "" if self.received is None else f" received={self.received}"
        return f"{self.uidvalidity}.{self.uid}{size}{received}"

    def is_contradicted_by(self, message: ListedMessage) -> bool:
        """Return whether a message under the watermark's UID is another: UIDs were reused (Courier, Mailutils)."""
        received = _seconds(message.received)
        return (self.size is not None and message.size != self.size) or (
            self.received is not None and received is not None and received != self.received
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds.

    Attributes:
        messages: by UID.
        complete: the server listed everything it was asked for; otherwise messages may be missing anywhere.
    """

    messages: Sequence[ListedMessage]
    complete: bool = True


def list_messages(session: Session, opened: SelectedFolder, *, received: bool, above: str | None) -> Listing:
    """List the messages of the open folder, by UID.

    A UID that the server tells twice is listed once; one that it tells without a size, with 0.

    Args:
        session: with the folder open.
        opened: what opening it said.
        received: ask when each message was received.
        above: a watermark; only what came after it, unless the folder contradicts it.
    """
    if not opened.exists:
        return Listing([])
    watermark = _valid(Watermark.parse(above), opened, session.where)
    if watermark is None:
        return _list_from(session, opened, 1, received=received)
    # From the watermark's own message on, to see that it is still the same one.
    found = _list_from(session, opened, watermark.uid, received=received or watermark.received is not None)
    first = next(iter(found.messages), None)
    if first is not None and first.number == watermark.uid and watermark.is_contradicted_by(first):
        _log.warning(
            "%s: UID %d is another message than at the last poll (size or date differ): everything is listed again",
            session.where,
            watermark.uid,
        )
        return _list_from(session, opened, 1, received=received)
    return Listing([message for message in found.messages if message.number > watermark.uid], found.complete)


def _valid(watermark: Watermark | None, opened: SelectedFolder, where: str) -> Watermark | None:
    """Return the watermark if the folder's UIDs may still be those that it was made by."""
    if watermark is None or watermark.uidvalidity != opened.uidvalidity:
        return None
    if opened.uidnext is not None and opened.uidnext <= watermark.uid:
        _log.warning(
            "%s: UIDNEXT %d is not above UID %d of the last poll: everything is listed again",
            where,
            opened.uidnext,
            watermark.uid,
        )
        return None
    return watermark


@dataclass(slots=True)
class _Collected:
    """The FETCH responses of a listing."""

    sizes: dict[int, int] = field(default_factory=dict)
    dates: dict[int, bytes] = field(default_factory=dict)
    unnamed: int = 0

    def take(self, line: bytes) -> bool:
        if not _FETCH.match(line):
            return False
        uid, size = _UID.search(line), _SIZE.search(line)
        if uid is None:
            self.unnamed += size is not None
            return size is not None
        number = int(uid[1])
        if size is not None:
            self.sizes[number] = int(size[1])
        else:
            self.sizes.setdefault(number, 0)
        if date := _DATE.search(line):
            self.dates[number] = date[1]
        return True


def _list_from(session: Session, opened: SelectedFolder, lowest: int, *, received: bool) -> Listing:
    collected = _Collected()
    wire = session.wire
    wire.on_line = collected.take
    try:
        items = b"UID RFC822.SIZE INTERNALDATE" if received else b"UID RFC822.SIZE"
        command = wire.wait(wire.send(b"UID FETCH %d:* (%b)" % (lowest, items))[0])
    finally:
        wire.on_line = None
    sizes, dates = collected.sizes, collected.dates
    complete = True
    if command.status != "OK":
        answer = CommandRejected(command.text, command.status, command.answer)
        busy = isinstance(mapped_errors(answer, session.where), MailboxBusy)
        if not sizes or busy or session_error(answer.text, session.where) is not None:
            raise answer
        complete = answer.code == "EXPUNGEISSUED"
        _log.warning("%s: the listing is incomplete: %s", session.where, printable(command.answer))
    elif collected.unnamed or (lowest == 1 and len(sizes) < opened.exists):
        # The server named some messages without a UID, or not at all, or they were expunged meanwhile.
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
