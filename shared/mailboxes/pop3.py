"""A POP3 mailbox (RFC 1939), as `shared.mailboxes.protocol.Mailbox` has it.

Deletions count from QUIT on, and QUIT ends the session: hence `commit_every`, and a new session for the next listing. A
session that dies has deleted nothing, and its messages come again, under the same UIDLs and other numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Self

from shared.errors import (
    FolderMissing,
    MailboxBusy,
    MailboxFailed,
    MailroomError,
    RemovalRefused,
    SignInRefused,
    quoted,
)
from shared.mailboxes.pop3_errors import refusal
from shared.mailboxes.pop3_fetch import WINDOW, Flow
from shared.mailboxes.pop3_listing import Headers, keys_of, listed, sizes_of
from shared.mailboxes.pop3_session import Session, Timeouts
from shared.mailboxes.protocol import Batch, Listed, Rights
from shared.mailboxes.tls import setting
from shared.settings import After, MailboxSettings, SignIn

INBOX: Final = "INBOX"

COMMIT_EVERY: Final = 500
"""Deletions from one QUIT to the next: what is stored and comes again if the session dies."""


class Pop3Mailbox:
    """A session with a POP3 mailbox; a new one whenever `list` is called after `commit`.

    Args:
        settings: the mailbox's.
        tokens: gives an access token that is good now; asked only where the sign-in is by token.
        timeouts: how long to wait.

    Raises:
        ConnectFailed, TlsRefused, SignInRefused, MailboxBusy, ConnectionLost: as they say.
    """

    def __init__(
        self, settings: MailboxSettings, tokens: Callable[[], str], *, timeouts: Timeouts | None = None
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._timeouts = timeouts or Timeouts()
        self._listed: dict[int, Listed] = {}
        self._deleted = 0
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

    def list(self, folder: str, *, received: bool = False, above: str | None = None) -> Sequence[Listed]:  # noqa: ARG002  UIDLs have no order
        """The messages, oldest first; see `shared.mailboxes.protocol.Mailbox.list`.

        Raises:
            MailboxFailed: `AFTER` is `keep`, and the server has no UIDL to know a message again by.
        """
        with self._using(folder) as session:
            self._flow.settle()
            sizes, keys = self._sizes_and_keys(session)
            if keys is None and self._settings.after is After.KEEP:
                raise MailboxFailed(f"{session.where}: {self._keep_trouble()}")
            times = self._received(session, sorted(sizes)) if received else {}
            messages = listed(sizes, keys or {}, times)
        self._listed = {message.number: message for message in messages}
        return messages

    def fetch(self, batches: Iterable[Sequence[Listed]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches; see `shared.mailboxes.protocol.Mailbox.fetch`."""
        try:
            yield from self._flow.fetch((self._of_this_session(batch) for batch in batches), max_bytes)
        except MailroomError:
            self._drop()
            raise

    def remove(self, messages: Sequence[Listed]) -> None:
        """Delete messages, by the number under which this session listed them (rule 8.2). `commit` makes it final.

        A refusal is told by `commit`, since nobody waits for the answers here.

        Raises:
            RemovalRefused: a message is not one that this session has listed.
        """
        numbers = [message.number for message in self._of_this_session(messages)]
        with self._using() as session:
            if self._settings.after is not After.DELETE:
                raise RemovalRefused(f"{session.where}: POP3 can do no more than delete")
            self._deleted += len(numbers)
            self._flow.delete(numbers)

    def commit(self) -> None:
        """QUIT: make deletions final; see `shared.mailboxes.protocol.Mailbox.commit`.

        Raises:
            RemovalRefused: QUIT, or one of the deletions before it, was refused.
            ConnectionLost: there was no answer.
        """
        if self._session is None:
            return
        with self._using() as session:
            self._flow.settle()
            refused, deleted = self._flow.refused, self._deleted
            accepted, text = session.quit()
        self._forget()
        if deleted and not accepted:
            raise RemovalRefused(f"{session.where}: QUIT was refused, nothing is deleted for certain: {quoted(text)}")
        if refused:
            number, text = next(iter(refused.items()))
            told = (
                f"{len(refused)} of {deleted} deletions were refused, the first (message {number}) with {quoted(text)}"
            )
            raise RemovalRefused(f"{session.where}: {told}")

    def rights(self, folder: str) -> Rights:
        """How many messages there are; whether they could be known again, where they are to be kept."""
        with self._using(folder) as session:
            self._flow.settle()
            sizes, keys = self._sizes_and_keys(session)
        keep = self._settings.after is After.KEEP
        return Rights(folder, len(sizes), (self._keep_trouble(),) if keep and keys is None else ())

    def close(self) -> None:
        """End the session; what was deleted and not committed stays. Never raises."""
        session, clean = self._session, not self._deleted and self._flow.is_idle
        self._forget()
        if session is not None:
            session.leave() if clean else session.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> Flow:
        """A new session; with another token, once, if the server refused one and there is another by now (rule 1.4)."""
        used: list[bytes] = []

        def token() -> str:
            given = self._tokens()
            used.append(hashlib.sha256(given.encode()).digest())
            return given

        try:
            session = Session(self._settings, token, self._timeouts)
        except SignInRefused:
            if self._settings.sign_in is SignIn.PASSWORD or not used:
                raise
            token()
            if used[0] == used[1]:
                raise
            session = Session(self._settings, token, self._timeouts)
        self._session = session
        self._flow = Flow(session)
        return self._flow

    @contextmanager
    def _using(self, folder: str = INBOX) -> Iterator[Session]:
        """The session, or a new one if there is none; dropped if anything breaks."""
        if folder.upper() != INBOX:
            raise FolderMissing(f"mailbox {self._settings.name}: POP3 has no folder {folder!r}, only {INBOX}")
        if self._session is None:
            self._open()
        assert self._session is not None
        try:
            yield self._session
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
        self._deleted = 0

    def _of_this_session(self, messages: Sequence[Listed]) -> Sequence[Listed]:
        """Refuse numbers of another session, which are other messages by now."""
        for message in messages:
            known = self._listed.get(message.number)
            if known is not message and (known is None or known.key is None or known.key != message.key):
                self._drop()
                raise RemovalRefused(f"mailbox {self._settings.name}: message {message.number} was not listed here")
        return messages

    def _keep_trouble(self) -> str:
        name = setting(self._settings, "AFTER")
        return f"{name}=keep needs UIDL, which the server does not have: set it to delete, or use IMAP"

    def _sizes_and_keys(self, session: Session) -> tuple[dict[int, int], dict[int, str] | None]:
        wire = session.wire
        with session.mapping():
            if session.can("PIPELINING"):
                wire.send(b"UIDL", b"LIST")
            else:
                wire.send(b"UIDL")
            known, text = wire.answer()
            keys = keys_of(wire.listing()) if known else None
            if not session.can("PIPELINING"):
                wire.send(b"LIST")
            told, why = wire.answer()
            sizes = sizes_of(wire.listing()) if told else {}
        if not known and isinstance(busy := refusal(text, session.where, "UIDL"), MailboxBusy):
            raise busy
        if not told:
            raise refusal(why, session.where, "LIST", login_delay=session.login_delay)
        return sizes, keys

    def _received(self, session: Session, numbers: Sequence[int]) -> dict[int, datetime | None]:
        """When messages were received, from their headers: TOP n 0."""
        times: dict[int, datetime | None] = {}
        window = WINDOW if session.can("PIPELINING") else 1
        for start in range(0, len(numbers) if session.may("TOP") else 0, window):
            part = numbers[start : start + window]
            with session.mapping():
                session.wire.send(*(b"TOP %d 0" % number for number in part))
                for number in part:
                    if session.wire.answer()[0]:
                        headers = Headers()
                        session.wire.drain(headers.write)
                        times[number] = headers.received()
        return times
