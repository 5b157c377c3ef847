r"""Finds the folder with the special use \Trash (RFC 6154, or the older XLIST)."""

from __future__ import annotations

from imapclient import imap_utf7

from shared.mailboxes.imap.errors import session_error
from shared.mailboxes.imap.folder_names import NOT_SELECTABLE
from shared.mailboxes.imap.remove import Target
from shared.mailboxes.imap.session import Session
from shared.mailboxes.imap.syntax import quoted_string

_TRASH = b"\\TRASH"


def find_trash(session: Session, *, purge: bool) -> Target | None:
    r"""Return the folder with the special use \Trash; None if the server lists none.

    Args:
        session: the signed-in session.
        purge: whether messages moved there are expunged there.
    """
    commands = [b'LIST "" "*"']
    if session.supports("SPECIAL-USE"):
        commands.insert(0, b'LIST "" "*" RETURN (SPECIAL-USE)')
    if session.supports("XLIST"):
        commands.append(b'XLIST "" "*"')
    for text in commands:
        session.wire.wait_all()
        command, responses = session.wire.query(text, b"LIST", b"XLIST")
        about_session = session_error(command.response, session.where) if command.status != "OK" else None
        if about_session is not None:
            raise about_session
        if command.status != "OK":
            continue
        for response in responses:
            target = _target(response, purge=purge)
            if target is not None:
                return target
    return None


def _target(response: list[object], *, purge: bool) -> Target | None:
    r"""Return the folder of a LIST response if it is the \Trash folder: `(flags) delimiter name`."""
    match response:
        case [list(attributes), _, bytes(raw), *_]:
            flags = {flag.upper() for flag in attributes if isinstance(flag, bytes)}
        case _:
            return None
    if _TRASH not in flags or flags & NOT_SELECTABLE:
        return None
    try:
        return Target(str(imap_utf7.decode(raw)), quoted_string(raw), purge)
    except ValueError:
        return None
