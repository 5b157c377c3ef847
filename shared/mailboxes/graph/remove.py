"""Removals: to Deleted Items, for good, or into another folder; message by message, four at a time.

What is gone is done (rule 8.2). But Graph answers a move with the same 404 if the folder to move to is gone, and then
nothing is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from shared.errors import FolderMissing, RemovalRefused
from shared.mailboxes.graph.client import AT_ONCE, Build, GraphClient
from shared.mailboxes.graph.errors import FORBIDDEN, Answered
from shared.mailboxes.graph.requests import MailboxRequests
from shared.mailboxes.graph.way import GraphWay
from shared.mailboxes.tls import setting
from shared.settings import After, MailboxSettings


class Remover:
    """Removes messages of one mailbox.

    Args:
        client: the session.
        requests: about the mailbox.
        way: to Graph; remembers folders.
        settings: the mailbox's: how to remove.
        target: the id of the folder to move to, for `move`.
    """

    def __init__(
        self, client: GraphClient, requests: MailboxRequests, way: GraphWay, settings: MailboxSettings, target: str
    ) -> None:
        self._client = client
        self._requests = requests
        self._way = way
        self._settings = settings
        self._target = target
        self._refused: list[Answered] = []
        self._gone = 0
        self._ended: BaseException | None = None

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove messages by their ids. What is refused does not stop the others; what would befall all of them does.

        Raises:
            RemovalRefused: some were refused.
            FolderMissing: the folder to move to is gone.
            Answered, MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
        """
        waiting = iter(keys)
        await asyncio.gather(*(self._some(waiting) for _ in range(AT_ONCE)), return_exceptions=True)
        if self._ended is not None:
            raise self._ended
        if self._gone and self._settings.after is After.MOVE:
            await self._see_target()
        if self._refused:
            told = f"{len(self._refused)} of {len(keys)} removals were refused: {self._refused[0]}"
            raise RemovalRefused(f"mailbox {self._settings.name}: {told}; look at {setting(self._settings, 'AFTER')}")

    async def _some(self, waiting: Iterator[str]) -> None:
        for key in waiting:
            if self._ended is not None:
                return
            try:
                await self._remove(key)
            except BaseException as error:
                self._ended = error
                raise

    async def _remove(self, key: str) -> None:
        try:
            await self._client.json(self._request(key))
        except Answered as answer:
            if answer.is_gone:
                self._gone += 1
            elif answer.status == FORBIDDEN:
                raise
            else:
                self._refused.append(answer)

    def _request(self, key: str) -> Build:
        if self._settings.after is After.MOVE:
            return self._requests.move(key, self._target)
        if self._settings.permanently:
            return self._requests.delete_permanently(key)
        return self._requests.delete(key)

    async def _see_target(self) -> None:
        """What answered that there is nothing to move may have meant the folder to move to."""
        try:
            await self._client.json(self._requests.folder(self._target))
        except Answered as answer:
            if not answer.is_gone:
                raise
            self._way.folders.forget(self._settings.name)
            raise FolderMissing(
                f"mailbox {self._settings.name}: the folder {self._settings.move_to!r} is not there any more; look at "
                f"{setting(self._settings, 'AFTER')}"
            ) from answer
