"""Removals: permanently, to Deleted Items, or to another folder; one request a message, four at a time.

A message that is already gone counts as removed (rule 8.2). A move to a folder that is gone gets the same 404 although
the message is still there.

`delete` uses `permanentDelete`. Where the server does not have it, `DELETE` moves the message to Deleted Items. `trash`
uses `move`: a second `DELETE`, sent because the first response was lost, would remove the message from Deleted Items.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Final

from shared.config import After, MailboxSettings
from shared.config.presets import WITHOUT_PERMANENT_DELETE
from shared.errors import FolderMissing, RemovalRefused
from shared.mailboxes.graph.client import MAX_CONCURRENT, GraphClient
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.errors import FORBIDDEN, GraphResponseError
from shared.mailboxes.graph.refusals import NO_SUCH_MESSAGE, request_refusal
from shared.mailboxes.graph.requests import MailboxRequests
from shared.mailboxes.tls import setting_name

DELETED_ITEMS: Final = "deleteditems"
"""The well-known name of the folder Deleted Items (Graph: mailFolder resource type)."""

_log = logging.getLogger("mailroom.graph")


class Remover:
    """Removes messages of one mailbox.

    Args:
        client: the session.
        requests: the mailbox's request builders.
        endpoint: Graph's endpoint, with its caches.
        settings: the mailbox's settings, which say how to remove.
        target: the id of the folder to move to, for `move`.
    """

    def __init__(
        self,
        client: GraphClient,
        requests: MailboxRequests,
        endpoint: GraphEndpoint,
        settings: MailboxSettings,
        target: str,
    ) -> None:
        self._client = client
        self._requests = requests
        self._endpoint = endpoint
        self._settings = settings
        self._target = target
        self._refusals: list[GraphResponseError] = []
        self._gone = 0
        self._fatal: BaseException | None = None

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove messages by their ids. A refusal of one message does not stop the others; other errors do.

        Raises:
            RemovalRefused: some were refused.
            FolderMissing: the folder to move to is gone.
            GraphResponseError, MailboxBusy, httpx.HTTPError: as `GraphClient.json`; a 403 only if the app may not
                remove any message.
        """
        remaining = iter(keys)
        workers = (self._remove_remaining(remaining) for _ in range(MAX_CONCURRENT))
        await asyncio.gather(*workers, return_exceptions=True)
        if self._fatal is not None:
            raise self._fatal
        if self._gone and self._settings.after is After.MOVE:
            await self._check_target()
        if self._refusals:
            raise RemovalRefused(
                f"mailbox {self._settings.name}: {len(self._refusals)} of {len(keys)} removals were refused: "
                f"{self._refusals[0]}; check {setting_name(self._settings, 'AFTER')}"
            )

    async def why_not_permanent(self) -> str | None:
        """Return why `delete` moves messages to Deleted Items; None if it removes permanently. Changes nothing.

        Raises:
            GraphResponseError, MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
        """
        if self._settings.host in WITHOUT_PERMANENT_DELETE:
            return f"delete moves messages to Deleted Items: {self._settings.host} does not have permanentDelete"
        refusal = await request_refusal(self._client, self._requests.delete_permanently(NO_SUCH_MESSAGE))
        if not (refusal.lacks_action or refusal.may_lack_action):
            return None
        return f"delete moves messages to Deleted Items: {self._settings.host} answers permanentDelete with {refusal}"

    async def _remove_remaining(self, remaining: Iterator[str]) -> None:
        for key in remaining:
            if self._fatal is not None:
                return
            try:
                await self._remove(key)
            except BaseException as error:
                self._fatal = error
                raise

    async def _remove(self, key: str) -> None:
        try:
            await self._send_removal(key)
        except GraphResponseError as error:
            if error.is_gone:
                self._gone += 1
            elif error.status == FORBIDDEN and not await self._is_permitted():
                raise
            else:
                self._refusals.append(error)

    async def _is_permitted(self) -> bool:
        """Return whether the app may remove messages of this mailbox, after a 403 for one message."""
        return (await request_refusal(self._client, self._requests.delete(NO_SUCH_MESSAGE))).status != FORBIDDEN

    async def _send_removal(self, key: str) -> None:
        if self._settings.after is After.MOVE:
            await self._client.json(self._requests.move(key, self._target))
        elif self._settings.after is After.TRASH:
            await self._client.json(self._requests.move(key, DELETED_ITEMS))
        elif not self._has_permanent_delete() or not await self._delete_permanently(key):
            await self._client.json(self._requests.delete(key))

    def _has_permanent_delete(self) -> bool:
        if self._settings.host in WITHOUT_PERMANENT_DELETE:
            return False
        return not self._endpoint.missing_actions.lacks_permanent_delete(self._settings.name)

    async def _delete_permanently(self, key: str) -> bool:
        """Delete a message permanently; return False if the server does not have `permanentDelete`.

        Raises:
            GraphResponseError: the server has the action and refused, or the message is gone.
        """
        try:
            await self._client.json(self._requests.delete_permanently(key))
        except GraphResponseError as error:
            if not error.lacks_action:
                if not error.may_lack_action:
                    raise
                # The 404 is about the action if the message is still there. If the message is gone, this raises a 404.
                await self._client.json(self._requests.exists(key))
            if self._has_permanent_delete():
                _log.warning(
                    "mailbox %s: stored messages go to Deleted Items, permanentDelete is not available: %s",
                    self._settings.name,
                    error,
                )
            self._endpoint.missing_actions.note_permanent_delete(self._settings.name)
            return False
        return True

    async def _check_target(self) -> None:
        """Check that the folder to move to exists, after a 404 that may have been about the folder.

        Raises:
            FolderMissing: the folder does not exist.
        """
        try:
            await self._client.json(self._requests.folder(self._target))
        except GraphResponseError as error:
            if not error.is_gone:
                raise
            self._endpoint.folder_ids.forget(self._settings.name)
            raise FolderMissing(
                f"mailbox {self._settings.name}: the folder {self._settings.move_to!r} no longer exists; check "
                f"{setting_name(self._settings, 'AFTER')}"
            ) from error
