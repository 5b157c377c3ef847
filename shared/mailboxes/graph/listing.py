"""What is in a folder: a plain listing where mail is removed, the changes since a link where it is kept.

A plain listing shows what is left to be taken, since what was taken is gone from it. Where mail is kept, a delta query
shows what came since the link that the last round ended with (Graph: message: delta); items come in any order, and more
than once. Links are also marks: a page's link stands for everything up to the end of that page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from shared.errors import printable
from shared.mailboxes.base import ListedMessage
from shared.mailboxes.graph.client import Build, GraphClient
from shared.mailboxes.graph.endpoint import PageSizes
from shared.mailboxes.graph.errors import BUSY, UNAUTHORIZED, GraphResponseError
from shared.mailboxes.graph.links import NEXT, Links
from shared.mailboxes.graph.requests import DELTA_PAGES, PAGES, SIZE_TAG, MailboxRequests, items_of
from shared.mailboxes.spool import MEMORY_LIMIT

DELTA = "@odata.deltaLink"
OLDEST = datetime.min.replace(tzinfo=UTC)

UNTOLD: Final = MEMORY_LIMIT
"""Octets that a message is taken to have whose size is not told: enough to be downloaded by itself."""

_log = logging.getLogger("mailroom.graph")


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
        complete: it holds every message of the folder, but for those received before SINCE.
    """

    messages: tuple[ListedMessage, ...] = ()
    scope: str = ""
    pages: tuple[Page, ...] = field(default=(), repr=False)
    complete: bool = False

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
        name: the mailbox's name in the settings.
        sizes: remembers which page sizes work.
    """

    def __init__(self, client: GraphClient, requests: MailboxRequests, user: str, name: str, sizes: PageSizes) -> None:
        self._client = client
        self._requests = requests
        self._user = user
        self._name = name
        self._sizes = sizes

    async def plain(self, folder: str, since: datetime | None) -> Listing:
        """Everything in a folder, or what was received since then.

        A listing whose links go in circles, or that breaks off at a page that cannot be had in any size, ends with what
        came before: that is collected and removed, so that the next listing begins behind it.

        Raises:
            Answered, MailboxBusy, ConnectionLost, httpx.HTTPError: as `GraphClient.json`.
            KeyError, TypeError, ValueError: what came is no listing of Graph's.
        """
        found: dict[str, Item] = {}
        links = Links(self._name)
        passed = 0
        link: str | None = None
        while True:
            try:
                answer = await self._page(PAGES, self._asking(folder, since, passed, link))
            except (GraphResponseError, httpx.ReadTimeout) as error:
                if not found or not _is_too_much(error):
                    raise
                self._report_incomplete(found, error)
                return Listing(_listed(found))
            items = items_of(answer)
            before = len(found)
            found |= {str(item["id"]): _item(item) for item in items}
            passed += len(items)
            link = links.next(answer, new=len(found) > before)
            if link is None:
                return Listing(_listed(found), complete=NEXT not in answer)
            self._client.check_origin(link)

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
                listing = await self._round(scope, folder, link, since)
            except GraphResponseError as answer_lost:
                if not answer_lost.is_state_lost:
                    raise
            else:
                if listing.pages:
                    return listing
                # A round that goes in circles does not get to newer messages: its mark is of no use.
        return await self._round(scope, folder, None, since)

    async def _round(self, scope: str, folder: str, link: str | None, since: datetime | None) -> Listing:
        """Read a round of changes; without pages, and so without a mark, if its links go in circles."""
        found: dict[str, Item] = {}
        keys: set[str] = set()
        pages: list[Page] = []
        links = Links(self._name, link)
        while True:
            try:
                answer = await self._page(DELTA_PAGES, self._asking_changes(folder, link))
            except (GraphResponseError, httpx.ReadTimeout) as error:
                if not found or not _is_too_much(error):
                    raise
                self._report_incomplete(found, error)
                return _of_round(found, scope, pages)
            items = items_of(answer)
            for item in items:
                key = str(item["id"])
                if "@removed" in item:
                    found.pop(key, None)
                else:
                    found[key] = _item(await self._whole(item) if since is not None else item)
            on_page = frozenset(str(item["id"]) for item in items)
            pages.append(Page(self._client.check_origin(str(answer[NEXT if NEXT in answer else DELTA])), on_page))
            link = links.next(answer, new=not on_page <= keys)
            keys |= on_page
            if links.circular:
                return Listing(_listed(found), scope)
            if link is None:
                return _of_round(found, scope, pages)

    def _asking(self, folder: str, since: datetime | None, passed: int, link: str | None) -> Callable[[int], Build]:
        """Return what makes the request for the page behind `passed` messages, by its size.

        A link has its page's size in it. For another size, the page is asked for by what comes before it.
        """
        size_of_link = self._sizes.usable(self._name, PAGES)[0]

        def build(size: int) -> Build:
            if link is not None and size == size_of_link:
                return self._requests.following(link)
            return self._requests.messages(folder, since, page=size, skip=passed)

        return build

    def _asking_changes(self, folder: str, link: str | None) -> Callable[[int], Build]:
        """Return what makes the request for a page of a round, by its size, which a header has."""

        def build(size: int) -> Build:
            return self._requests.changes(folder, size) if link is None else self._requests.following(link, size)

        return build

    async def _page(self, sizes: Sequence[int], asking: Callable[[int], Build]) -> dict[str, Any]:
        """Ask for a page: a smaller one, where a large one is too much for the server.

        Raises:
            Answered, httpx.ReadTimeout: the smallest is too much as well, or the answer says something else.
        """
        usable = self._sizes.usable(self._name, sizes)
        for size in usable[:-1]:
            try:
                answer = await self._client.json(asking(size), may_shrink=True)
            except (GraphResponseError, httpx.ReadTimeout) as error:
                if not _is_too_much(error):
                    raise
                _log.warning(
                    "mailbox %s: a page of %d messages fails, a smaller one is tried: %s",
                    self._name,
                    size,
                    printable(error),
                )
            else:
                if size != usable[0]:
                    self._sizes.limit(self._name, size)
                return answer
        answer = await self._client.json(asking(usable[-1]))
        if len(usable) > 1:
            self._sizes.limit(self._name, usable[-1])
        return answer

    def _report_incomplete(self, found: Collection[str], error: Exception) -> None:
        _log.warning(
            "mailbox %s: the listing breaks off after %d messages, which are collected: %s",
            self._name,
            len(found),
            printable(error),
        )

    async def _whole(self, item: dict[str, Any]) -> dict[str, Any]:
        """An item with its time: of one that only changed, Graph may return the changed properties alone.

        Where Graph refuses this one item, the listing goes on without the time.
        """
        if "receivedDateTime" in item:
            return item
        try:
            return {**await self._client.json(self._requests.told(str(item["id"]))), **item}
        except GraphResponseError as answer:
            if answer.status in BUSY or answer.status == UNAUTHORIZED:
                raise
            return item


def _of_round(found: dict[str, Item], scope: str, pages: Sequence[Page]) -> Listing:
    # What went while the round was read need not be dealt with.
    there = tuple(Page(page.link, page.keys & found.keys()) for page in pages)
    return Listing(_listed(found), scope, there)


def _is_too_much(error: GraphResponseError | httpx.ReadTimeout) -> bool:
    return not isinstance(error, GraphResponseError) or error.is_too_much


def _item(item: dict[str, Any]) -> Item:
    return Item(_received(item), _size(item))


def _listed(found: dict[str, Item]) -> tuple[ListedMessage, ...]:
    oldest_first = sorted(found.items(), key=lambda one: one[1].received or OLDEST)
    return tuple(
        ListedMessage(key, number, one.size, one.received) for number, (key, one) in enumerate(oldest_first, 1)
    )


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
