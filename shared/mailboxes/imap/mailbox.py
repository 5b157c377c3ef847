"""An IMAP mailbox: implements `shared.mailboxes.base.Mailbox` over RFC 3501, with UIDPLUS, MOVE and ACL if offered.

`session` connects and signs in, `listing` lists, `fetch` downloads and `remove` removes messages. All of them use
`wire`. This module combines them over a session that it reconnects when the connection breaks.
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
from shared.mailboxes.imap.remove import Remover, Target, target_error
from shared.mailboxes.imap.session import SelectedFolder, Session
from shared.mailboxes.imap.special_use import find_trash
from shared.mailboxes.imap.wire import Wire
from shared.mailboxes.tls import setting_name

FETCH_WIDTH = 4
"""Download commands that are outstanding at once."""

MAX_RECONNECTS = 4
"""Reconnections after a broken connection, from opening the mailbox to closing it."""

T = TypeVar("T")

_log = logging.getLogger("mailroom.imap")


class ImapMailbox:
    """An IMAP mailbox over one session, which is reconnected when the connection breaks.

    Args:
        settings: the mailbox's settings.
        tokens: returns a valid access token.

    Raises:
        MailboxError, MailboxBusy: the connection, the TLS handshake or the sign-in failed.
    """

    def __init__(self, settings: MailboxSettings, tokens: Callable[[], str]) -> None:
        self._settings = settings
        self._tokens = tokens
        self._session = Session(settings, tokens)
        self._folder = ""
        self._listed: Sequence[ListedMessage] = ()
        self._selected: SelectedFolder | None = None
        self._remover: Remover | None = None
        self._fetching: Generator[Batch, None, None] | None = None
        self._listing_complete = True
        self._key_prefix: str | None = None
        self._target: Target | None = None
        self._target_resolved = False
        self._reconnects = 0
        self._closed = False

    @property
    def folders(self) -> Sequence[str]:
        """The folders to drain."""
        return self._settings.folders

    @property
    def commit_every(self) -> int | None:
        """None: removals take effect at once or, without UIDPLUS, messages stay flagged until the commit."""
        return None

    @property
    def where(self) -> str:
        """The mailbox and its server."""
        return self._session.where

    @property
    def wire(self) -> Wire:
        """The wire of the current session."""
        return self._session.wire

    def map_errors(self) -> AbstractContextManager[None]:
        """Return a context that maps exceptions to errors of `shared.errors`."""
        return self._session.map_errors()

    def list(
        self,
        folder: str,
        *,
        received: bool = False,
        above: str | None = None,
        since: datetime | None = None,  # noqa: ARG002  a listing is one request in any case
    ) -> Sequence[ListedMessage]:
        """Return the messages in a folder, ordered by UID; keys are `UIDVALIDITY.UID`.

        Raises:
            FolderMissing: the folder, or the folder that messages are moved to, does not exist.
            RemovalRefused: the folder is read-only, and messages must be removed from it.
        """
        if self._fetching is not None:
            self._fetching.close()
        self._folder, self._selected, self._remover = folder, None, None

        def work() -> Sequence[ListedMessage]:
            self._resolve_target()
            self._select()
            assert self._selected is not None
            listing = list_messages(self._session, self._selected, received=received, above=above)
            self._listing_complete = listing.complete
            lists_all = listing.complete and len(listing.messages) >= self._selected.exists
            self._key_prefix = f"{self._selected.uidvalidity}." if lists_all else None
            return listing.messages

        self._listed = self._with_reconnect(work)
        return self._listed

    @property
    def key_prefix(self) -> str | None:
        """Return UIDVALIDITY and a period, or None if fewer messages were listed than the folder has."""
        return self._key_prefix

    def watermark(self, processed: Collection[int]) -> str | None:
        """Return the watermark at the last message before the first unprocessed one.

        It begins with the folder's UIDVALIDITY and a period. It is None if the server refused part of the listing:
        the watermark must not hide an omitted message.
        """
        if not self._listing_complete:
            return None
        leading = list(takewhile(lambda message: message.number in processed, self._listed))
        return str(Watermark.at(leading[-1])) if leading else None

    def fetch(self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches of the folder listed last; see `Fetcher`."""
        self._fetching = Fetcher(self, self._folder, max_bytes, FETCH_WIDTH).run(batches)
        return self._fetching

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        """Delete or move messages of the folder listed last; do nothing if messages are kept."""
        remover = self._remover
        if remover is not None:
            self._with_reconnect(lambda: remover.remove([message.number for message in messages]))

    def commit(self) -> None:
        """Make removals final, and verify them."""
        remover = self._remover
        if remover is not None:
            self._with_reconnect(remover.commit)
            if remover.purges:
                self._with_reconnect(self._select)

    def check_folder(self, folder: str) -> FolderCheck:
        """Check a folder without changing anything."""
        return self._with_reconnect(lambda: self._check_folder(folder))

    def folder_names(self, limit: int) -> Sequence[str]:
        """Return the names of at most `limit` folders, as FOLDERS takes them."""
        return self._with_reconnect(lambda: self._session.folder_names(limit))

    def close(self) -> None:
        """End the session. Messages that were flagged and not expunged stay flagged."""
        self._closed = True
        if self._fetching is not None:
            self._fetching.close()
        self._session.close()

    def reconnect(self, error: ConnectionLost) -> None:
        """Connect and sign in again, with a valid token, and select the same folder.

        Raises:
            ConnectionLost: `error`, after too many reconnections or if the reconnection fails; or the folder's UIDs
                are no longer valid.
            AuthenticationError: the sign-in was refused.
        """
        if self._closed or self._reconnects >= MAX_RECONNECTS:
            raise error
        self._reconnects += 1
        _log.info("%s: reconnecting: %s", self.where, error)
        before = self._selected
        self._session.close()
        try:
            self._session = Session(self._settings, self._tokens)
        except (ConnectFailed, ConnectionLost):
            raise error from None
        if before is None:
            return
        self._select()
        if self._selected is None or self._selected.uidvalidity != before.uidvalidity:
            raise ConnectionLost(
                f"{self.where}: folder {self._folder!r} was recreated during the download (UIDVALIDITY)"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _select(self) -> None:
        """Select the folder."""
        keeps = self._settings.after is After.KEEP
        self._selected = self._session.select(self._folder, for_removal=not keeps)
        if self._remover is not None:
            self._remover.use_session(self._session)
        elif not keeps:
            self._remover = Remover(self._session, self._target_for(self._folder))

    def _resolve_target(self) -> None:
        """Find the folder that messages are moved to, before anything is downloaded."""
        if self._target_resolved:
            return
        if self._settings.after is After.MOVE and self._settings.move_to is not None:
            error = target_error(self._session, self._settings.move_to)
            if error is not None:
                raise error
            self._target = Target.named(self._settings.move_to)
        elif self._settings.after is After.TRASH:
            self._target = find_trash(self._session, purge=False)
            if self._target is None:
                raise self._trash_missing_error()
        elif self._settings.after is After.DELETE and self._archives_when_deleting():
            self._target = self._purging_target()
        self._target_resolved = True

    def _target_for(self, folder: str) -> Target | None:
        r"""Return the target of a folder's messages; None: they are deleted, as in the \Trash folder itself."""
        if self._target is None or self._settings.after is After.MOVE:
            return self._target
        if self._target.quoted_name != Target.named(folder).quoted_name:
            return self._target
        if self._settings.after is After.DELETE:
            return None
        raise self._same_folder_error(folder)

    def _same_folder_error(self, folder: str) -> RemovalRefused:
        return RemovalRefused(
            f"{self.where}: folder {folder!r} of {setting_name(self._settings, 'FOLDERS')} is the target of "
            f"{setting_name(self._settings, 'AFTER')}; drain another folder, or set AFTER=delete"
        )

    def _archives_when_deleting(self) -> bool:
        r"""Return whether \Deleted and EXPUNGE only archive a message, as on Gmail."""
        return self._session.supports("X-GM-EXT-1")

    def _purging_target(self) -> Target | None:
        r"""Return Gmail's \Trash folder; None without it, or without UID EXPUNGE to delete only our messages there."""
        return find_trash(self._session, purge=True) if self._session.supports("UIDPLUS") else None

    def _trash_missing_error(self) -> FolderMissing:
        name = setting_name(self._settings, "AFTER")
        return FolderMissing(
            rf"{self.where}: {name}=trash needs a folder with the special use \Trash (RFC 6154), which the server "
            f"does not list; name a folder: {name}=move:FOLDER"
        )

    def _archives_note(self, folder: str) -> str:
        name = setting_name(self._settings, "AFTER")
        return (
            rf"folder {folder!r}: {name}=delete may only archive messages: Gmail deletes permanently only in its "
            r"\Trash folder, which is not visible over IMAP; in Gmail's settings, under Labels, turn on Show in IMAP "
            "for Trash"
        )

    def _check_folder(self, folder: str) -> FolderCheck:
        after = self._settings.after
        target = self._settings.move_to if after is After.MOVE else None
        problems: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        special_target: Target | None = None
        if after is After.TRASH:
            special_target = find_trash(self._session, purge=False)
            problems = () if special_target is not None else (str(self._trash_missing_error()),)
        elif after is After.DELETE and self._archives_when_deleting():
            special_target = self._purging_target()
            notes = () if special_target is not None else (self._archives_note(folder),)
        if special_target is not None and special_target.quoted_name != Target.named(folder).quoted_name:
            target = special_target.name
        elif special_target is not None and after is After.TRASH:
            problems = (str(self._same_folder_error(folder)),)
        check = check_selected_folder(self._session, folder, removes=after is not After.KEEP, target=target)
        return replace(check, problems=(*check.problems, *problems), notes=(*check.notes, *notes))

    def _with_reconnect(self, work: Callable[[], T]) -> T:
        """Run idempotent work, and retry once after a lost connection: few servers report an expired token."""
        try:
            with self.map_errors():
                return work()
        except ConnectionLost as error:
            self.reconnect(error)
        with self.map_errors():
            return work()
