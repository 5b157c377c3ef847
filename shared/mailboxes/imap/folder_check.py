"""What `mailroom check` asks of a folder, without changing anything: STATUS, and MYRIGHTS with ACL (RFC 4314)."""

from __future__ import annotations

from shared.mailboxes.base import FolderCheck
from shared.mailboxes.imap.errors import session_error
from shared.mailboxes.imap.remove import target_problem
from shared.mailboxes.imap.session import Session
from shared.mailboxes.imap.syntax import folder_name


def check_selected_folder(session: Session, folder: str, *, removes: bool, target: str | None) -> FolderCheck:
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
    return FolderCheck(folder, messages, tuple(problems))


def _may_delete(rights: str) -> bool:
    """Return whether rights allow to delete: `t` and `e`, or `d` alone.

    A server of RFC 2086 has `d` alone. One of RFC 4314 adds `d` to any of `e`, `t` and `x` (section 2.1.1).
    """
    return {"t", "e"} <= set(rights) or ("d" in rights and not {"t", "e"} & set(rights))


def _my_rights(session: Session, folder: str) -> str | None:
    """Return the account's rights in a folder (RFC 4314 section 3.8); None if the server does not say."""
    if not session.can("ACL"):
        return None
    session.wire.settle()
    command, responses = session.wire.ask(b"MYRIGHTS " + folder_name(folder), b"MYRIGHTS")
    if command.status != "OK":
        about_session = session_error(command.answer, session.where)
        if about_session is not None:
            raise about_session
        return None
    # The folder's name and the rights, each an atom, a quoted string or a literal.
    rights = [last for response in responses for last in response[1:2] if isinstance(last, bytes)]
    return rights[-1].decode("ascii", "replace").lower() if rights else None
