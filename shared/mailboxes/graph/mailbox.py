"""An Office 365 mailbox over Microsoft Graph: the `shared.mailboxes.base.Mailbox` of this protocol.

Keys are immutable ids. Removals take effect at once, one request a message, so `commit` has nothing to do.
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
from shared.mailboxes.graph.listing import Lister, Listing, folder_id, folder_paths
from shared.mailboxes.graph.refusals import NO_SUCH_MESSAGE, request_refusal
from shared.mailboxes.graph.remove import DELETED_ITEMS, Remover
from shared.mailboxes.graph.requests import MailboxRequests
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.mailboxes.tls import setting_name

T = TypeVar("T")


class GraphMailbox:
    """An open session.

    Args:
        settings: the mailbox's settings.
        tokens: issues access tokens.
        endpoint: Graph's endpoint, with its caches.

    Raises:
        ConfigurationError, AuthenticationError, ConnectFailed, TlsRefused, ServiceUnavailable: no token was issued.
    """

    def __init__(self, settings: MailboxSettings, tokens: TokenCache, endpoint: GraphEndpoint) -> None:
        self._settings = settings
        self._endpoint = endpoint
        tokens.token(settings)
        self._client = GraphClient(settings, tokens, endpoint, patience=endpoint.patience)
        self._requests = MailboxRequests(self._client, settings.mailbox_address)
        self._fetcher = Fetcher(self._client, self._requests, settings)
        self._fetching: Generator[Batch, None, None] | None = None
        user = settings.mailbox_address
        self._lister = Lister(self._client, self._requests, user, settings.name, endpoint.page_sizes)
        self._listing = Listing()
        self._target = ""

    @property
    def folders(self) -> Sequence[str]:
        """The paths of the polled folders."""
        return self._settings.folders

    @property
    def commit_every(self) -> int | None:
        """None: removals take effect at once."""
        return None

    @property
    def requests(self) -> int:
        """Requests that this session has sent."""
        return self._client.requests

    def list(
        self,
        folder: str,
        *,
        received: bool = False,  # noqa: ARG002  Graph always reports the time
        above: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[ListedMessage]:
        """List the messages in a folder, oldest first; under `keep` only messages after the watermark `above`.

        Raises:
            FolderMissing: the folder, or the folder to move to, does not exist.
            AccessRefused: the app lacks the permission.
        """
        if self._fetching is not None:
            self._fetching.close()
        self._listing = self._run(self._list(folder, above, since), f"listing {folder}", folder)
        return self._listing.messages

    @property
    def key_prefix(self) -> str | None:
        """Return "", as ids have no common prefix, or None if the listing is incomplete."""
        return "" if self._listing.complete else None

    def watermark(self, processed: Collection[int]) -> str | None:
        """Return the link to the changes after the processed messages; see `Listing.watermark`."""
        return self._listing.watermark(processed)

    def fetch(self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches; see `Fetcher`."""
        self._fetching = self._fetcher.run(batches, max_bytes)
        return self._fetching

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        """Delete or move messages, or do nothing under `keep`. A message that is already gone counts as removed.

        Raises:
            RemovalRefused: Graph refused some removals; the others took effect.
            AccessRefused: the app lacks the permission.
            FolderMissing: the folder to move to no longer exists.
        """
        if self._settings.after is not After.KEEP:
            keys = [str(message.key) for message in messages]
            self._run(self._remover().remove(keys), "removing messages", None)

    def commit(self) -> None:
        """Do nothing: removals have taken effect."""

    def check_folder(self, folder: str) -> FolderCheck:
        """Check a folder, and whether the app may read and remove messages, without changing anything."""
        return self._run(self._check_folder(folder), f"checking {folder}", folder)

    def folder_names(self, limit: int) -> Sequence[str]:
        """Return the paths of at most `limit` folders, as FOLDERS takes them."""
        return self._run(folder_paths(self._client, self._requests, limit), "listing the folders", None)

    def addresses(self) -> MailboxAddresses:
        """Return the mailbox's addresses from the directory.

        Raises:
            AccessRefused: the app lacks the permission User.Read.All.
            MailboxError, MailboxBusy: the request failed.
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

    def _run(self, work: Coroutine[Any, Any, T], activity: str, folder: str | None) -> T:
        try:
            return self._client.run(work)
        except MailroomError:
            raise
        except Exception as error:
            raise graph_error(error, self._settings, activity, folder=folder) from error

    async def _list(self, folder: str, above: str | None, since: datetime | None) -> Listing:
        if self._settings.move_to is not None:
            # Before anything is downloaded, check that the folder to move to exists.
            self._target = await self._folder_id(self._settings.move_to, "AFTER")
        try:
            return await self._list_folder(await self._folder_id(folder, "FOLDERS"), above, since)
        except GraphResponseError as error:
            if not error.is_gone or self._endpoint.folder_ids.get(self._settings.name, folder) is None:
                raise
        # The folder may have been deleted and created again since its id was cached.
        self._endpoint.folder_ids.forget(self._settings.name)
        return await self._list_folder(await self._folder_id(folder, "FOLDERS"), None, since)

    async def _list_folder(self, folder: str, above: str | None, since: datetime | None) -> Listing:
        await self._check_target(folder)
        if self._settings.after is After.KEEP:
            # Graph limits the results of a filtered delta query, so `since` is not sent; the caller ignores older mail.
            return await self._lister.list_changes(folder, above, since)
        return await self._lister.list_all(folder, since)

    async def _folder_id(self, path: str, setting: str) -> str:
        return await folder_id(self._client, self._requests, self._endpoint, self._settings, path, name=setting)

    async def _check_target(self, folder: str) -> None:
        """Refuse to poll the folder that `trash` or `move` moves mail to: the mail would be moved at every poll.

        The configuration cannot check this where the folder has a name in another language.

        Raises:
            ConfigurationError: the folder is the target.
        """
        targets = {self._target}
        if self._settings.after is After.TRASH and folder != "inbox":
            targets = {DELETED_ITEMS, await self._deleted_items_id()}
        if folder in targets:
            raise ConfigurationError(
                f"{setting_name(self._settings, 'AFTER')}: moves mail to a folder that is polled; change AFTER or take "
                f"the folder out of {setting_name(self._settings, 'FOLDERS')}"
            )

    async def _deleted_items_id(self) -> str:
        cache, name = self._endpoint.folder_ids, self._settings.name
        folder = cache.get(name, f"/{DELETED_ITEMS}")
        if folder is None:
            folder = str((await self._client.json(self._requests.folder(DELETED_ITEMS)))["id"])
            cache.put(name, f"/{DELETED_ITEMS}", folder)
        return folder

    async def _check_folder(self, path: str) -> FolderCheck:
        folder = await self._client.json(self._requests.folder(await self._folder_id(path, "FOLDERS")))
        problems = [await self._check_permission("read messages", "Mail.Read", self._requests.content(NO_SUCH_MESSAGE))]
        note = None
        if self._settings.after is not After.KEEP:
            delete = self._requests.delete(NO_SUCH_MESSAGE)
            problems.append(await self._check_permission("remove messages", "Mail.ReadWrite", delete))
        if self._settings.after is After.DELETE:
            note = await self._remover().why_not_permanent()
        try:
            if self._settings.move_to is not None:
                self._target = await self._folder_id(self._settings.move_to, "AFTER")
            await self._check_target(str(folder["id"]))
        except (FolderMissing, ConfigurationError) as error:
            problems.append(str(error))
        notes = () if note is None else (note,)
        return FolderCheck(path, int(folder.get("totalItemCount") or 0), tuple(filter(None, problems)), notes)

    async def _check_permission(self, action: str, permission: str, build: Build) -> str | None:
        """Return why the app may not perform an action, found without performing it; None if it may."""
        refusal = await request_refusal(self._client, build)
        if refusal.status != FORBIDDEN:
            return None
        return (
            f"the app may not {action}: the application permission {permission} is missing, or not granted for "
            f"{self._settings.mailbox_address} ({refusal.code})"
        )

    def _remover(self) -> Remover:
        return Remover(self._client, self._requests, self._endpoint, self._settings, self._target)
