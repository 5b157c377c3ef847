r"""Removal by UID, never by sequence number, so that nobody else's mail goes (rule 8.2).

With UIDPLUS (RFC 4315) a batch is flagged and expunged by its UIDs in one write. With MOVE (RFC 6851) it is moved.
Without UIDPLUS the only EXPUNGE there is takes everything that is flagged `\Deleted`, whoever flagged it: so it is
sent once, by `commit`, and what others have flagged loses its flag before and gets it again behind it. Somebody who
flags a message between our last look and the EXPUNGE, a round trip, has it expunged, as their own client's next
EXPUNGE would have done. When anything is in doubt ours stay flagged and nothing is expunged.

Two pairs of STORE and UID EXPUNGE on the wire at once were seen to end in OK with nothing removed. So there is one at
a time, its answer is waited for when the next is due, and `commit` expunges everything once more and looks what is
left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from shared.errors import FolderMissing, MailroomError, RemovalRefused, quoted
from shared.mailboxes.imap.errors import Answered, removal_error
from shared.mailboxes.imap.session import Session
from shared.mailboxes.imap.syntax import folder_name, in_set, uid_sets
from shared.mailboxes.imap.wire import Command

_log = logging.getLogger("mailroom.imap")

_FLAG = b"+FLAGS.SILENT (\\Deleted)"
_UNFLAG = b"-FLAGS.SILENT (\\Deleted)"


class Remover:
    """Removes messages of the open folder.

    Args:
        session: with the folder open for writing.
        target: the folder to move to; None: delete.
    """

    def __init__(self, session: Session, target: str | None) -> None:
        self._session = session
        self._target = target
        self._target_name = folder_name(target) if target is not None else b""
        self._moves = target is not None and session.can("MOVE")
        self._uidplus = session.can("UIDPLUS")
        self._since: set[int] = set()
        self._owed: set[int] = set()
        self._pair: list[Command] = []
        self._pair_set = b""

    def use(self, session: Session) -> None:
        """Go on with another session, with the same folder open. What the last pair did, `commit` will see."""
        self._session = session
        self._pair = []

    def remove(self, uids: Iterable[int]) -> None:
        """Have messages removed; that they are is certain after `commit`.

        Raises:
            RemovalRefused, FolderMissing: the server would not, now or the last time.
        """
        for uid_set in uid_sets(uids):
            self._settle()
            if self._target is not None and not self._moves:
                self._copy(uid_set)
            self._since.update(in_set(uid_set))
            self._pair = self._session.wire.send(*self._commands(uid_set))
            self._pair_set = uid_set

    def commit(self) -> None:
        """Make everything since the last commit final.

        Raises:
            RemovalRefused, FolderMissing: the server would not, or says that it did and did not.
        """
        self._settle()
        try:
            if self._since:
                self._expunge()
            left = self._left(self._since)
            if left:
                # Once more, one after the other.
                for uid_set in uid_sets(left):
                    for text in self._commands(uid_set):
                        self._session.wire.run(text)
                self._expunge()
                left = self._left(left)
        except Answered as error:
            raise removal_error(error, self._target, self._session.where) from error
        self._since.clear()
        if left:
            raise RemovalRefused(
                f"{self._session.where}: the server says that it removed {len(left)} messages, and has them still, "
                f"UID {min(left)} for one; look at the account's rights in the folder"
            )

    def _commands(self, uid_set: bytes) -> list[bytes]:
        if self._moves:
            return [b"UID MOVE %b %b" % (uid_set, self._target_name)]
        store = b"UID STORE %b %b" % (uid_set, _FLAG)
        return [store, b"UID EXPUNGE %b" % uid_set] if self._uidplus else [store]

    def _settle(self) -> None:
        """Wait for what was sent last."""
        pair, self._pair = self._pair, []
        for command in pair:
            self._session.wire.wait(command)
        for command in pair:
            try:
                command.check()
            except Answered as error:
                self._without_gone(error, self._pair_set, self._commands)
                return

    def _copy(self, uid_set: bytes) -> None:
        commands = self._copy_commands
        try:
            self._session.wire.run(*commands(uid_set))
        except Answered as error:
            self._without_gone(error, uid_set, commands)

    def _copy_commands(self, uid_set: bytes) -> list[bytes]:
        return [b"UID COPY %b %b" % (uid_set, self._target_name)]

    def _without_gone(self, error: Answered, uid_set: bytes, commands: Callable[[bytes], list[bytes]]) -> None:
        """A refusal because some are gone is none: once more, for those that are there.

        Dovecot says so with [EXPUNGEISSUED] (RFC 5530) and does nothing; others say NO to a set that is empty by now.
        """
        asked = set(in_set(uid_set))
        try:
            left = self._left(asked)
            if left == asked:
                raise error
            for some in uid_sets(left):
                for text in commands(some):
                    self._session.wire.run(text)
        except Answered as again:
            raise removal_error(again, self._target, self._session.where) from error

    def _left(self, uids: Iterable[int]) -> set[int]:
        wanted = set(uids)
        found: set[int] = set()
        for uid_set in uid_sets(wanted):
            found |= self._session.wire.search(b"UID " + uid_set)
        return found & wanted

    def _expunge(self) -> None:
        if self._moves:
            return
        if self._uidplus:
            for uid_set in uid_sets(self._since):
                self._session.wire.run(b"UID EXPUNGE " + uid_set)
        else:
            self._expunge_ours()

    def _expunge_ours(self) -> None:
        """EXPUNGE, when nothing but ours is flagged."""
        wire = self._session.wire
        others = wire.search(b"DELETED") - self._since
        self._owed |= others
        try:
            for uid_set in uid_sets(others):
                wire.run(b"UID STORE %b %b" % (uid_set, _UNFLAG))
            if others and wire.search(b"DELETED") - self._since:
                raise RemovalRefused(
                    f"{self._session.where}: the server has no UIDPLUS, and another client is deleting mail in the "
                    "same folder; ours stays flagged \\Deleted until it can be expunged alone"
                )
            wire.run(b"EXPUNGE")
        finally:
            self._flag_again()

    def _flag_again(self) -> None:
        """Give others' messages their flag back; those of an attempt that broke off, too."""
        for uid_set in uid_sets(self._owed):
            try:
                self._session.wire.run(b"UID STORE %b %b" % (uid_set, _FLAG))
                self._owed.difference_update(in_set(uid_set))
            except Exception as error:  # noqa: BLE001  what is under way goes on; nothing is lost by a flag
                _log.warning(
                    "%s: another client's \\Deleted flag was taken off and could not be set again, on UID %s: %s",
                    self._session.where,
                    uid_set.decode("ascii"),
                    quoted(error),
                )


def target_problem(session: Session, target: str) -> MailroomError | None:
    """What is wrong with the folder that mail is to be moved to; None: nothing that can be seen from here."""
    try:
        session.count(target, "AFTER")
    except FolderMissing as error:
        return error
    return None
