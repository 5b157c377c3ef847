"""Checks a folder for `mailroom check`, without changing anything: STATUS, and MYRIGHTS with ACL (RFC 4314)."""

from __future__ import annotations

from shared.mailboxes.base import FolderCheck
from shared.mailboxes.imap.errors import session_error
from shared.mailboxes.imap.remove import target_error
from shared.mailboxes.imap.session import Session
from shared.mailboxes.imap.syntax import folder_name
from shared.mailboxes.tls import setting_name


def check_selected_folder(session: Session, folder: str, *, removes: bool, target: str | None) -> FolderCheck:
    """Check a folder and the folder that its messages are moved to.

    Args:
        session: the signed-in session.
        folder: the folder's name.
        removes: messages are deleted or moved after they are stored.
        target: the folder that messages are moved to; None: they are not moved.

    Raises:
        FolderMissing: the folder does not exist.
    """
    messages = session.count_messages(folder, "FOLDERS")
    problems = []
    rights = _my_rights(session, folder)
    if rights is not None and "r" not in rights:
        problems.append(f"folder {folder!r}: the account has no permission to read it (right r)")
    if removes and rights is not None and not _may_delete(rights):
        problems.append(f"folder {folder!r}: the account has no permission to delete in it (rights t and e)")
    if target is not None:
        error = target_error(session, target)
        if error is not None:
            problems.append(str(error))
        else:
            target_rights = _my_rights(session, target)
            if target_rights is not None and "i" not in target_rights:
                name = setting_name(session.settings, "AFTER")
                problems.append(f"folder {target!r} of {name}: the account has no permission to insert (right i)")
    return FolderCheck(folder, messages, tuple(problems))


def _may_delete(rights: str) -> bool:
    """Return whether the rights include deletion: `t` and `e`, or `d` alone.

    A server of RFC 2086 has `d` alone. A server of RFC 4314 adds `d` to any of `e`, `t` and `x` (section 2.1.1).
    """
    return {"t", "e"} <= set(rights) or ("d" in rights and not {"t", "e"} & set(rights))


def _my_rights(session: Session, folder: str) -> str | None:
    """Return the account's rights in a folder (RFC 4314 section 3.8); None if the server does not report them."""
    if not session.supports("ACL"):
        return None
    session.wire.wait_all()
    command, responses = session.wire.query(b"MYRIGHTS " + folder_name(folder), b"MYRIGHTS")
    if command.status != "OK":
        about_session = session_error(command.response, session.where)
        if about_session is not None:
            raise about_session
        return None
    # The response is the folder's name and the rights, each an atom, a quoted string or a literal.
    rights = [value for response in responses for value in response[1:2] if isinstance(value, bytes)]
    return rights[-1].decode("ascii", "replace").lower() if rights else None
