"""A POP3 mailbox (RFC 1939): implements `shared.mailboxes.base.Mailbox`.

QUIT commits deletions and ends the session: hence `commit_every`, and a new session for the next listing. A session
that breaks has deleted nothing. Its messages are listed again with the same UIDLs and other numbers.
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
from shared.mailboxes.pop3.listing import listed_messages, sizes_and_keys, times_received
from shared.mailboxes.pop3.server_record import RECORDS, ServerRecords
from shared.mailboxes.pop3.session import Session, Timeouts, open_session
from shared.mailboxes.tls import setting_name

INBOX: Final = "INBOX"

COMMIT_EVERY: Final = 500
"""Deletions from one QUIT to the next: the messages that are listed again if the session breaks."""

MAX_RECONNECTS: Final = 8
"""Reconnections after a broken connection, from opening the mailbox to closing it."""

_log = logging.getLogger("mailroom.mailboxes")


class Pop3Mailbox:
    """A POP3 mailbox, over one session until `commit` and a new one at the next `list`.

    Args:
        settings: the mailbox's settings.
        tokens: returns a valid access token; called only if the sign-in uses tokens.
        timeouts: the timeouts.
        records: observations about servers; by default those of this process.

    Raises:
        ConnectFailed, TlsRefused, AuthenticationError, MailboxBusy, ConnectionLost: see `shared.errors`.
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
        self._reconnects = 0
        self._pipelines = False
        self._session: Session | None = None
        self._pipeline = self._open()

    @property
    def folders(self) -> Sequence[str]:
        """The only folder of POP3."""
        return (INBOX,)

    @property
    def commit_every(self) -> int | None:
        """Number of deletions per session."""
        return COMMIT_EVERY if self._settings.after is After.DELETE else None

    def list(
        self,
        folder: str,
        *,
        received: bool = False,
        above: str | None = None,  # noqa: ARG002  UIDLs have no order
        since: datetime | None = None,  # noqa: ARG002  a listing is one request in any case
    ) -> Sequence[ListedMessage]:
        """Return the messages, oldest first; see `shared.mailboxes.base.Mailbox.list`.

        Raises:
            MailboxError: `AFTER` is `keep`, and the server has no UIDL by which messages are recognised.
        """
        self._pipelines = False
        if not received:
            return self._list(folder, received=False, pipelining=False)
        try:
            return self._list(folder, received=True, pipelining=not self._record.no_pipelining)
        except ConnectionLost as error:
            if self._record.no_pipelining or not self._pipelines:
                raise
            # Pipelined TOPs may have broken the connection: list again with one command at a time.
            if isinstance(error.__cause__, GarbledResponse):
                self._record.disable_pipelining(str(error.__cause__))
            else:
                self._record.count_break()
            return self._list(folder, received=True, pipelining=False)

    @property
    def key_prefix(self) -> str | None:
        """Return "", as UIDLs have no common prefix, or None if LIST lacks a message that UIDL has."""
        return self._key_prefix

    def watermark(self, processed: Collection[int]) -> str | None:  # noqa: ARG002  UIDLs have no order
        """Return None: POP3 has no watermarks."""
        return None

    def fetch(self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches; see `shared.mailboxes.base.Mailbox.fetch`."""
        try:
            yield from self._pipeline.fetch((self._check_listed(batch) for batch in batches), max_bytes)
        except MailroomError:
            self._drop()
            raise

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        """Delete messages by the number whose UIDL this session read (rule 8.2). `commit` makes it final.

        The responses are not awaited here, so `commit` reports refusals.

        Raises:
            RemovalRefused: a message is not in the last listing.
        """
        with self._drop_on_error():
            if self._settings.after is not After.DELETE:
                raise RemovalRefused(
                    f"mailbox {self._settings.name}: POP3 can only delete; set "
                    f"{setting_name(self._settings, 'AFTER')}=delete"
                )
            self._pipeline.delete(self._check_listed(messages))

    def commit(self) -> None:
        """Make deletions final with QUIT; see `shared.mailboxes.base.Mailbox.commit`.

        Raises:
            RemovalRefused: QUIT or a deletion before it was refused.
            CommitUncertain: the response to QUIT was lost, so the deletions may be committed or not.
            ConnectionLost: that happened repeatedly, and the deleted messages are listed again each time.
        """
        if self._session is None:
            return
        with self._idle_session() as session:
            deleted, refused = self._pipeline.deleted, self._pipeline.refused
            lost: ConnectionLost | None = None
            accepted, text = False, ""
            try:
                accepted, text = session.quit()
                if deleted:
                    self._record.quit_answered()
            except ConnectionLost as error:
                lost = error
        self._clear()
        if refused:
            number, text = next(iter(refused.items()))
            raise RemovalRefused(
                f"{session.where}: {len(refused)} of {len(deleted)} deletions were refused, message {number} with "
                f"{printable(text)}"
            )
        if not deleted or accepted:
            return
        if lost is None:
            raise_if_throttled(text, session.where)
            raise RemovalRefused(f"{session.where}: QUIT was refused, so no deletion is certain: {printable(text)}")
        if self._record.quit_unanswered(message.key or "" for message in deleted):
            raise ConnectionLost(
                f"{lost}: QUIT was not answered several times in a row, and deleted messages are listed again each time"
            ) from lost
        raise CommitUncertain(
            f"{lost}: QUIT was not answered; {len(deleted)} deletions may be committed or not"
        ) from lost

    def _list(self, folder: str, *, received: bool, pipelining: bool) -> Sequence[ListedMessage]:
        with self._idle_session(folder) as session:
            self._pipelines = pipelining and session.pipelines
            sizes, keys = sizes_and_keys(session)
            if keys is None and self._settings.after is After.KEEP:
                raise MailboxError(f"{session.where}: {self._keep_problem()}")
            times = times_received(session, sorted(sizes), pipelining=self._pipelines) if received else {}
            messages = listed_messages(sizes, keys or {}, times)
        self._pipeline.use_listing(messages)
        self._listed = {message.number: message for message in messages}
        self._key_prefix = "" if sizes.keys() >= (keys or {}).keys() else None
        return messages

    def check_folder(self, folder: str) -> FolderCheck:
        """Count the messages; with `AFTER=keep`, check that the server has UIDL."""
        with self._idle_session(folder) as session:
            sizes, keys = sizes_and_keys(session)
        keep = self._settings.after is After.KEEP
        return FolderCheck(folder, len(sizes), (self._keep_problem(),) if keep and keys is None else ())

    def close(self) -> None:
        """End the session without committing deletions. Never raises."""
        session, clean = self._session, self._pipeline.is_idle and not self._pipeline.deleted
        self._clear()
        if session is not None:
            session.quit_quietly() if clean else session.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> CommandPipeline:
        self._session = open_session(self._settings, self._tokens, self._timeouts)
        self._pipeline = CommandPipeline(self._session, self._reconnect, self._record)
        return self._pipeline

    def _reconnect(self, error: ConnectionLost) -> tuple[Session, dict[str, int]]:
        """Return another session, and the message numbers in it by key.

        Raises:
            ConnectionLost: `error`, after too many reconnections, if the reconnection fails, or without UIDL.
        """
        without_key = any(message.key is None for message in self._listed.values())
        if self._session is None or without_key or self._reconnects >= MAX_RECONNECTS:
            raise error
        self._reconnects += 1
        _log.info("%s; reconnecting", error)
        self._session.disconnect()
        try:
            self._session = open_session(self._settings, self._tokens, self._timeouts)
            _, keys = sizes_and_keys(self._session)
        except (ConnectFailed, ConnectionLost):
            raise error from None
        return self._session, {key: number for number, key in (keys or {}).items()}

    @contextmanager
    def _idle_session(self, folder: str = INBOX) -> Iterator[Session]:
        """Return a context with an idle session, opened if necessary and dropped after an error."""
        if folder.upper() != INBOX:
            raise FolderMissing(
                f"mailbox {self._settings.name}: POP3 has only {INBOX}, not {printable(folder)}; check "
                f"{setting_name(self._settings, 'FOLDERS')}"
            )
        with self._drop_on_error():
            if self._session is None:
                self._open()
            self._pipeline.finish_outstanding()
            assert self._session is not None
            yield self._session

    @contextmanager
    def _drop_on_error(self) -> Iterator[None]:
        """Return a context that drops the session after an error, since the outstanding commands are unknown then."""
        try:
            yield
        except MailroomError:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._session is not None:
            self._session.disconnect()
        self._clear()

    def _clear(self) -> None:
        self._session = None
        self._listed = {}

    def _check_listed(self, messages: Sequence[ListedMessage]) -> Sequence[ListedMessage]:
        """Return the messages if they are in the last listing; a number of another listing may be another message."""
        for message in messages:
            listed = self._listed.get(message.number)
            if listed is not message and (listed is None or listed.key is None or listed.key != message.key):
                raise RemovalRefused(
                    f"mailbox {self._settings.name}: message {message.number} is not in the last listing"
                )
        return messages

    def _keep_problem(self) -> str:
        name = setting_name(self._settings, "AFTER")
        return f"{name}=keep needs UIDL, which the server does not have; set it to delete, or use IMAP"
