r"""What a folder holds, in one round trip.

Messages that carry `\Deleted` are listed like any others. Ours have receipts, from a run that ended between flagging
and expunging, and are removed without a download. One that another client flagged and did not expunge has none: to
collect it loses nothing, to leave it out might.
"""

from __future__ import annotations

import logging
import re

from shared.errors import quoted
from shared.mailboxes.imap.session import Opened, Session
from shared.mailboxes.imap.syntax import internal_date
from shared.mailboxes.protocol import Listed

_log = logging.getLogger("mailroom.imap")

_UID = re.compile(rb"[( ]UID (\d+)", re.IGNORECASE)
_SIZE = re.compile(rb"[( ]RFC822\.SIZE (\d+)", re.IGNORECASE)
_DATE = re.compile(rb'[( ]INTERNALDATE "([^"]*)"', re.IGNORECASE)
_FETCH = re.compile(rb"\* \d+ FETCH \(", re.IGNORECASE)


def listing(session: Session, opened: Opened, *, received: bool, above: str | None) -> list[Listed]:
    """The messages of the open folder, by UID.

    A UID that the server tells twice is listed once; one that it tells without a size, with 0.

    Args:
        session: with the folder open.
        opened: what opening it said.
        received: ask when each message was received.
        above: a key; with the same UIDVALIDITY, only what came after it.
    """
    if not opened.exists:
        return []
    lowest = _after(above, opened.uidvalidity)
    sizes: dict[int, int] = {}
    dates: dict[int, bytes] = {}

    def take(line: bytes) -> bool:
        uid = _UID.search(line)
        if uid is None or not _FETCH.match(line):
            return False
        number = int(uid[1])
        size = _SIZE.search(line)
        if size is not None:
            sizes[number] = int(size[1])
        else:
            sizes.setdefault(number, 0)
        if received and (date := _DATE.search(line)):
            dates[number] = date[1]
        return True

    wire = session.wire
    wire.on_line = take
    try:
        items = b"UID RFC822.SIZE INTERNALDATE" if received else b"UID RFC822.SIZE"
        command = wire.wait(wire.send(b"UID FETCH %d:* (%b)" % (lowest, items))[0])
    finally:
        wire.on_line = None
    if command.status != "OK":
        if not sizes:
            command.check()
        _log.warning("%s: the listing is not whole: %s", session.where, quoted(command.answer))
    # `n:*` with n above the highest UID is the last message (RFC 3501 section 6.4.8).
    return [
        Listed(f"{opened.uidvalidity}.{uid}", uid, sizes[uid], internal_date(dates[uid]) if uid in dates else None)
        for uid in sorted(sizes)
        if uid >= lowest
    ]


def _after(key: str | None, uidvalidity: int) -> int:
    """The lowest UID that is behind a key; 1 if the key is of another UIDVALIDITY, or no key of ours."""
    validity, _, uid = (key or "").partition(".")
    return int(uid) + 1 if validity == str(uidvalidity) and uid.isdigit() else 1
