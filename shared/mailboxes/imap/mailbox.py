"""An IMAP mailbox: `shared.mailboxes.base.Mailbox` over RFC 3501, with UIDPLUS, MOVE and ACL where they are
offered.

The parts: `session` opens and signs in, `list_messages` lists, `fetch` downloads, `remove` removes; all of them speak
through `wire`. This module keeps them together over a session that may have to be made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from typing import Self, TypeVar

from shared.config import After, MailboxSettings
from shared.errors import ConnectFailed, ConnectionLost, FolderMissing, RemovalRefused
from shared.mailboxes.base import Batch, FolderCheck, ListedMessage
from shared.mailboxes.imap.fetch import Fetcher
from shared.mailboxes.imap.folder_check import check_selected_folder
from shared.mailboxes.imap.listing import Watermark, list_messages
from shared.mailboxes.imap.remove import Remover, Target, target_problem
from shared.mailboxes.imap.session import SelectedFolder, Session
from shared.mailboxes.imap.special_use import find_trash
from shared.mailboxes.imap.wire import Wire
from shared.mailboxes.tls import setting_name

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
        MailboxError, MailboxBusy: no connection, no TLS that can be trusted, or no sign-in.
    """

    def __init__(self, settings: MailboxSettings, tokens: Callable[[], str]) -> None:
        self._settings = settings
        self._tokens = tokens
        self._session = Session(settings, tokens)
        self._folder = ""
        self._listed: Sequence[ListedMessage] = ()
        self._opened: SelectedFolder | None = None
        self._remover: Remover | None = None
        self._fetching: Generator[Batch, None, None] | None = None
        self._listing_complete = True
        self._key_prefix: str | None = None
        self._target: Target | None = None
        self._target_known = False
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
    ) -> Sequence[ListedMessage]:
        """The messages in a folder, by UID; keys are `UIDVALIDITY.UID`.

        Raises:
            FolderMissing: the folder, or the one that mail is to be moved to, is not there.
            RemovalRefused: the folder may only be read, and mail is to be removed from it.
        """
        if self._fetching is not None:
            self._fetching.close()
        self._folder, self._opened, self._remover = folder, None, None

        def work() -> Sequence[ListedMessage]:
            self._find_target()
            self._open()
            assert self._opened is not None
            found = list_messages(self._session, self._opened, received=received, above=above)
            self._listing_complete = found.complete
            lists_all = found.complete and len(found.messages) >= self._opened.exists
            self._key_prefix = f"{self._opened.uidvalidity}." if lists_all else None
            return found.messages

        self._listed = self._again(work)
        return self._listed

    @property
    def key_prefix(self) -> str | None:
        """UIDVALIDITY and a period; None if fewer messages were listed than there are."""
        return self._key_prefix

    def watermark(self, dealt_with: Collection[int]) -> str | None:
        """Return the watermark at the last message before the first that was not dealt with.

        It begins with the folder's UIDVALIDITY and a period. None also if the server refused part of the listing:
        a message that it left out must not be hidden by the watermark.
        """
        if not self._listing_complete:
            return None
        dealt_with_first = list(takewhile(lambda message: message.number in dealt_with, self._listed))
        return str(Watermark.at(dealt_with_first[-1])) if dealt_with_first else None

    def fetch(self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches of the folder listed last; see `Fetcher`."""
        width = NEAR if self._session.is_near else FAR
        self._fetching = Fetcher(self, self._folder, max_bytes, width).run(batches)
        return self._fetching

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        """Delete or move messages of the folder listed last; nothing, if mail is kept."""
        remover = self._remover
        if remover is not None:
            self._again(lambda: remover.remove([message.number for message in messages]))

    def commit(self) -> None:
        """Make removals final, and see that they are."""
        remover = self._remover
        if remover is not None:
            self._again(remover.commit)
            if remover.purges:
                self._again(self._open)

    def check_folder(self, folder: str) -> FolderCheck:
        """Look at a folder without changing anything."""
        return self._again(lambda: self._rights(folder))

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
            AuthenticationError: as it says.
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
        """Open the folder."""
        keeps = self._settings.after is After.KEEP
        self._opened = self._session.select(self._folder, for_removal=not keeps)
        if self._remover is not None:
            self._remover.use(self._session)
        elif not keeps:
            self._remover = Remover(self._session, self._target_of(self._folder))

    def _find_target(self) -> None:
        """Before anything is downloaded: is there a folder to move to?"""
        if self._target_known:
            return
        if self._settings.after is After.MOVE and self._settings.move_to is not None:
            problem = target_problem(self._session, self._settings.move_to)
            if problem is not None:
                raise problem
            self._target = Target.named(self._settings.move_to)
        elif self._settings.after is After.TRASH:
            self._target = find_trash(self._session, purge=False)
            if self._target is None:
                raise self._no_trash()
        elif self._settings.after is After.DELETE and self._archives_when_deleting():
            self._target = self._purging_target()
        self._target_known = True

    def _target_of(self, folder: str) -> Target | None:
        r"""Return where messages of a folder go; None: they are deleted in it, as in the \Trash folder itself."""
        if self._target is None or self._settings.after is After.MOVE:
            return self._target
        if self._target.quoted_name != Target.named(folder).quoted_name:
            return self._target
        if self._settings.after is After.DELETE:
            return None
        raise self._moves_to_itself(folder)

    def _moves_to_itself(self, folder: str) -> RemovalRefused:
        return RemovalRefused(
            f"{self.where}: folder {folder!r} of {setting_name(self._settings, 'FOLDERS')} is the one that "
            f"{setting_name(self._settings, 'AFTER')} moves to; collect from another folder, or set AFTER=delete"
        )

    def _archives_when_deleting(self) -> bool:
        r"""Return whether \Deleted and EXPUNGE only archive a message, as on Gmail."""
        return self._session.can("X-GM-EXT-1")

    def _purging_target(self) -> Target | None:
        r"""Return Gmail's \Trash folder; None if there is none, or no UID EXPUNGE to delete ours alone there."""
        return find_trash(self._session, purge=True) if self._session.can("UIDPLUS") else None

    def _no_trash(self) -> FolderMissing:
        name = setting_name(self._settings, "AFTER")
        return FolderMissing(
            rf"{self.where}: {name}=trash needs a folder with the special use \Trash (RFC 6154), and the server shows "
            f"none; name a folder: {name}=move:FOLDER"
        )

    def _archives_note(self, folder: str) -> str:
        name = setting_name(self._settings, "AFTER")
        return (
            rf"folder {folder!r}: {name}=delete may only archive messages: Gmail deletes for good in its \Trash folder "
            "alone, and shows none over IMAP; in Gmail's settings, under Labels, turn on Show in IMAP for Trash"
        )

    def _rights(self, folder: str) -> FolderCheck:
        after = self._settings.after
        target = self._settings.move_to if after is After.MOVE else None
        problems: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        there: Target | None = None
        if after is After.TRASH:
            there = find_trash(self._session, purge=False)
            problems = () if there is not None else (str(self._no_trash()),)
        elif after is After.DELETE and self._archives_when_deleting():
            there = self._purging_target()
            notes = () if there is not None else (self._archives_note(folder),)
        if there is not None and there.quoted_name != Target.named(folder).quoted_name:
            target = there.name
        elif there is not None and after is After.TRASH:
            problems = (str(self._moves_to_itself(folder)),)
        rights = check_selected_folder(self._session, folder, removes=after is not After.KEEP, target=target)
        return replace(rights, problems=(*rights.problems, *problems), notes=(*rights.notes, *notes))

    def _again(self, work: Callable[[], T]) -> T:
        """Do what may be done twice; twice, if the connection is lost: a token may have died, which is seldom said."""
        try:
            with self.mapping():
                return work()
        except ConnectionLost as error:
            self.recover(error)
        with self.mapping():
            return work()
