"""What is asked of a signed-in POP3 session as a whole: UIDL with LIST in one write, and TOP for many messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from shared.errors import MailboxBusy
from shared.mailboxes.pop3.errors import refusal
from shared.mailboxes.pop3.listing import Headers, keys_of, sizes_of
from shared.mailboxes.pop3.session import Session

TOPS: Final = 64
"""TOPs that are outstanding at once; one where the server does not know PIPELINING."""


def sizes_and_keys(session: Session) -> tuple[dict[int, int], dict[int, str] | None]:
    """Message numbers with told sizes, and with UIDLs; None for these if the server has none.

    Raises:
        MailboxBusy, MailboxFailed: the server refuses to list.
    """
    wire, pipelining = session.wire, session.can("PIPELINING")
    with session.mapping():
        wire.send(*([b"UIDL", b"LIST"] if pipelining else [b"UIDL"]))
        known, text = wire.answer()
        keys = keys_of(wire.listing()) if known else None
        if not pipelining:
            wire.send(b"LIST")
        told, why = wire.answer()
        sizes = sizes_of(wire.listing()) if told else {}
    if not known and isinstance(busy := refusal(text, session.where, "UIDL"), MailboxBusy):
        raise busy
    if not told:
        raise refusal(why, session.where, "LIST", login_delay=session.login_delay)
    return sizes, keys


def times_received(session: Session, numbers: Sequence[int]) -> dict[int, datetime | None]:
    """When messages were received, as their topmost headers tell; nothing where the server knows no TOP."""
    times: dict[int, datetime | None] = {}
    window = TOPS if session.can("PIPELINING") else 1
    for start in range(0, len(numbers) if session.may("TOP") else 0, window):
        part = numbers[start : start + window]
        with session.mapping():
            session.wire.send(*(b"TOP %d 0" % number for number in part))
            for number in part:
                if session.wire.answer()[0]:
                    headers = Headers()
                    session.wire.drain(headers.write)
                    times[number] = headers.received()
    return times
