"""Folder lookup by path, and folder listings: plain where mail is removed, delta queries where it is kept.

Where mail is removed, a plain listing shows the messages that are left. Where mail is kept, a delta query shows the
changes since the link that the last query ended with (Graph: message: delta). Its items come in any order, and may come
more than once. Its links are also watermarks: a page's link covers everything up to the end of that page.

A folder path is `INBOX`, which names the inbox in every language, or display names joined by `/`. A single name that no
folder has may be a well-known name of Graph's (Graph: mailFolder resource type).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from shared.config import MailboxSettings
from shared.errors import FolderMissing, printable
from shared.mailboxes.base import ListedMessage
from shared.mailboxes.graph.client import Build, GraphClient
from shared.mailboxes.graph.endpoint import GraphEndpoint, PageSizes
from shared.mailboxes.graph.errors import BUSY, UNAUTHORIZED, GraphResponseError
from shared.mailboxes.graph.links import NEXT, Links
from shared.mailboxes.graph.requests import DELTA_PAGE_SIZES, PAGE_SIZES, SIZE_TAG, MailboxRequests, page_items
from shared.mailboxes.spool import MEMORY_LIMIT
from shared.mailboxes.tls import setting_name

DELTA: Final = "@odata.deltaLink"

OLDEST: Final = datetime.min.replace(tzinfo=UTC)

ASSUMED_SIZE: Final = MEMORY_LIMIT
"""Bytes assumed for a message whose size Graph does not report: enough to be downloaded by itself."""

INBOX: Final = "INBOX"

WELL_KNOWN: Final = {
    name.lower(): name.lower()
    for name in ("Inbox", "Archive", "DeletedItems", "Drafts", "JunkEmail", "Outbox", "SentItems", "Clutter")
} | {"deleted items": "deleteditems", "junk email": "junkemail", "sent items": "sentitems"}
"""Graph's names of the well-known folders, by the lower-case names that the settings may use for them."""

_log = logging.getLogger("mailroom.graph")


async def folder_id(
    client: GraphClient,
    requests: MailboxRequests,
    endpoint: GraphEndpoint,
    settings: MailboxSettings,
    path: str,
    *,
    name: str,
) -> str:
    """Return the id or well-known name of a folder, from the cache or from Graph.

    Args:
        client: the session.
        requests: the mailbox's request builders.
        endpoint: Graph's endpoint, with the cache of folder ids.
        settings: the mailbox's settings.
        path: the folder's path in the settings.
        name: the setting that names the folder, for the error's text.

    Raises:
        FolderMissing: the folder does not exist.
        GraphResponseError, MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
    """
    folder = endpoint.folder_ids.get(settings.name, path) or await _find_folder(client, requests, path)
    if folder is None:
        raise FolderMissing(
            f"mailbox {settings.name}: the folder {path!r} does not exist; check {setting_name(settings, name)}, whose "
            "names are as Outlook shows them, with / between a folder and its subfolder"
        )
    endpoint.folder_ids.put(settings.name, path, folder)
    return folder


async def _find_folder(client: GraphClient, requests: MailboxRequests, path: str) -> str | None:
    if path.upper() == INBOX:
        return "inbox"
    first, *rest = [name.strip() for name in path.split("/") if name.strip()] or [path]
    folder = "inbox" if first.upper() == INBOX else await _find_by_name(client, requests, first, None)
    if folder is None and not rest and first.lower() in WELL_KNOWN:
        folder = WELL_KNOWN[first.lower()]
        try:
            await client.json(requests.folder(folder))
        except GraphResponseError as error:
            if not error.is_gone:
                raise
            folder = None
    for name in rest:
        folder = None if folder is None else await _find_by_name(client, requests, name, folder)
    return folder


async def folder_paths(client: GraphClient, requests: MailboxRequests, limit: int) -> list[str]:
    """Return the paths of at most `limit` folders, the top level first.

    Raises:
        GraphResponseError, MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
    """
    paths: list[str] = []
    parents: list[tuple[str, str | None]] = [("", None)]
    while parents and len(paths) < limit:
        prefix, parent = parents.pop(0)
        for folder in page_items(await client.json(requests.folders(parent))):
            path = f"{prefix}{folder['displayName']}"
            paths.append(path)
            if folder.get("childFolderCount"):
                parents.append((f"{path}/", str(folder["id"])))
    return paths[:limit]


async def _find_by_name(client: GraphClient, requests: MailboxRequests, name: str, parent: str | None) -> str | None:
    """Return the id of the folder with a name. Exchange ignores case; a folder with the same case is preferred."""
    folders = page_items(await client.json(requests.folders_named(name, parent)))
    folders = sorted(folders, key=lambda folder: folder.get("displayName") != name)
    return str(folders[0]["id"]) if folders else None


