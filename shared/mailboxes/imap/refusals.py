"""Decides what it means that a message was requested alone and was not delivered.

Either the response concerns the session or the account: an error is raised. Or the server refuses this message. Or the
message may be gone: if the server responds OK without it, or that it no longer exists, a UID SEARCH decides.

A code such as [UNAVAILABLE] may concern one message (Yahoo) or the server. If `BUSY_IN_A_ROW` messages are refused with
it and none is delivered in between, the folder's last message decides: if the server does not deliver its first byte
either, the mailbox is busy. Throttling always concerns the account: no further command is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from shared.errors import AccessRefused, MailboxBusy, printable
from shared.mailboxes.imap.errors import CommandRejected, SessionExpired, map_error, session_error
from shared.mailboxes.imap.syntax import expand_set, uid_sets
from shared.mailboxes.imap.wire import Command, Wire
from shared.mailboxes.temporary_refusals import is_temporary_refusal

BUSY_IN_A_ROW = 5
"""Temporary refusals of messages in a row, after which the mailbox counts as busy."""

_GONE = frozenset({"EXPUNGEISSUED", "NONEXISTENT"})


class NamedSession(Protocol):
    """A session as error texts name it."""

    @property
    def where(self) -> str:
        """The mailbox and its server."""


@dataclass(frozen=True, slots=True)
class NotDelivered:
    """A message that was not delivered.

    Attributes:
        reason: what the server answered.
        may_be_gone: whether it may no longer exist; otherwise the server refuses it.
    """

    reason: str
    may_be_gone: bool


class Refusals:
    """Judges responses without the requested message.

    Args:
        session: the session.
    """

    def __init__(self, session: NamedSession) -> None:
        self._session = session
        self._busy_in_a_row = 0

    def note_delivery(self) -> None:
        """Note that the server delivered a message."""
        self._busy_in_a_row = 0

    def raise_if_about_session(self, command: Command) -> None:
        """Raise the error of a response that concerns the session or the account, and not a message.

        Raises:
            MailboxBusy, AccessRefused, SessionExpired: the response says so.
        """
        if command.status == "OK":
            return
        rejection = CommandRejected(command.text, command.status, command.response)
        error = session_error(rejection.text, self._session.where)
        if error is None and rejection.code == "OVERQUOTA":
            error = map_error(rejection, self._session.where)
        if isinstance(error, MailboxBusy | SessionExpired | AccessRefused):
            raise error

    def judge(self, command: Command, wire: Wire, receive_all: Callable[[Wire], None]) -> NotDelivered:
        """Return what a response says about the message that it lacks.

        Args:
            command: the completed command, after `raise_if_about_session`.
            wire: its wire.
            receive_all: reads until all commands of a wire are completed, and keeps the bodies that arrive.

        Raises:
            MailboxBusy: the server refuses every message for now.
            AccessRefused, SessionExpired: the response to a further command is about the session.
        """
        rejection = CommandRejected(command.text, command.status, command.response)
        if command.status == "OK":
            return NotDelivered("the server answered OK without the message", may_be_gone=True)
        if rejection.code in _GONE:
            return NotDelivered(f"the server answered {printable(rejection)}", may_be_gone=True)
        if is_temporary_refusal(rejection.text):
            self._busy_in_a_row += 1
            if self._busy_in_a_row >= BUSY_IN_A_ROW and not self._delivers_last_message(wire, receive_all):
                raise MailboxBusy(
                    f"{self._session.where}: not now: {BUSY_IN_A_ROW} messages in a row were refused, the last "
                    f"with {printable(rejection.text)}"
                )
        return NotDelivered(f"the server answered {printable(rejection)}", may_be_gone=False)

    def existing(self, uids: Iterable[int], wire: Wire) -> set[int]:
        """Return the UIDs that still exist, or may: if the server refuses SEARCH, the next poll requests them again.

        Raises:
            MailboxBusy, AccessRefused, SessionExpired: the refusal is about the session.
        """
        remaining: set[int] = set()
        for uid_set in uid_sets(uids):
            try:
                remaining |= wire.search(b"UID " + uid_set)
            except CommandRejected as error:
                about_session = session_error(error.text, self._session.where)
                if about_session is not None:
                    raise about_session from error
                remaining.update(expand_set(uid_set))
        return remaining

    def _delivers_last_message(self, wire: Wire, receive_all: Callable[[Wire], None]) -> bool:
        """Return whether the server delivers a byte of the folder's last message; if so, the server is not busy.

        The byte is discarded: without an offset in the response it could be mistaken for the message.
        """
        receive_all(wire)
        (command,) = wire.fetch(b"UID FETCH * (UID BODY.PEEK[]<0.1>)")
        bodies = list(wire.bodies_until(command))
        self.raise_if_about_session(command)
        delivers = any(body.value for body in bodies)
        if delivers:
            self.note_delivery()
        return delivers
