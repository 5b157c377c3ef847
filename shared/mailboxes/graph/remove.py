"""Removals: for good, to Deleted Items, or into another folder; message by message, four at a time.

What is gone is done (rule 8.2). But Graph answers a move with the same 404 if the folder to move to is gone, and then
nothing is.

`delete` uses `permanentDelete`. Where the server does not have it, `DELETE` moves the message to Deleted Items. `trash`
uses `move`: a second `DELETE`, sent because the first answer was lost, would remove the message from Deleted Items.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Final

from shared.config import After, MailboxSettings
from shared.config.presets import WITHOUT_PERMANENT_DELETE
from shared.errors import FolderMissing, RemovalRefused
from shared.mailboxes.graph.client import AT_ONCE, GraphClient
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.errors import FORBIDDEN, GraphResponseError
from shared.mailboxes.graph.refusals import NO_SUCH_MESSAGE, refusal_text
from shared.mailboxes.graph.requests import MailboxRequests
from shared.mailboxes.tls import setting_name

DELETED_ITEMS: Final = "deleteditems"
"""The well-known name of the folder Deleted Items (Graph: mailFolder resource type)."""

_log = logging.getLogger("mailroom.graph")


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
        self, client: GraphClient, requests: MailboxRequests, way: GraphEndpoint, settings: MailboxSettings, target: str
    ) -> None:
        self._client = client
        self._requests = requests
        self._way = way
        self._settings = settings
        self._target = target
        self._refused: list[GraphResponseError] = []
        self._gone = 0
        self._ended: BaseException | None = None

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove messages by their ids. What is refused does not stop the others; what would befall all of them does.

        Raises:
            RemovalRefused: some were refused.
            FolderMissing: the folder to move to is gone.
            Answered, MailboxBusy, httpx.HTTPError: as `GraphClient.json`; a 403 only if the app may not remove any.
        """
        waiting = iter(keys)
        await asyncio.gather(*(self._some(waiting) for _ in range(AT_ONCE)), return_exceptions=True)
        if self._ended is not None:
            raise self._ended
        if self._gone and self._settings.after is After.MOVE:
            await self._see_target()
        if self._refused:
            told = f"{len(self._refused)} of {len(keys)} removals were refused: {self._refused[0]}"
            raise RemovalRefused(
                f"mailbox {self._settings.name}: {told}; look at {setting_name(self._settings, 'AFTER')}"
            )

    async def why_not_for_good(self) -> str | None:
        """Return why `delete` ends in Deleted Items; None if it removes for good. Changes nothing.

        Raises:
            Answered, MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
        """
        if self._settings.host in WITHOUT_PERMANENT_DELETE:
            return f"delete moves messages to Deleted Items: {self._settings.host} does not have permanentDelete"
        answer = await refusal_text(self._client, self._requests.delete_permanently(NO_SUCH_MESSAGE))
        if not (answer.lacks_action or answer.may_lack_action):
            return None
        return f"delete moves messages to Deleted Items: {self._settings.host} answers permanentDelete with {answer}"

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
            await self._once(key)
        except GraphResponseError as answer:
            if answer.is_gone:
                self._gone += 1
            elif answer.status == FORBIDDEN and not await self._is_permitted():
                raise
            else:
                self._refused.append(answer)

    async def _is_permitted(self) -> bool:
        """Return whether the app may remove messages of this mailbox at all, after a 403 for one of them."""
        return (await refusal_text(self._client, self._requests.delete(NO_SUCH_MESSAGE))).status != FORBIDDEN

    async def _once(self, key: str) -> None:
        if self._settings.after is After.MOVE:
            await self._client.json(self._requests.move(key, self._target))
        elif self._settings.after is After.TRASH:
            await self._client.json(self._requests.move(key, DELETED_ITEMS))
        elif not self._has_permanent_delete() or not await self._for_good(key):
            await self._client.json(self._requests.delete(key))

    def _has_permanent_delete(self) -> bool:
        if self._settings.host in WITHOUT_PERMANENT_DELETE:
            return False
        return not self._way.missing.lacks_permanent_delete(self._settings.name)

    async def _for_good(self, key: str) -> bool:
        """Delete a message for good; False if the server does not have `permanentDelete`.

        Raises:
            Answered: it has, and refused; the message being gone included.
        """
        try:
            await self._client.json(self._requests.delete_permanently(key))
        except GraphResponseError as answer:
            if not answer.lacks_action:
                if not answer.may_lack_action:
                    raise
                # The 404 is about the action if the message is still there. If it is not, this raises a 404.
                await self._client.json(self._requests.exists(key))
            if self._has_permanent_delete():
                _log.warning(
                    "mailbox %s: stored messages go to Deleted Items, permanentDelete is not available: %s",
                    self._settings.name,
                    answer,
                )
            self._way.missing.note_permanent_delete(self._settings.name)
            return False
        return True

    async def _see_target(self) -> None:
        """What answered that there is nothing to move may have meant the folder to move to."""
        try:
            await self._client.json(self._requests.folder(self._target))
        except GraphResponseError as answer:
            if not answer.is_gone:
                raise
            self._way.folders.forget(self._settings.name)
            raise FolderMissing(
                f"mailbox {self._settings.name}: the folder {self._settings.move_to!r} is not there any more; look at "
                f"{setting_name(self._settings, 'AFTER')}"
            ) from answer
