"""What is asked of a signed-in POP3 session as a whole: UIDL, LIST, and TOP for many messages.

UIDL and LIST are never pipelined. Nothing in their answers shows that a server mixed them up, and a wrong key would
have a message collected twice, or taken for one that was collected before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from shared.errors import MailboxBusy
from shared.mailboxes.pop3.errors import command_error, raise_if_throttled
from shared.mailboxes.pop3.listing import Headers, parse_keys, parse_sizes
from shared.mailboxes.pop3.session import Session

TOPS: Final = 64
"""TOPs that are outstanding at once; one where the server does not know PIPELINING."""


def sizes_and_keys(session: Session) -> tuple[dict[int, int], dict[int, str] | None]:
    """Return message numbers with reported sizes, and with UIDLs; None for these if the server has none.

    Raises:
        MailboxBusy, MailboxError: the server refuses to list.
    """
    wire = session.wire
    with session.mapping():
        wire.send(b"UIDL")
        has_keys, text = wire.answer()
        keys = parse_keys(wire.listing()) if has_keys else None
        if not has_keys and isinstance(busy := command_error(text, session.where, "UIDL"), MailboxBusy):
            raise busy
        wire.send(b"LIST")
        accepted, text = wire.answer()
        sizes = parse_sizes(wire.listing()) if accepted else {}
    if not accepted:
        error = command_error(text, session.where, "LIST", login_delay=session.login_delay)
        if isinstance(error, MailboxBusy) or not _is_empty(session):
            raise error
        return {}, {}
    if not sizes and keys is None and session.may("UIDL"):
        # Some refuse UIDL as well where there is nothing to list.
        return {}, {}
    return sizes, keys


def _is_empty(session: Session) -> bool:
    """Return whether STAT reports no messages: some servers answer LIST with `-ERR` then."""
    with session.mapping():
        session.wire.send(b"STAT")
        accepted, text = session.wire.answer()
    count = re.match(r"\d+", text)
    return accepted and count is not None and int(count[0]) == 0


def times_received(session: Session, numbers: Sequence[int], *, pipelining: bool) -> dict[int, datetime | None]:
    """Return when messages were received, by their topmost headers; nothing where the server does not know TOP."""
    times: dict[int, datetime | None] = {}
    window = TOPS if pipelining else 1
    for start in range(0, len(numbers) if session.may("TOP") else 0, window):
        part = numbers[start : start + window]
        headers = _tops(session, part)
        if len(part) > 1 and any(headers.values()):
            # What may hold the answer to another command, or is one, is asked for again alone.
            for number, found in list(headers.items()):
                if found is None or found.holds_answers:
                    headers |= _tops(session, [number])
        times |= {number: found.received() for number, found in headers.items() if found is not None}
    return times


def _tops(session: Session, numbers: Sequence[int]) -> dict[int, Headers | None]:
    """Return the headers of messages, asked for in one write; None for a message that TOP was refused for.

    Raises:
        MailboxBusy: the server throttles the account.
    """
    found: dict[int, Headers | None] = dict.fromkeys(numbers)
    with session.mapping():
        session.wire.send(*(b"TOP %d 0" % number for number in numbers))
        for number in numbers:
            accepted, text = session.wire.answer()
            if accepted:
                headers = found[number] = Headers()
                session.wire.drain(headers.write)
            else:
                raise_if_throttled(text, session.where)
    return found
