"""What is in a folder: a plain listing where mail is removed, the changes since a link where it is kept.

A plain listing shows what is left to be taken, since what was taken is gone from it. Where mail is kept, a delta query
shows what came since the link that the last round ended with (Graph: message: delta); items come in any order, and more
than once. Links are also marks: a page's link stands for everything up to the end of that page.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from shared.errors import ConnectionLost
from shared.mailboxes.graph.client import GraphClient
from shared.mailboxes.graph.errors import Answered
from shared.mailboxes.graph.requests import DELTA_PAGE, SIZE_TAG, MailboxRequests, items_of
from shared.mailboxes.protocol import Listed
from shared.mailboxes.spool import MEMORY_LIMIT

NEXT, DELTA = "@odata.nextLink", "@odata.deltaLink"
OLDEST = datetime.min.replace(tzinfo=UTC)

UNTOLD: Final = MEMORY_LIMIT
"""Octets that a message is taken to have whose size is not told: enough to be downloaded by itself."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is kept of an item while a folder is read: a hundred thousand of them may be."""

    received: datetime | None
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a round of changes.

    Attributes:
        link: what follows it.
        keys: the messages on it that are there.
    """

    link: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder's messages.

    Attributes:
        messages: oldest first.
        scope: what the marks hold for: this folder of this mailbox, and no other that takes its name.
        pages: of a round of changes; a plain listing has no marks, and none of these.
    """

    messages: tuple[Listed, ...] = ()
    scope: str = ""
    pages: tuple[Page, ...] = field(default=(), repr=False)

    def mark(self, dealt_with: Collection[int]) -> str | None:
        """The link behind the last page before the first with a message that was not dealt with, and its scope."""
        done = {one.key for one in self.messages if one.number in dealt_with}
        mark = None
        for page in self.pages:
            if not page.keys <= done:
                break
            mark = f"{self.scope} {page.link}"
        return mark


class Lister:
    """Lists the folders of one mailbox.

    Args:
        client: the session.
        requests: about the mailbox.
        user: the mailbox's address.
    """

    def __init__(self, client: GraphClient, requests: MailboxRequests, user: str) -> None:
        self._client = client
        self._requests = requests
        self._user = user

    async def plain(self, folder: str, since: datetime | None) -> Listing:
        """Everything in a folder, or what was received since then.

        Raises:
            Answered, MailboxBusy, ConnectionLost, httpx.HTTPError: as `GraphClient.json`.
            KeyError, TypeError, ValueError: what came is no listing of Graph's.
        """
        found: dict[str, Item] = {}
        seen: set[str] = set()
        answer = await self._client.json(self._requests.messages(folder, since))
        while True:
            found |= {str(item["id"]): _item(item) for item in items_of(answer)}
            if NEXT not in answer:
                return Listing(_listed(found))
            answer = await self._client.json(self._requests.following(_new(str(answer[NEXT]), seen)))

    async def changes(self, folder: str, above: str | None, since: datetime | None) -> Listing:
        """What came into a folder since a mark; everything without one, or if it is another folder's or forgotten.

        Args:
            folder: its id, or well-known name.
            above: what `Listing.mark` gave.
            since: what was received before is of no interest, so that it must be known when a message was.

        Raises:
            Answered, MailboxBusy, ConnectionLost, httpx.HTTPError: as `GraphClient.json`.
            KeyError, TypeError, ValueError: what came is no listing of Graph's.
        """
        scope = f"{self._user} {folder}"
        known, _, link = (above or "").rpartition(" ")
        if known == scope and self._client.is_own(link):
            try:
                answer = await self._client.json(self._requests.following(link, DELTA_PAGE))
                return await self._round(scope, answer, since)
            except Answered as answer_lost:
                if not answer_lost.is_state_lost:
                    raise
        return await self._round(scope, await self._client.json(self._requests.changes(folder)), since)

    async def _round(self, scope: str, answer: dict[str, Any], since: datetime | None) -> Listing:
        found: dict[str, Item] = {}
        pages: list[Page] = []
        seen: set[str] = set()
        while True:
            items = items_of(answer)
            for item in items:
                key = str(item["id"])
                if "@removed" in item:
                    found.pop(key, None)
                else:
                    found[key] = _item(await self._whole(item) if since is not None else item)
            link = self._client.check_origin(str(answer[NEXT if NEXT in answer else DELTA]))
            pages.append(Page(link, frozenset(str(item["id"]) for item in items)))
            if NEXT not in answer:
                # What went while the round was read need not be dealt with.
                there = tuple(Page(page.link, page.keys & found.keys()) for page in pages)
                return Listing(_listed(found), scope, there)
            answer = await self._client.json(self._requests.following(_new(link, seen), DELTA_PAGE))

    async def _whole(self, item: dict[str, Any]) -> dict[str, Any]:
        """An item with its time: of one that only changed, Graph may tell no more than what did."""
        if "receivedDateTime" in item:
            return item
        try:
            return {**await self._client.json(self._requests.told(str(item["id"]))), **item}
        except Answered as answer:
            if not answer.is_gone:
                raise
            return item


def _new(link: str, seen: set[str]) -> str:
    """A link that was not followed before in this listing."""
    if link in seen:
        raise ConnectionLost("Microsoft Graph gave the same link to the next page twice; the listing would never end")
    seen.add(link)
    return link


def _item(item: dict[str, Any]) -> Item:
    return Item(_received(item), _size(item))


def _listed(found: dict[str, Item]) -> tuple[Listed, ...]:
    oldest_first = sorted(found.items(), key=lambda one: one[1].received or OLDEST)
    return tuple(Listed(key, number, one.size, one.received) for number, (key, one) in enumerate(oldest_first, 1))


def _received(item: dict[str, Any]) -> datetime | None:
    """When Exchange received it; None for what has no time, or none that can be read."""
    try:
        received = datetime.fromisoformat(str(item.get("receivedDateTime")))
    except ValueError:
        return None
    return received if received.tzinfo is not None else received.replace(tzinfo=UTC)


def _size(item: dict[str, Any]) -> int:
    """PidTagMessageSize, or a guess that makes it come alone. Graph writes the tag as it likes."""
    for one in item.get("singleValueExtendedProperties") or ():
        kind, _, tag = str(one.get("id")).partition(" ")
        try:
            if kind == "Long" and int(tag, 16) == SIZE_TAG:
                return max(int(str(one.get("value"))), 0)
        except ValueError:
            continue
    return UNTOLD
