"""A POP3 mailbox (RFC 1939), as `shared.mailboxes.base.Mailbox` has it.

Deletions count from QUIT on, and QUIT ends the session: hence `commit_every`, and a new session for the next listing. A
session that dies has deleted nothing, and its messages come again, under the same UIDLs and other numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Self

from shared.config import After, MailboxSettings
from shared.errors import (
    CommitUncertain,
    ConnectFailed,
    ConnectionLost,
    FolderMissing,
    MailboxError,
    MailroomError,
    RemovalRefused,
    printable,
)
from shared.mailboxes.base import Batch, FolderCheck, ListedMessage
from shared.mailboxes.pop3.errors import GarbledResponse, raise_if_throttled
from shared.mailboxes.pop3.fetch import CommandPipeline
from shared.mailboxes.pop3.listing import listed_messages
from shared.mailboxes.pop3.maildrop import sizes_and_keys, times_received
from shared.mailboxes.pop3.server_record import RECORDS, ServerRecords
from shared.mailboxes.pop3.session import Session, Timeouts, open_session
from shared.mailboxes.tls import setting_name

INBOX: Final = "INBOX"

COMMIT_EVERY: Final = 500
"""Deletions from one QUIT to the next: what is stored and comes again if the session dies."""

RECOVERIES: Final = 8
"""How often connections that break are made again, from opening the mailbox to closing it."""

_log = logging.getLogger("mailroom.mailboxes")


class Pop3Mailbox:
    """A session with a POP3 mailbox; a new one whenever `list` is called after `commit`.

    Args:
        settings: the mailbox's.
        tokens: gives an access token that is good now; asked only where the sign-in is by token.
        timeouts: how long to wait.
        records: what is remembered about servers; the process's own by default.

    Raises:
        ConnectFailed, TlsRefused, AuthenticationError, MailboxBusy, ConnectionLost: as they say.
    """

    def __init__(
        self,
        settings: MailboxSettings,
        tokens: Callable[[], str],
        *,
        timeouts: Timeouts | None = None,
        records: ServerRecords = RECORDS,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._timeouts = timeouts or Timeouts()
        self._record = records.record(settings)
        self._listed: dict[int, ListedMessage] = {}
        self._key_prefix: str | None = None
        self._recoveries = 0
        self._pipelines = False
        self._session: Session | None = None
        self._flow = self._open()

    @property
    def folders(self) -> Sequence[str]:
        """POP3 knows one."""
        return (INBOX,)

    @property
    def commit_every(self) -> int | None:
        """How many deletions a session takes."""
        return COMMIT_EVERY if self._settings.after is After.DELETE else None

    def list(
        self,
        folder: str,
        *,
        received: bool = False,
        above: str | None = None,  # noqa: ARG002  UIDLs have no order
        since: datetime | None = None,  # noqa: ARG002  a listing is one request, whatever it leaves out
    ) -> Sequence[ListedMessage]:
        """The messages, oldest first; see `shared.mailboxes.base.Mailbox.list`.

        Raises:
            MailboxError: `AFTER` is `keep`, and the server has no UIDL to know a message again by.
        """
        self._pipelines = False
        if not received:
            return self._list(folder, received=False, pipelining=False)
        try:
            return self._list(folder, received=True, pipelining=not self._record.no_pipelining)
        except ConnectionLost as error:
            if self._record.no_pipelining or not self._pipelines:
                raise
            # Pipelined TOPs may have broken it: once more, one command at a time.
            if isinstance(error.__cause__, GarbledResponse):
                self._record.disable_pipelining(str(error.__cause__))
            else:
                self._record.count_break()
            return self._list(folder, received=True, pipelining=False)

    @property
    def key_prefix(self) -> str | None:
        """Empty, as UIDLs have nothing in common; None if LIST lacks a message that UIDL has."""
        return self._key_prefix

    def watermark(self, dealt_with: Collection[int]) -> str | None:  # noqa: ARG002  UIDLs have no order
        """None: POP3 has no marks."""
        return None

    def fetch(self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches; see `shared.mailboxes.base.Mailbox.fetch`."""
        try:
            yield from self._flow.fetch((self._of_this_listing(batch) for batch in batches), max_bytes)
        except MailroomError:
            self._drop()
            raise

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        """Delete messages, by the number whose UIDL this session read (rule 8.2). `commit` makes it final.

        A refusal is told by `commit`, since nobody waits for the answers here.

        Raises:
            RemovalRefused: a message is not one of the last listing.
        """
        with self._dropping():
            if self._settings.after is not After.DELETE:
                raise RemovalRefused(f"mailbox {self._settings.name}: POP3 can do no more than delete")
            self._flow.delete(self._of_this_listing(messages))

    def commit(self) -> None:
        """QUIT: make deletions final; see `shared.mailboxes.base.Mailbox.commit`.

        Raises:
            RemovalRefused: QUIT, or one of the deletions before it, was refused.
            CommitUncertain: QUIT was sent, and its answer was lost: the deletions count or not.
            ConnectionLost: that happened repeatedly, and what was deleted is listed again each time.
        """
        if self._session is None:
            return
        with self._using() as session:
            deleted, refused = self._flow.deleted, self._flow.refused
            lost: ConnectionLost | None = None
            accepted, text = False, ""
            try:
                accepted, text = session.quit()
                if deleted:
                    self._record.quit_answered()
            except ConnectionLost as error:
                lost = error
        self._forget()
        if refused:
            number, why = next(iter(refused.items()))
            told = f"{len(refused)} of {len(deleted)} deletions were refused, message {number} with {printable(why)}"
            raise RemovalRefused(f"{session.where}: {told}")
        if not deleted or accepted:
            return
        if lost is None:
            raise_if_throttled(text, session.where)
            raise RemovalRefused(
                f"{session.where}: QUIT was refused, nothing is deleted for certain: {printable(text)}"
            )
        if self._record.quit_unanswered(message.key or "" for message in deleted):
            raise ConnectionLost(
                f"{lost}: QUIT was not answered, several times in a row, and what was deleted is listed again each time"
            ) from lost
        raise CommitUncertain(f"{lost}: QUIT was not answered; {len(deleted)} deletions count or not") from lost

    def _list(self, folder: str, *, received: bool, pipelining: bool) -> Sequence[ListedMessage]:
        with self._using(folder) as session:
            self._pipelines = pipelining and session.pipelines
            sizes, keys = sizes_and_keys(session)
            if keys is None and self._settings.after is After.KEEP:
                raise MailboxError(f"{session.where}: {self._keep_trouble()}")
            times = times_received(session, sorted(sizes), pipelining=self._pipelines) if received else {}
            messages = listed_messages(sizes, keys or {}, times)
        self._flow.listed_anew(messages)
        self._listed = {message.number: message for message in messages}
        self._key_prefix = "" if sizes.keys() >= (keys or {}).keys() else None
        return messages

    def check_folder(self, folder: str) -> FolderCheck:
        """How many messages there are; whether they could be known again, where they are to be kept."""
        with self._using(folder) as session:
            sizes, keys = sizes_and_keys(session)
        keep = self._settings.after is After.KEEP
        return FolderCheck(folder, len(sizes), (self._keep_trouble(),) if keep and keys is None else ())

    def close(self) -> None:
        """End the session; what was deleted and not committed stays. Never raises."""
        session, clean = self._session, self._flow.is_idle and not self._flow.deleted
        self._forget()
        if session is not None:
            session.leave() if clean else session.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> CommandPipeline:
        self._session = open_session(self._settings, self._tokens, self._timeouts)
        self._flow = CommandPipeline(self._session, self._reconnect, self._record)
        return self._flow

    def _reconnect(self, error: ConnectionLost) -> tuple[Session, dict[str, int]]:
        """Another session, and what is called how there.

        Raises:
            ConnectionLost: `error`, if that was done too often, cannot be done, or would not help without UIDL.
        """
        without_key = any(message.key is None for message in self._listed.values())
        if self._session is None or without_key or self._recoveries >= RECOVERIES:
            raise error
        self._recoveries += 1
        _log.info("connecting again: %s", error)
        self._session.drop()
        try:
            self._session = open_session(self._settings, self._tokens, self._timeouts)
            _, keys = sizes_and_keys(self._session)
        except (ConnectFailed, ConnectionLost):
            raise error from None
        return self._session, {key: number for number, key in (keys or {}).items()}

    @contextmanager
    def _using(self, folder: str = INBOX) -> Iterator[Session]:
        """The session with everything answered, or a new one if there is none; dropped if anything breaks."""
        if folder.upper() != INBOX:
            raise FolderMissing(f"mailbox {self._settings.name}: POP3 has only {INBOX}, and not {printable(folder)}")
        with self._dropping():
            if self._session is None:
                self._open()
            self._flow.settle()
            assert self._session is not None
            yield self._session

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """After an error nobody knows what is outstanding: the session goes with it."""
        try:
            yield
        except MailroomError:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._session is not None:
            self._session.drop()
        self._forget()

    def _forget(self) -> None:
        self._session = None
        self._listed = {}

    def _of_this_listing(self, messages: Sequence[ListedMessage]) -> Sequence[ListedMessage]:
        """Refuse numbers of another listing, which may be other messages by now."""
        for message in messages:
            known = self._listed.get(message.number)
            if known is not message and (known is None or known.key is None or known.key != message.key):
                raise RemovalRefused(f"mailbox {self._settings.name}: message {message.number} was not listed here")
        return messages

    def _keep_trouble(self) -> str:
        name = setting_name(self._settings, "AFTER")
        return f"{name}=keep needs UIDL, which the server does not have: set it to delete, or use IMAP"
