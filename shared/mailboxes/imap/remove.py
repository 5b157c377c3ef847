r"""Removes messages by UID, never by sequence number, so that no other message is removed (rule 8.2).

With UIDPLUS (RFC 4315) a batch is flagged and expunged by its UIDs in one write. With MOVE (RFC 6851) it is moved.
Without UIDPLUS, EXPUNGE removes every message with the flag `\Deleted`, whoever set it. So `commit` sends it once.
Before that, messages flagged by other clients lose the flag, and afterwards they get it back. A message that another
client flags within the last round trip before the EXPUNGE is expunged, as that client's own EXPUNGE would have done. In
any doubt our messages stay flagged and nothing is expunged.

With two pairs of STORE and UID EXPUNGE in flight at once, servers responded OK and removed nothing. So one pair is in
flight at a time, and its responses are awaited before the next pair. `commit` expunges everything once more and checks
which messages remain.

If a server offers MOVE and refuses it, COPY, STORE and UID EXPUNGE replace it for the rest of the session. Messages
that were copied already, according to COPYUID, are not copied again.

On Gmail `\Deleted` and EXPUNGE only archive a message. There it is moved to the folder with the special use `\Trash`.
`commit` expunges it in that folder, by the UIDs of COPYUID, or else by X-GM-MSGID. Messages that others put there are
never expunged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from shared.errors import FolderMissing, MailroomError, RemovalRefused, printable
from shared.mailboxes.imap.errors import BUSY_CODES, MISSING_CODES, CommandRejected, removal_error, session_error
from shared.mailboxes.imap.session import Session
from shared.mailboxes.imap.syntax import expand_set, folder_name, uid_sets
from shared.mailboxes.imap.wire import Command

_log = logging.getLogger("mailroom.imap")

_FLAG = b"+FLAGS.SILENT (\\Deleted)"
_UNFLAG = b"-FLAGS.SILENT (\\Deleted)"

_FINAL = MISSING_CODES | BUSY_CODES | {"OVERQUOTA"}
"""Codes of a refused MOVE after which COPY would be refused as well."""

IDS_AT_ONCE = 50
"""X-GM-MSGIDs in one SEARCH."""


@dataclass(frozen=True, slots=True)
class Target:
    """The folder that messages are moved to.

    Attributes:
        name: the name, for messages to the operator.
        quoted_name: the name as a command argument.
        purge: whether messages are expunged there at the commit.
    """

    name: str
    quoted_name: bytes
    purge: bool = False

    @classmethod
    def named(cls, name: str) -> Target:
        """Return the target with the name in a setting."""
        return cls(name, folder_name(name))


class Remover:
    """Removes messages of the selected folder.

    Args:
        session: the session, with the folder selected for writing.
        target: the folder that messages are moved to; None: they are deleted.
    """

    def __init__(self, session: Session, target: Target | None) -> None:
        self._target = target
        self._copied: dict[int, tuple[int, int]] = {}
        self._gmail_ids: dict[int, bytes] = {}
        self.use_session(session)
        self._moves = target is not None and session.supports("MOVE")
        self._uidplus = session.supports("UIDPLUS")
        self._uncommitted: set[int] = set()
        self._flags_to_restore: set[int] = set()
        self._in_flight_set = b""

    @property
    def purges(self) -> bool:
        """Whether `commit` expunges in the target folder, which stays selected afterwards."""
        return self._target is not None and self._target.purge

    def use_session(self, session: Session) -> None:
        """Continue with another session, with the same folder selected. `commit` verifies the last pair's effect."""
        self._session = session
        session.wire.copied, session.wire.gmail_ids = self._copied, self._gmail_ids
        self._in_flight: list[Command] = []

    def remove(self, uids: Iterable[int]) -> None:
        """Start the removal of messages. It is certain only after `commit`.

        Raises:
            RemovalRefused, FolderMissing: the server refused this removal or the previous one.
        """
        for uid_set in uid_sets(uids):
            self._finish_in_flight()
            if self.purges:
                # The response is not awaited: the wire stores the ids when it arrives.
                self._session.wire.send(b"UID FETCH %b (UID X-GM-MSGID)" % uid_set)
            if self._target is not None and not self._moves:
                # Messages that were copied before a broken connection, according to COPYUID, are not copied again.
                self._copy(set(expand_set(uid_set)) - self._copied.keys())
            self._uncommitted.update(expand_set(uid_set))
            self._in_flight = self._session.wire.send(*self._commands(uid_set))
            self._in_flight_set = uid_set

    def commit(self) -> None:
        """Make all removals since the last commit final.

        Raises:
            RemovalRefused, FolderMissing: the server refused, or reported success without removing the messages.
        """
        self._finish_in_flight()
        try:
            if self._uncommitted:
                self._expunge()
            remaining = self._remaining(self._uncommitted)
            if remaining:
                # Try once more, with one command at a time.
                self._remove_sequentially(remaining)
                self._expunge()
                remaining = self._remaining(remaining)
            if self.purges and self._uncommitted:
                self._purge()
        except CommandRejected as error:
            raise self._removal_error(error) from error
        self._uncommitted.clear()
        if remaining:
            raise RemovalRefused(
                f"{self._session.where}: the server reports {len(remaining)} messages as removed, and has them still, "
                f"UID {min(remaining)} for example; check the account's permissions for the folder"
            )

    def _commands(self, uid_set: bytes) -> list[bytes]:
        if self._moves and self._target is not None:
            return [b"UID MOVE %b %b" % (uid_set, self._target.quoted_name)]
        return self._deletion(uid_set)

    def _deletion(self, uid_set: bytes) -> list[bytes]:
        store = b"UID STORE %b %b" % (uid_set, _FLAG)
        return [store, b"UID EXPUNGE %b" % uid_set] if self._uidplus else [store]

    def _finish_in_flight(self) -> None:
        """Wait for the responses to the last removal."""
        commands, self._in_flight = self._in_flight, []
        for command in commands:
            self._session.wire.wait(command)
        for command in commands:
            try:
                command.check()
            except CommandRejected as error:
                self._retry_refused(error, self._in_flight_set)
                return

    def _remove_sequentially(self, uids: Iterable[int]) -> None:
        """Remove messages with one command at a time; by COPY if MOVE is refused."""
        remaining = set(uids)
        if self._moves:
            try:
                for uid_set in uid_sets(remaining - self._copied.keys()):
                    self._session.wire.run(*self._commands(uid_set))
            except CommandRejected as error:
                self._fall_back_to_copy(error)
            remaining = self._remaining(remaining)
            if self._moves:
                remaining &= self._copied.keys()  # `commit` reports the others.
            else:
                self._copy(remaining - self._copied.keys())
        for uid_set in uid_sets(remaining):
            for text in self._deletion(uid_set):
                self._session.wire.run(text)

    def _fall_back_to_copy(self, error: CommandRejected) -> None:
        """Fall back to COPY for the session after a refused MOVE; raise the error if it applies to COPY as well."""
        if error.code in _FINAL or session_error(error.text, self._session.where) is not None:
            raise error
        _log.warning(
            "%s: the server offers MOVE and refuses it; COPY is used instead: %s", self._session.where, printable(error)
        )
        self._moves = False

    def _copy(self, uids: Iterable[int]) -> None:
        assert self._target is not None
        for uid_set in uid_sets(uids):
            try:
                self._session.wire.run(b"UID COPY %b %b" % (uid_set, self._target.quoted_name))
            except CommandRejected as error:
                requested = set(expand_set(uid_set))
                remaining = self._remaining(requested)
                if remaining == requested:
                    raise self._removal_error(error) from error
                for subset in uid_sets(remaining - self._copied.keys()):
                    try:
                        self._session.wire.run(b"UID COPY %b %b" % (subset, self._target.quoted_name))
                    except CommandRejected as again:
                        raise self._removal_error(again) from error

    def _retry_refused(self, error: CommandRejected, uid_set: bytes) -> None:
        """Retry for the remaining messages if some of them are gone; else raise the error.

        Dovecot responds with [EXPUNGEISSUED] (RFC 5530) and does nothing. Other servers respond NO to an empty set.
        """
        requested = set(expand_set(uid_set))
        try:
            remaining = self._remaining(requested)
            if self._moves and remaining == requested:
                self._fall_back_to_copy(error)
                self._copy(remaining - self._copied.keys())
            elif remaining == requested:
                raise error
            self._remove_sequentially(remaining)
        except CommandRejected as again:
            raise self._removal_error(again) from error

    def _removal_error(self, error: CommandRejected) -> MailroomError:
        return removal_error(error, self._target.name if self._target is not None else None, self._session.where)

    def _remaining(self, uids: Iterable[int]) -> set[int]:
        """Return the UIDs that are still in the selected folder."""
        requested = set(uids)
        remaining: set[int] = set()
        for uid_set in uid_sets(requested):
            remaining |= self._session.wire.search(b"UID " + uid_set)
        return remaining & requested

    def _expunge(self) -> None:
        if self._moves:
            return
        if self._uidplus:
            for uid_set in uid_sets(self._uncommitted):
                self._session.wire.run(b"UID EXPUNGE " + uid_set)
        else:
            self._expunge_alone()

    def _purge(self) -> None:
        """Expunge our messages in the target folder."""
        assert self._target is not None
        wire = self._session.wire
        moved = {uid: self._copied[uid] for uid in self._uncommitted if uid in self._copied}
        selected = self._session.select_quoted(self._target.quoted_name)
        uids = {copy for validity, copy in moved.values() if validity == selected.uidvalidity}
        ids = [
            self._gmail_ids[uid]
            for uid in sorted(self._uncommitted)
            if uid in self._gmail_ids and (uid not in moved or moved[uid][0] != selected.uidvalidity)
        ]
        for start in range(0, len(ids), IDS_AT_ONCE):
            keys = [b"X-GM-MSGID %b" % gmail_id for gmail_id in ids[start : start + IDS_AT_ONCE]]
            uids |= wire.search(b"OR " * (len(keys) - 1) + b" ".join(keys))
        for uid_set in uid_sets(uids):
            wire.run(b"UID STORE %b %b" % (uid_set, _FLAG))
            wire.run(b"UID EXPUNGE " + uid_set)
        remaining = self._remaining(uids)
        if remaining:
            raise RemovalRefused(
                f"{self._session.where}: {len(remaining)} messages were moved to folder {self._target.name!r} and "
                "cannot be deleted there; check the account's permissions for that folder"
            )

    def _expunge_alone(self) -> None:
        """Send EXPUNGE while only our messages are flagged."""
        wire = self._session.wire
        others = wire.search(b"DELETED") - self._uncommitted
        self._flags_to_restore |= others
        try:
            for uid_set in uid_sets(others):
                wire.run(b"UID STORE %b %b" % (uid_set, _UNFLAG))
            if others and wire.search(b"DELETED") - self._uncommitted:
                raise RemovalRefused(
                    f"{self._session.where}: the server has no UIDPLUS, and another client is deleting mail in the "
                    "same folder; our messages stay flagged \\Deleted until they can be expunged alone"
                )
            wire.run(b"EXPUNGE")
        finally:
            self._restore_flags()

    def _restore_flags(self) -> None:
        """Set the flag of other clients' messages again, including those of an interrupted attempt."""
        for uid_set in uid_sets(self._flags_to_restore):
            try:
                self._session.wire.run(b"UID STORE %b %b" % (uid_set, _FLAG))
                self._flags_to_restore.difference_update(expand_set(uid_set))
            except Exception as error:  # noqa: BLE001  a missing flag loses no message, so the removal continues
                _log.warning(
                    "%s: another client's \\Deleted flag was removed and could not be set again, on UID %s: %s",
                    self._session.where,
                    uid_set.decode("ascii"),
                    printable(error),
                )


def target_error(session: Session, target: str) -> MailroomError | None:
    """Return the error if the folder that messages are moved to does not exist; else None."""
    try:
        session.count_messages(target, "AFTER")
    except FolderMissing as error:
        return error
    return None
