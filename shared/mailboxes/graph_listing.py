"""What is in a folder: a plain listing where mail is removed, the changes since a link where it is kept.

A plain listing shows what is left to be taken, since what was taken is gone from it. Where mail is kept, a delta query
shows what came since the link that the last round ended with (Graph: message: delta); items come in any order, and more
than once. Links are also marks: a page's link stands for everything up to the end of that page.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared.mailboxes.graph_client import GraphClient
from shared.mailboxes.graph_errors import Answered
from shared.mailboxes.graph_requests import DELTA_PAGE, SIZE_TAG, MailboxRequests, items_of
from shared.mailboxes.protocol import Listed

NEXT, DELTA = "@odata.nextLink", "@odata.deltaLink"
OLDEST = datetime.min.replace(tzinfo=UTC)


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
        pages: of a round of changes; a plain listing has no marks, and none of these.
    """

    messages: tuple[Listed, ...] = ()
    pages: tuple[Page, ...] = field(default=(), repr=False)

    def mark(self, dealt_with: Collection[int]) -> str | None:
        """The link behind the last page before the first with a message that was not dealt with."""
        done = {one.key for one in self.messages if one.number in dealt_with}
        mark = None
        for page in self.pages:
            if not page.keys <= done:
                break
            mark = page.link
        return mark


async def plain(client: GraphClient, requests: MailboxRequests, folder: str, since: datetime | None) -> Listing:
    """Everything in a folder, or what was received since then.

    Raises:
        Answered, MailboxBusy, ConnectionLost, httpx.HTTPError: as `GraphClient.json`.
        KeyError, TypeError, ValueError: what came is no listing of Graph's.
    """
    found: dict[str, dict[str, Any]] = {}
    answer = await client.json(requests.messages(folder, since))
    while True:
        found |= {str(item["id"]): item for item in items_of(answer)}
        if NEXT not in answer:
            return Listing(_listed(found))
        answer = await client.json(requests.following(str(answer[NEXT])))


async def changes(client: GraphClient, requests: MailboxRequests, folder: str, above: str | None) -> Listing:
    """What came into a folder since a link; everything, without one, or if Graph does not know it any more.

    Raises:
        Answered, MailboxBusy, ConnectionLost, httpx.HTTPError: as `GraphClient.json`.
        KeyError, TypeError, ValueError: what came is no listing of Graph's.
    """
    if above is not None:
        try:
            return await _round(client, requests, await client.json(requests.following(above, DELTA_PAGE)))
        except Answered as answer:
            if not answer.is_state_lost:
                raise
    return await _round(client, requests, await client.json(requests.changes(folder)))


async def _round(client: GraphClient, requests: MailboxRequests, answer: dict[str, Any]) -> Listing:
    found: dict[str, dict[str, Any]] = {}
    pages: list[Page] = []
    while True:
        items = items_of(answer)
        for item in items:
            if "@removed" in item:
                found.pop(str(item["id"]), None)
            else:
                found[str(item["id"])] = item
        link = str(answer[NEXT if NEXT in answer else DELTA])
        pages.append(Page(client.check_origin(link), frozenset(str(item["id"]) for item in items)))
        if NEXT not in answer:
            # What went while the round was read need not be dealt with.
            there = tuple(Page(page.link, page.keys & found.keys()) for page in pages)
            return Listing(_listed(found), there)
        answer = await client.json(requests.following(link, DELTA_PAGE))


def _listed(found: dict[str, dict[str, Any]]) -> tuple[Listed, ...]:
    told = [(key, _received(item), _size(item)) for key, item in found.items()]
    told.sort(key=lambda one: one[1] or OLDEST)
    return tuple(Listed(key, number, size, received) for number, (key, received, size) in enumerate(told, 1))


def _received(item: dict[str, Any]) -> datetime | None:
    """When Exchange received it; None for what has no time, or none that can be read."""
    try:
        received = datetime.fromisoformat(str(item.get("receivedDateTime")))
    except ValueError:
        return None
    return received if received.tzinfo is not None else received.replace(tzinfo=UTC)


def _size(item: dict[str, Any]) -> int:
    """PidTagMessageSize; 0 where it is not told, and the download finds out. Graph writes the tag as it likes."""
    for one in item.get("singleValueExtendedProperties") or ():
        kind, _, tag = str(one.get("id")).partition(" ")
        try:
            if kind == "Long" and int(tag, 16) == SIZE_TAG:
                return max(int(str(one.get("value"))), 0)
        except ValueError:
            continue
    return 0
