"""What `mailroom check` asks of a folder, without changing anything: STATUS, and MYRIGHTS with ACL (RFC 4314)."""

from __future__ import annotations

import re

from shared.mailboxes.imap.errors import Answered
from shared.mailboxes.imap.remove import target_problem
from shared.mailboxes.imap.session import Session
from shared.mailboxes.imap.syntax import folder_name
from shared.mailboxes.protocol import Rights

_RIGHTS = re.compile(rb'\* MYRIGHTS .*[ "]([a-z0-9]*)"?$', re.IGNORECASE)


def look(session: Session, folder: str, *, removes: bool, target: str | None) -> Rights:
    """Look at a folder.

    Args:
        session: signed in.
        folder: its name.
        removes: messages are deleted or moved after collecting.
        target: where they are moved to, if they are.

    Raises:
        FolderMissing: the folder is not there.
    """
    messages = session.count(folder, "FOLDERS")
    problems = []
    rights = _my_rights(session, folder)
    if rights is not None and "r" not in rights:
        problems.append(f"folder {folder!r}: the account may not read it")
    if removes and rights is not None and not _may_delete(rights):
        problems.append(f"folder {folder!r}: the account may not delete in it (rights t and e)")
    if target is not None:
        missing = target_problem(session, target)
        if missing is not None:
            problems.append(str(missing))
        else:
            there = _my_rights(session, target)
            if there is not None and "i" not in there:
                problems.append(f"folder {target!r} of AFTER: the account may not put mail into it (right i)")
    return Rights(folder, messages, tuple(problems))


def _may_delete(rights: str) -> bool:
    """`t` and `e`; a server of RFC 2086 has `d` alone."""
    return {"t", "e"} <= set(rights) or ("d" in rights and not {"t", "e"} & set(rights))


def _my_rights(session: Session, folder: str) -> str | None:
    if not session.can("ACL"):
        return None
    found: list[str] = []

    def take(line: bytes) -> bool:
        rights = _RIGHTS.match(line)
        if rights:
            found.append(rights[1].decode("ascii"))
        return rights is not None

    session.wire.on_line = take
    try:
        session.wire.run(b"MYRIGHTS " + folder_name(folder))
    except Answered:
        return None
    finally:
        session.wire.on_line = None
    return found[-1] if found else None
