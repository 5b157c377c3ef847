"""An IMAP mailbox: `shared.mailboxes.protocol.Mailbox` over RFC 3501, with UIDPLUS, MOVE and ACL where they are
offered.

The parts: `session` opens and signs in, `listing` lists, `fetch` downloads, `remove` removes, and all of them speak
through `wire`. This module keeps them together over a session that may have to be made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import takewhile
from typing import Self, TypeVar

from shared.errors import ConnectFailed, ConnectionLost
from shared.mailboxes.imap.fetch import Fetcher
from shared.mailboxes.imap.listing import listing
from shared.mailboxes.imap.remove import Remover, target_problem
from shared.mailboxes.imap.rights import look
from shared.mailboxes.imap.session import Opened, Session
from shared.mailboxes.imap.wire import Wire
from shared.mailboxes.protocol import Batch, Listed, Rights
from shared.settings import After, MailboxSettings

NEAR, FAR = 2, 4
"""Commands for downloads on the wire at once: from this machine, and over a network."""

RECOVERIES = 4
"""How often one session connects again."""

T = TypeVar("T")

_log = logging.getLogger("mailroom.imap")


class ImapMailbox:
    """An open session.

    Args:
        settings: the mailbox's.
        tokens: gives an access token that is good now.

    Raises:
        MailboxFailed, MailboxBusy: no connection, no TLS that can be trusted, or no sign-in.
    """

    def __init__(self, settings: MailboxSettings, tokens: Callable[[], str]) -> None:
        self._settings = settings
        self._tokens = tokens
        self._session = Session(settings, tokens)
        self._folder = ""
        self._listed: Sequence[Listed] = ()
        self._opened: Opened | None = None
        self._remover: Remover | None = None
        self._fetching: Generator[Batch, None, None] | None = None
        self._target = settings.move_to if settings.after is After.MOVE else None
        self._target_seen = self._target is None
        self._recoveries = 0
        self._closed = False

    @property
    def folders(self) -> Sequence[str]:
        """The folders to collect."""
        return self._settings.folders

    @property
    def commit_every(self) -> int | None:
        """Never of itself: removals take effect as they are made, or, without UIDPLUS, stay marked until the commit."""
        return None

    @property
    def where(self) -> str:
        """The mailbox and its server."""
        return self._session.where

    @property
    def wire(self) -> Wire:
        """The wire of the session as it is now."""
        return self._session.wire

    def mapping(self) -> AbstractContextManager[None]:
        """A context in which every foreign exception becomes one of ours."""
        return self._session.mapping()

    def list(
        self,
        folder: str,
        *,
        received: bool = False,
        above: str | None = None,
        since: datetime | None = None,  # noqa: ARG002  a listing is one request, whatever it leaves out
    ) -> Sequence[Listed]:
        """The messages in a folder, by UID; keys are `UIDVALIDITY.UID`.

        Raises:
            FolderMissing: the folder, or the one that mail is to be moved to, is not there.
            RemovalRefused: the folder may only be read, and mail is to be removed from it.
        """
        if self._fetching is not None:
            self._fetching.close()
        self._folder, self._opened, self._remover = folder, None, None

        def work() -> Sequence[Listed]:
            self._see_target()
            self._open()
            assert self._opened is not None
            return listing(self._session, self._opened, received=received, above=above)

        self._listed = self._again(work)
        return self._listed

    def mark(self, dealt_with: Collection[int]) -> str | None:
        """The key of the last message before the first that was not dealt with."""
        first = takewhile(lambda one: one.number in dealt_with, self._listed)
        *_, last = (None, *(one.key for one in first))
        return last

    def fetch(self, batches: Iterable[Sequence[Listed]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches of the folder listed last; see `Fetcher`."""
        width = NEAR if self._session.is_near else FAR
        self._fetching = Fetcher(self, self._folder, max_bytes, width).run(batches)
        return self._fetching

    def remove(self, messages: Sequence[Listed]) -> None:
        """Delete or move messages of the folder listed last; nothing, if mail is kept."""
        remover = self._remover
        if remover is not None:
            self._again(lambda: remover.remove([message.number for message in messages]))

    def commit(self) -> None:
        """Make removals final, and see that they are."""
        remover = self._remover
        if remover is not None:
            self._again(remover.commit)

    def rights(self, folder: str) -> Rights:
        """Look at a folder without changing anything."""
        removes = self._settings.after is not After.KEEP
        return self._again(lambda: look(self._session, folder, removes=removes, target=self._target))

    def close(self) -> None:
        """End the session. What was flagged and not expunged stays flagged."""
        self._closed = True
        if self._fetching is not None:
            self._fetching.close()
        self._session.close()

    def recover(self, error: ConnectionLost) -> None:
        """Connect and sign in again, with a token that is good now, and open the same folder.

        Raises:
            ConnectionLost: `error`, if that was done too often or cannot be done; or the folder's UIDs are no longer
                valid.
            SignInRefused: as it says.
        """
        if self._closed or self._recoveries >= RECOVERIES:
            raise error
        self._recoveries += 1
        _log.info("%s: connecting again: %s", self.where, error)
        before = self._opened
        self._session.close()
        try:
            self._session = Session(self._settings, self._tokens)
        except (ConnectFailed, ConnectionLost):
            raise error from None
        if before is None:
            return
        self._open()
        if self._opened is None or self._opened.uidvalidity != before.uidvalidity:
            raise ConnectionLost(
                f"{self.where}: folder {self._folder!r} was built anew meanwhile (UIDVALIDITY)"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _open(self) -> None:
        """Open the folder: for reading alone where mail is kept, so that not a flag changes."""
        keeps = self._settings.after is After.KEEP
        self._opened = self._session.select(self._folder, read_only=keeps)
        if self._remover is not None:
            self._remover.use(self._session)
        elif not keeps:
            self._remover = Remover(self._session, self._target)

    def _see_target(self) -> None:
        """Before anything is downloaded: is there a folder to move to?"""
        if self._target is not None and not self._target_seen:
            problem = target_problem(self._session, self._target)
            if problem is not None:
                raise problem
            self._target_seen = True

    def _again(self, work: Callable[[], T]) -> T:
        """Do what may be done twice; twice, if the connection is lost: a token may have died, which is seldom said."""
        try:
            with self.mapping():
                return work()
        except ConnectionLost as error:
            self.recover(error)
        with self.mapping():
            return work()
