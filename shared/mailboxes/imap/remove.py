r"""Removal by UID, never by sequence number, so that nobody else's mail goes (rule 8.2).

With UIDPLUS (RFC 4315) a batch is flagged and expunged by its UIDs in one write. With MOVE (RFC 6851) it is moved.
Without UIDPLUS the only EXPUNGE there is takes everything that is flagged `\Deleted`, whoever flagged it: so it is
sent once, by `commit`, and what others have flagged loses its flag before and gets it again behind it. Somebody who
flags a message between our last look and the EXPUNGE, a round trip, has it expunged, as their own client's next
EXPUNGE would have done. When anything is in doubt ours stay flagged and nothing is expunged.

Two pairs of STORE and UID EXPUNGE on the wire at once were seen to end in OK with nothing removed. So there is one at
a time, its answer is waited for when the next is due, and `commit` expunges everything once more and looks what is
left.

A server that offers MOVE and refuses it gets COPY, STORE and UID EXPUNGE for the rest of the session, for what is still
in the folder and was not copied yet (COPYUID says what was).

On Gmail `\Deleted` and EXPUNGE only archive a message. There it is moved to the folder with the special use `\Trash`,
and `commit` expunges it in that folder, by the UIDs that COPYUID gave, or else by X-GM-MSGID: never what others put
there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from shared.errors import FolderMissing, MailroomError, RemovalRefused, printable
from shared.mailboxes.imap.errors import BUSY_CODES, MISSING_CODES, CommandRejected, removal_error, session_error
from shared.mailboxes.imap.session import Session
from shared.mailboxes.imap.syntax import folder_name, in_set, uid_sets
from shared.mailboxes.imap.wire import Command

_log = logging.getLogger("mailroom.imap")

_FLAG = b"+FLAGS.SILENT (\\Deleted)"
_UNFLAG = b"-FLAGS.SILENT (\\Deleted)"

_FINAL = MISSING_CODES | BUSY_CODES | {"OVERQUOTA"}
"""Codes of a refused MOVE after which COPY would be refused as well."""

IDS_AT_ONCE = 50
"""X-GM-MSGIDs that one SEARCH asks for."""


@dataclass(frozen=True, slots=True)
class Target:
    """The folder that messages are moved to.

    Attributes:
        name: for people.
        quoted_name: for commands.
        purge: messages are expunged there at the commit.
    """

    name: str
    quoted_name: bytes
    purge: bool = False

    @classmethod
    def named(cls, name: str) -> Target:
        """Return the target with the name that a setting holds."""
        return cls(name, folder_name(name))


class Remover:
    """Removes messages of the open folder.

    Args:
        session: with the folder open for writing.
        target: the folder to move to; None: delete.
    """

    def __init__(self, session: Session, target: Target | None) -> None:
        self._target = target
        self._copied: dict[int, tuple[int, int]] = {}
        self._gmail_ids: dict[int, bytes] = {}
        self.use(session)
        self._moves = target is not None and session.can("MOVE")
        self._uidplus = session.can("UIDPLUS")
        self._since: set[int] = set()
        self._owed: set[int] = set()
        self._pair_set = b""

    @property
    def purges(self) -> bool:
        """Whether `commit` expunges in the target folder, and leaves that one open."""
        return self._target is not None and self._target.purge

    def use(self, session: Session) -> None:
        """Go on with another session, with the same folder open. What the last pair did, `commit` will see."""
        self._session = session
        session.wire.copied, session.wire.gmail_ids = self._copied, self._gmail_ids
        self._pair: list[Command] = []

    def remove(self, uids: Iterable[int]) -> None:
        """Have messages removed; that they are is certain after `commit`.

        Raises:
            RemovalRefused, FolderMissing: the server would not, now or the last time.
        """
        for uid_set in uid_sets(uids):
            self._settle()
            if self.purges:
                # Not waited for: what it says is kept when it comes.
                self._session.wire.send(b"UID FETCH %b (UID X-GM-MSGID)" % uid_set)
            if self._target is not None and not self._moves:
                # What COPYUID says was copied is not copied again after a connection that broke.
                self._copy(set(in_set(uid_set)) - self._copied.keys())
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
                self._run(left)
                self._expunge()
                left = self._left(left)
            if self.purges and self._since:
                self._purge()
        except CommandRejected as error:
            raise self._error(error) from error
        self._since.clear()
        if left:
            raise RemovalRefused(
                f"{self._session.where}: the server says that it removed {len(left)} messages, and has them still, "
                f"UID {min(left)} for one; look at the account's rights in the folder"
            )

    def _commands(self, uid_set: bytes) -> list[bytes]:
        if self._moves and self._target is not None:
            return [b"UID MOVE %b %b" % (uid_set, self._target.quoted_name)]
        return self._deletion(uid_set)

    def _deletion(self, uid_set: bytes) -> list[bytes]:
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
            except CommandRejected as error:
                self._after_refusal(error, self._pair_set)
                return

    def _run(self, uids: Iterable[int]) -> None:
        """Remove messages, one command after the other; by COPY, if MOVE is refused."""
        left = set(uids)
        if self._moves:
            try:
                for uid_set in uid_sets(left - self._copied.keys()):
                    self._session.wire.run(*self._commands(uid_set))
            except CommandRejected as error:
                self._give_up_move(error)
            left = self._left(left)
            if self._moves:
                left &= self._copied.keys()  # `commit` reports the others.
            else:
                self._copy(left - self._copied.keys())
        for uid_set in uid_sets(left):
            for text in self._deletion(uid_set):
                self._session.wire.run(text)

    def _give_up_move(self, error: CommandRejected) -> None:
        """Fall back to COPY for the session, if a refusal of MOVE does not hold for COPY as well; else raise it."""
        if error.code in _FINAL or session_error(error.text, self._session.where) is not None:
            raise error
        _log.warning("%s: MOVE is offered and refused, COPY is used: %s", self._session.where, printable(error))
        self._moves = False

    def _copy(self, uids: Iterable[int]) -> None:
        assert self._target is not None
        for uid_set in uid_sets(uids):
            try:
                self._session.wire.run(b"UID COPY %b %b" % (uid_set, self._target.quoted_name))
            except CommandRejected as error:
                asked = set(in_set(uid_set))
                left = self._left(asked)
                if left == asked:
                    raise self._error(error) from error
                for some in uid_sets(left - self._copied.keys()):
                    try:
                        self._session.wire.run(b"UID COPY %b %b" % (some, self._target.quoted_name))
                    except CommandRejected as again:
                        raise self._error(again) from error

    def _after_refusal(self, error: CommandRejected, uid_set: bytes) -> None:
        """A refusal because some are gone is none: once more, for those that are there.

        Dovecot says so with [EXPUNGEISSUED] (RFC 5530) and does nothing; others say NO to a set that is empty by now.
        """
        asked = set(in_set(uid_set))
        try:
            left = self._left(asked)
            if self._moves and left == asked:
                self._give_up_move(error)
                self._copy(left - self._copied.keys())
            elif left == asked:
                raise error
            self._run(left)
        except CommandRejected as again:
            raise self._error(again) from error

    def _error(self, error: CommandRejected) -> MailroomError:
        return removal_error(error, self._target.name if self._target is not None else None, self._session.where)

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

    def _purge(self) -> None:
        """Expunge in the target folder what was moved there."""
        assert self._target is not None
        wire = self._session.wire
        moved = {uid: self._copied[uid] for uid in self._since if uid in self._copied}
        opened = self._session.select_named(self._target.quoted_name)
        uids = {copy for validity, copy in moved.values() if validity == opened.uidvalidity}
        ids = [
            self._gmail_ids[uid]
            for uid in sorted(self._since)
            if uid in self._gmail_ids and (uid not in moved or moved[uid][0] != opened.uidvalidity)
        ]
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = [b"X-GM-MSGID %b" % one for one in ids[start : start + IDS_AT_ONCE]]
            uids |= wire.search(b"OR " * (len(some) - 1) + b" ".join(some))
        for uid_set in uid_sets(uids):
            wire.run(b"UID STORE %b %b" % (uid_set, _FLAG))
            wire.run(b"UID EXPUNGE " + uid_set)
        left = self._left(uids)
        if left:
            raise RemovalRefused(
                f"{self._session.where}: {len(left)} messages were moved to folder {self._target.name!r} and cannot be "
                "deleted there; check the account's rights in that folder"
            )

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
                    printable(error),
                )


def target_problem(session: Session, target: str) -> MailroomError | None:
    """What is wrong with the folder that mail is to be moved to; None: nothing that can be seen from here."""
    try:
        session.count(target, "AFTER")
    except FolderMissing as error:
        return error
    return None
