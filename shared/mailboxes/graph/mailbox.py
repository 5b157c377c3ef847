"""A mailbox of Office 365 through Microsoft Graph, as `shared.mailboxes.protocol.Mailbox` has it.

Keys are immutable ids. What is removed is removed at once, message by message: there is nothing to commit.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Generator, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Self, TypeVar

from shared.errors import FolderMissing, MailroomError
from shared.mailboxes.graph.client import Build, GraphClient
from shared.mailboxes.graph.errors import BAD_REQUEST, FORBIDDEN, NOT_FOUND, Answered, graph_error
from shared.mailboxes.graph.fetch import Fetcher
from shared.mailboxes.graph.folders import folder_id
from shared.mailboxes.graph.listing import Lister, Listing
from shared.mailboxes.graph.remove import Remover
from shared.mailboxes.graph.requests import MailboxRequests
from shared.mailboxes.graph.way import GraphWay
from shared.mailboxes.protocol import Batch, Listed, Rights
from shared.mailboxes.sign_in import Tokens
from shared.settings import After, MailboxSettings

T = TypeVar("T")

NO_SUCH_MESSAGE: Final = "mailroom-check"
"""An id that no message has: whether an app may do a thing can be asked without doing it."""


class GraphMailbox:
    """An open session.

    Args:
        settings: the mailbox's.
        tokens: where access tokens come from.
        way: to Graph.

    Raises:
        SettingsWrong, SignInRefused, ConnectFailed, TlsRefused, ServiceUnavailable: from signing in.
    """

    def __init__(self, settings: MailboxSettings, tokens: Tokens, way: GraphWay) -> None:
        self._settings = settings
        self._way = way
        tokens.token(settings)
        self._client = GraphClient(settings, tokens, way, patience=way.patience)
        self._requests = MailboxRequests(self._client, settings.mailbox_address)
        self._fetcher = Fetcher(self._client, self._requests, settings)
        self._fetching: Generator[Batch, None, None] | None = None
        self._lister = Lister(self._client, self._requests, settings.mailbox_address)
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
    ) -> Sequence[Listed]:
        """The messages in a folder, oldest first; under `keep` those that came since the mark `above`.

        Raises:
            FolderMissing: the folder, or the one that mail is to be moved to, is not there.
            AccessRefused: the app may not.
        """
        if self._fetching is not None:
            self._fetching.close()
        self._listing = self._run(self._listed(folder, above, since), f"listing {folder}", folder)
        return self._listing.messages

    def mark(self, dealt_with: Collection[int]) -> str | None:
        """The link to the changes since, as far as all before them was dealt with."""
        return self._listing.mark(dealt_with)

    def fetch(self, batches: Iterable[Sequence[Listed]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches; see `Fetcher`."""
        self._fetching = self._fetcher.run(batches, max_bytes)
        return self._fetching

    def remove(self, messages: Sequence[Listed]) -> None:
        """Delete or move messages; nothing, if mail is kept. One that is gone is fine.

        Raises:
            RemovalRefused: Graph would not. What it did remove is removed.
            AccessRefused: the app may not.
            FolderMissing: the folder to move to is not there any more.
        """
        if self._settings.after is not After.KEEP:
            remover = Remover(self._client, self._requests, self._way, self._settings, self._target)
            self._run(remover.remove([str(one.key) for one in messages]), "removing messages", None)

    def commit(self) -> None:
        """Nothing is left to be done."""

    def rights(self, folder: str) -> Rights:
        """Look at a folder, and whether the app may read and remove, without changing anything."""
        return self._run(self._rights(folder), f"looking at {folder}", folder)

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
        except Answered as answer:
            if not answer.is_gone or self._way.folders.get(self._settings.name, folder) is None:
                raise
        # The folder may have been made anew since its id was asked for.
        self._way.folders.forget(self._settings.name)
        return await self._in(await self._folder(folder, "FOLDERS"), None, since)

    async def _in(self, folder: str, above: str | None, since: datetime | None) -> Listing:
        if self._settings.after is After.KEEP:
            # Without `since`: Graph bounds a filtered round of changes, and what is older is left alone all the same.
            return await self._lister.changes(folder, above, since)
        return await self._lister.plain(folder, since)

    async def _folder(self, path: str, name: str) -> str:
        return await folder_id(self._client, self._requests, self._way, self._settings, path, name=name)

    async def _rights(self, folder: str) -> Rights:
        found = await self._client.json(self._requests.folder(await self._folder(folder, "FOLDERS")))
        problems = [await self._problem("read messages", self._requests.content(NO_SUCH_MESSAGE), "Mail.Read")]
        if self._settings.after is not After.KEEP:
            delete = self._requests.delete(NO_SUCH_MESSAGE)
            problems.append(await self._problem("remove messages", delete, "Mail.ReadWrite"))
        if self._settings.move_to is not None:
            try:
                await self._folder(self._settings.move_to, "AFTER")
            except FolderMissing as error:
                problems.append(str(error))
        return Rights(folder, int(found.get("totalItemCount") or 0), tuple(filter(None, problems)))

    async def _problem(self, what: str, build: Build, permission: str) -> str | None:
        """What stands against doing a thing, asked of a message that is not there: who may not is told so first."""

        async def read(_response: object) -> None:
            return None

        try:
            await self._client.send(build, read)
        except Answered as answer:
            if answer.status == FORBIDDEN:
                return (
                    f"the app may not {what}: the application permission {permission} is missing, or not granted for "
                    f"{self._settings.mailbox_address} ({answer.code})"
                )
            if answer.status not in (BAD_REQUEST, NOT_FOUND):
                raise
        return None