@dataclass(frozen=True, slots=True)
class Item:
    """A message's properties while a folder is listed; small, since a folder may have a hundred thousand messages."""

    received: datetime | None
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a delta query.

    Attributes:
        link: the link to what follows the page.
        keys: ids of the page's messages that are still in the folder.
    """

    link: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder's messages.

    Attributes:
        messages: the messages, oldest first.
        scope: the mailbox and the folder id for which the watermarks are valid, so that a new folder of the same name
            starts over.
        pages: the pages of a delta query; empty for a plain listing, which has no watermarks.
        complete: whether every message of the folder is listed, apart from those received before `SINCE`.
    """

    messages: tuple[ListedMessage, ...] = ()
    scope: str = ""
    pages: tuple[Page, ...] = field(default=(), repr=False)
    complete: bool = False

    def watermark(self, processed: Collection[int]) -> str | None:
        """Return the scope and the link after the last page before the first page with an unprocessed message.

        Args:
            processed: numbers of the processed messages.
        """
        processed_keys = {listed.key for listed in self.messages if listed.number in processed}
        watermark = None
        for page in self.pages:
            if not page.keys <= processed_keys:
                break
            watermark = f"{self.scope} {page.link}"
        return watermark


class Lister:
    """Lists the folders of one mailbox.

    Args:
        client: the session.
        requests: the mailbox's request builders.
        user: the mailbox's address.
        name: the mailbox's name in the settings.
        page_sizes: page sizes that work for each mailbox.
    """

    def __init__(
        self, client: GraphClient, requests: MailboxRequests, user: str, name: str, page_sizes: PageSizes
    ) -> None:
        self._client = client
        self._requests = requests
        self._user = user
        self._name = name
        self._page_sizes = page_sizes

    async def list_all(self, folder: str, since: datetime | None) -> Listing:
        """List the messages in a folder, or those received since a time.

        A listing whose links form a circle, or of which a page fails in every size, ends with the pages before it.
        Their messages are processed and removed, so that the next listing starts after them.

        Raises:
            GraphResponseError, MailboxBusy, ConnectionLost, httpx.HTTPError: as `GraphClient.json`.
            KeyError, TypeError, ValueError: the response is not a listing of Graph's.
        """
        items: dict[str, Item] = {}
        links = Links(self._name)
        offset = 0
        link: str | None = None
        while True:
            try:
                page = await self._fetch_page(PAGE_SIZES, self._listing_request(folder, since, offset, link))
            except (GraphResponseError, httpx.ReadTimeout) as error:
                if not items or not _suggests_smaller_request(error):
                    raise
                self._report_incomplete(items, error)
                return Listing(_sort(items))
            entries = page_items(page)
            count_before = len(items)
            items |= {str(entry["id"]): _parse_item(entry) for entry in entries}
            offset += len(entries)
            link = links.next(page, has_new=len(items) > count_before)
            if link is None:
                return Listing(_sort(items), complete=NEXT not in page)
            self._client.check_origin(link)

    async def list_changes(self, folder: str, watermark: str | None, since: datetime | None) -> Listing:
        """List the changes in a folder since a watermark.

        Without a watermark, or if it is another folder's or has expired, this lists all messages.

        Args:
            folder: the folder's id or well-known name.
            watermark: a result of `Listing.watermark`.
            since: the caller ignores mail received before this time, so every item needs its time.

        Raises:
            GraphResponseError, MailboxBusy, ConnectionLost, httpx.HTTPError: as `GraphClient.json`.
            KeyError, TypeError, ValueError: the response is not a listing of Graph's.
        """
        scope = f"{self._user} {folder}"
        watermark_scope, _, link = (watermark or "").rpartition(" ")
        if watermark_scope == scope and self._client.has_endpoint_origin(link):
            try:
                listing = await self._query_delta(scope, folder, link, since)
            except GraphResponseError as error:
                if not error.is_state_lost:
                    raise
            else:
                if listing.pages:
                    return listing
                # The links form a circle and never reach newer messages, so the watermark is useless.
        return await self._query_delta(scope, folder, None, since)

    async def _query_delta(self, scope: str, folder: str, link: str | None, since: datetime | None) -> Listing:
        """Run a delta query. The listing has no pages, and so no watermark, if the links form a circle."""
        items: dict[str, Item] = {}
        keys: set[str] = set()
        pages: list[Page] = []
        links = Links(self._name, link)
        while True:
            try:
                page = await self._fetch_page(DELTA_PAGE_SIZES, self._delta_request(folder, link))
            except (GraphResponseError, httpx.ReadTimeout) as error:
                if not items or not _suggests_smaller_request(error):
                    raise
                self._report_incomplete(items, error)
                return _delta_listing(items, scope, pages)
            entries = page_items(page)
            for entry in entries:
                key = str(entry["id"])
                if "@removed" in entry:
                    items.pop(key, None)
                else:
                    items[key] = _parse_item(await self._with_received(entry) if since is not None else entry)
            page_keys = frozenset(str(entry["id"]) for entry in entries)
            pages.append(Page(self._client.check_origin(str(page[NEXT if NEXT in page else DELTA])), page_keys))
            link = links.next(page, has_new=not page_keys <= keys)
            keys |= page_keys
            if links.circular:
                return Listing(_sort(items), scope)
            if link is None:
                return _delta_listing(items, scope, pages)

    def _listing_request(
        self, folder: str, since: datetime | None, offset: int, link: str | None
    ) -> Callable[[int], Build]:
        """Return a function from a page size to the request for the page after `offset` messages.

        A link includes its page size. For another size, the page is requested by its offset.
        """
        size_of_link = self._page_sizes.usable(self._name, PAGE_SIZES)[0]

        def build(size: int) -> Build:
            if link is not None and size == size_of_link:
                return self._requests.following(link)
            return self._requests.messages(folder, since, page_size=size, skip=offset)

        return build

    def _delta_request(self, folder: str, link: str | None) -> Callable[[int], Build]:
        """Return a function from a page size, which a header carries, to the request for a page of a delta query."""

        def build(size: int) -> Build:
            return self._requests.changes(folder, size) if link is None else self._requests.following(link, size)

        return build

    async def _fetch_page(self, sizes: Sequence[int], request: Callable[[int], Build]) -> dict[str, Any]:
        """Request a page, and a smaller one where the server fails at a larger one.

        Raises:
            GraphResponseError, httpx.ReadTimeout: the smallest page failed as well, or a smaller one would not help.
        """
        usable = self._page_sizes.usable(self._name, sizes)
        for size in usable[:-1]:
            try:
                page = await self._client.json(request(size), may_shrink=True)
            except (GraphResponseError, httpx.ReadTimeout) as error:
                if not _suggests_smaller_request(error):
                    raise
                _log.warning(
                    "mailbox %s: a page of %d messages failed, retrying with a smaller page: %s",
                    self._name,
                    size,
                    printable(error),
                )
            else:
                if size != usable[0]:
                    self._page_sizes.limit(self._name, size)
                return page
        page = await self._client.json(request(usable[-1]))
        if len(usable) > 1:
            self._page_sizes.limit(self._name, usable[-1])
        return page

    def _report_incomplete(self, items: Collection[str], error: Exception) -> None:
        _log.warning(
            "mailbox %s: the listing failed after %d messages, which are processed: %s",
            self._name,
            len(items),
            printable(error),
        )

    async def _with_received(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return an entry with its time: for a changed message, Graph may return the changed properties alone.

        If Graph refuses this one message, the entry is returned without the time.
        """
        if "receivedDateTime" in entry:
            return entry
        try:
            return {**await self._client.json(self._requests.properties(str(entry["id"]))), **entry}
        except GraphResponseError as error:
            if error.status in BUSY or error.status == UNAUTHORIZED:
                raise
            return entry


def _delta_listing(items: dict[str, Item], scope: str, pages: Sequence[Page]) -> Listing:
    # A message that was removed during the query need not be processed.
    present = tuple(Page(page.link, page.keys & items.keys()) for page in pages)
    return Listing(_sort(items), scope, present)


def _suggests_smaller_request(error: GraphResponseError | httpx.ReadTimeout) -> bool:
    return not isinstance(error, GraphResponseError) or error.suggests_smaller_request


def _parse_item(entry: dict[str, Any]) -> Item:
    return Item(_received(entry), _size(entry))


def _sort(items: dict[str, Item]) -> tuple[ListedMessage, ...]:
    oldest_first = sorted(items.items(), key=lambda entry: entry[1].received or OLDEST)
    return tuple(
        ListedMessage(key, number, item.size, item.received) for number, (key, item) in enumerate(oldest_first, 1)
    )


def _received(entry: dict[str, Any]) -> datetime | None:
    """Return when Exchange received a message; None without a valid time."""
    try:
        received = datetime.fromisoformat(str(entry.get("receivedDateTime")))
    except ValueError:
        return None
    return received if received.tzinfo is not None else received.replace(tzinfo=UTC)


def _size(entry: dict[str, Any]) -> int:
    """Return PidTagMessageSize, or `ASSUMED_SIZE` without it. Graph varies the spelling of the property's id."""
    for extended in entry.get("singleValueExtendedProperties") or ():
        kind, _, tag = str(extended.get("id")).partition(" ")
        try:
            if kind == "Long" and int(tag, 16) == SIZE_TAG:
                return max(int(str(extended.get("value"))), 0)
        except ValueError:
            continue
    return ASSUMED_SIZE
