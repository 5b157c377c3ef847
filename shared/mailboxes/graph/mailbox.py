"""A mailbox of Office 365 through Microsoft Graph, as `shared.mailboxes.base.Mailbox` has it.

Keys are immutable ids. What is removed is removed at once, message by message: there is nothing to commit.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Generator, Iterable, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar

from shared.config import After, MailboxSettings
from shared.errors import ConfigurationError, FolderMissing, MailroomError
from shared.mailboxes.base import Batch, FolderCheck, ListedMessage, MailboxAddresses
from shared.mailboxes.graph.addresses import mailbox_addresses
from shared.mailboxes.graph.client import Build, GraphClient
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.errors import FORBIDDEN, GraphResponseError, graph_error
from shared.mailboxes.graph.fetch import Fetcher
from shared.mailboxes.graph.folders import folder_id
from shared.mailboxes.graph.listing import Lister, Listing
from shared.mailboxes.graph.refusals import NO_SUCH_MESSAGE, refusal_text
from shared.mailboxes.graph.remove import DELETED_ITEMS, Remover
from shared.mailboxes.graph.requests import MailboxRequests
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.mailboxes.tls import setting_name

T = TypeVar("T")


class GraphMailbox:
    """An open session.

    Args:
        settings: the mailbox's.
        tokens: where access tokens come from.
        way: to Graph.

    Raises:
        ConfigurationError, AuthenticationError, ConnectFailed, TlsRefused, ServiceUnavailable: from signing in.
    """

    def __init__(self, settings: MailboxSettings, tokens: TokenCache, way: GraphEndpoint) -> None:
        self._settings = settings
        self._way = way
        tokens.token(settings)
        self._client = GraphClient(settings, tokens, way, patience=way.patience)
        self._requests = MailboxRequests(self._client, settings.mailbox_address)
        self._fetcher = Fetcher(self._client, self._requests, settings)
        self._fetching: Generator[Batch, None, None] | None = None
        user = settings.mailbox_address
        self._lister = Lister(self._client, self._requests, user, settings.name, way.page_sizes)
        self._listing = Listing()
        self._target = ""

    @property
    def folders(self) -> Sequence[str]:
        """The folders to collect, by path."""
        return self._settings.folders

    @property
    def commit_every(self) -> int | None:
        """Never: removals take effect as they are made."""
        return None

    @property
    def requests(self) -> int:
        """How many requests this session has made."""
        return self._client.requests

    def list(
        self,
        folder: str,
        *,
        received: bool = False,  # noqa: ARG002  always told
        above: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[ListedMessage]:
        """The messages in a folder, oldest first; under `keep` those that came since the mark `above`.

        Raises:
            FolderMissing: the folder, or the one that mail is to be moved to, is not there.
            AccessRefused: the app may not.
        """
        if self._fetching is not None:
            self._fetching.close()
        self._listing = self._run(self._listed(folder, above, since), f"listing {folder}", folder)
        return self._listing.messages

    @property
    def key_prefix(self) -> str | None:
        """Return "", as ids have no common prefix, or None if the listing was cut off."""
        return "" if self._listing.complete else None

    def watermark(self, processed: Collection[int]) -> str | None:
        """The link to the changes since, as far as all before them was dealt with."""
        return self._listing.mark(processed)

    def fetch(self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches; see `Fetcher`."""
        self._fetching = self._fetcher.run(batches, max_bytes)
        return self._fetching

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        """Delete or move messages; nothing, if mail is kept. One that is gone is fine.

        Raises:
            RemovalRefused: Graph would not. What it did remove is removed.
            AccessRefused: the app may not.
            FolderMissing: the folder to move to is not there any more.
        """
        if self._settings.after is not After.KEEP:
            self._run(self._remover().remove([str(one.key) for one in messages]), "removing messages", None)

    def commit(self) -> None:
        """Nothing is left to be done."""

    def check_folder(self, folder: str) -> FolderCheck:
        """Look at a folder, and whether the app may read and remove, without changing anything."""
        return self._run(self._rights(folder), f"looking at {folder}", folder)

    def addresses(self) -> MailboxAddresses:
        """Return the mailbox's addresses, as the directory has them.

        Raises:
            AccessRefused: the app lacks the permission User.Read.All.
            MailboxError, MailboxBusy: and what derives from them.
        """
        work = mailbox_addresses(self._client, self._requests, self._settings)
        return self._run(work, "reading the mailbox's addresses", None)

    def close(self) -> None:
        """End the session."""
        if self._fetching is not None:
            self._fetching.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T], doing: str, folder: str | None) -> T:
        try:
            return self._client.run(work)
        except MailroomError:
            raise
        except Exception as error:
            raise graph_error(error, self._settings, doing, folder=folder) from error

    async def _listed(self, folder: str, above: str | None, since: datetime | None) -> Listing:
        if self._settings.move_to is not None:
            # Before anything is downloaded: is there a folder to move to?
            self._target = await self._folder(self._settings.move_to, "AFTER")
        try:
            return await self._in(await self._folder(folder, "FOLDERS"), above, since)
        except GraphResponseError as answer:
            if not answer.is_gone or self._way.folders.get(self._settings.name, folder) is None:
                raise
        # The folder may have been made anew since its id was asked for.
        self._way.folders.forget(self._settings.name)
        return await self._in(await self._folder(folder, "FOLDERS"), None, since)

    async def _in(self, folder: str, above: str | None, since: datetime | None) -> Listing:
        await self._check_target(folder)
        if self._settings.after is After.KEEP:
            # Without `since`: Graph bounds a filtered round of changes, and what is older is left alone all the same.
            return await self._lister.changes(folder, above, since)
        return await self._lister.plain(folder, since)

    async def _folder(self, path: str, name: str) -> str:
        return await folder_id(self._client, self._requests, self._way, self._settings, path, name=name)

    async def _check_target(self, folder: str) -> None:
        """Refuse to collect the folder that `trash` or `move` moves mail to: the mail would be moved at every poll.

        The settings reader cannot check this where the folder has a name in another language.

        Raises:
            ConfigurationError: the folder is the target.
        """
        targets = {self._target}
        if self._settings.after is After.TRASH and folder != "inbox":
            targets = {DELETED_ITEMS, await self._deleted_items()}
        if folder in targets:
            raise ConfigurationError(
                f"{setting_name(self._settings, 'AFTER')}: moves mail to a folder that is polled; change AFTER or take "
                f"the folder out of {setting_name(self._settings, 'FOLDERS')}"
            )

    async def _deleted_items(self) -> str:
        folders, name = self._way.folders, self._settings.name
        known = folders.get(name, f"/{DELETED_ITEMS}")
        if known is None:
            known = str((await self._client.json(self._requests.folder(DELETED_ITEMS)))["id"])
            folders.put(name, f"/{DELETED_ITEMS}", known)
        return known

    async def _rights(self, folder: str) -> FolderCheck:
        found = await self._client.json(self._requests.folder(await self._folder(folder, "FOLDERS")))
        problems = [await self._problem("read messages", "Mail.Read", self._requests.content(NO_SUCH_MESSAGE))]
        note = None
        if self._settings.after is not After.KEEP:
            delete = self._requests.delete(NO_SUCH_MESSAGE)
            problems.append(await self._problem("remove messages", "Mail.ReadWrite", delete))
        if self._settings.after is After.DELETE:
            note = await self._remover().why_not_for_good()
        try:
            if self._settings.move_to is not None:
                self._target = await self._folder(self._settings.move_to, "AFTER")
            await self._check_target(str(found["id"]))
        except (FolderMissing, ConfigurationError) as error:
            problems.append(str(error))
        notes = () if note is None else (note,)
        return FolderCheck(folder, int(found.get("totalItemCount") or 0), tuple(filter(None, problems)), notes)

    async def _problem(self, what: str, permission: str, build: Build) -> str | None:
        """Return why the app may not do a thing, found out without doing it; None if it may."""
        answer = await refusal_text(self._client, build)
        if answer.status != FORBIDDEN:
            return None
        return (
            f"the app may not {what}: the application permission {permission} is missing, or not granted for "
            f"{self._settings.mailbox_address} ({answer.code})"
        )

    def _remover(self) -> Remover:
        return Remover(self._client, self._requests, self._way, self._settings, self._target)
