"""The subscriptions of one app registration at Microsoft Graph: what there is, and creating, renewing and deleting it.

https://learn.microsoft.com/graph/api/resources/subscription
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, TypeVar

from shared.clock import Now
from shared.config import MailboxSettings
from shared.errors import MailboxError, MailroomError
from shared.mailboxes.graph.client import GraphClient
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.errors import BAD_REQUEST, GraphResponseError, graph_error
from shared.mailboxes.graph.folders import folder_id
from shared.mailboxes.graph.links import Links
from shared.mailboxes.graph.requests import MailboxRequests, SubscriptionRequests, items_of
from shared.mailboxes.oauth.token_cache import TokenCache

T = TypeVar("T")

PATIENCE: Final = 60.0
"""Seconds that are waited all in all for a Graph that says "not now": the timer comes again."""

SHORTEST: Final = 45
"""Minutes that Graph raises a shorter subscription to."""

_TOO_LONG = re.compile(r"(\d{2,6}) minutes")


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as Graph has it.

    Attributes:
        id: Graph's.
        until: when it ends.
        url: where its notifications go.
        resource: what it is about, as it was asked for; empty where it was not us who asked.
    """

    id: str
    until: datetime
    url: str
    resource: str = ""


class GraphSubscriptions:
    """A session about the subscriptions of one sign-in.

    Args:
        settings: a mailbox's, whose sign-in it is.
        tokens: where access tokens come from.
        way: to Graph.
        now: the time.

    Raises:
        ConfigurationError, AuthenticationError, ConnectFailed, TlsRefused, ServiceUnavailable: from signing in.
    """

    def __init__(self, settings: MailboxSettings, tokens: TokenCache, way: GraphEndpoint, now: Now) -> None:
        self._settings = settings
        self._way = way
        self._now = now
        tokens.token(settings)
        self._client = GraphClient(settings, tokens, way, patience=PATIENCE)
        self._requests = SubscriptionRequests(self._client)

    def every(self) -> list[Subscription]:
        """All that the app registration has, whoever made them.

        Raises:
            MailboxError, MailboxBusy: and what derives from them.
        """
        return self._run(self._every(), "listing subscriptions")

    def resource(self, mailbox: MailboxSettings, folder: str) -> str:
        """What a subscription to a folder is about: the mailbox's address, and the folder's id.

        Raises:
            MailboxError, MailboxBusy: and what derives from them.
        """
        return self._run(self._resource(mailbox, folder), f"looking for {folder}", mailbox)

    def create(self, mailbox: MailboxSettings, folder: str, *, url: str, state: str, minutes: int) -> Subscription:
        """Subscribe to the messages that come into a folder.

        Args:
            mailbox: whose folder; one of this sign-in.
            folder: its path in the settings.
            url: where notifications go; Graph asks it for proof before it answers.
            state: what comes back with each notification.
            minutes: how long; less, if Graph says that it allows less.

        Raises:
            MailboxError, MailboxBusy: and what derives from them.
        """
        return self._run(self._create(mailbox, folder, url, state, minutes), f"subscribing to {folder}", mailbox)

    def renew(self, mailbox: MailboxSettings, subscription: str, *, minutes: int) -> Subscription | None:
        """Put a subscription's end off; None if it is gone.

        Args:
            mailbox: whose it is.
            subscription: Graph's id.
            minutes: how long from now; less, if Graph says that it allows less.

        Raises:
            MailboxError, MailboxBusy: and what derives from them.
        """
        return self._run(self._renew(subscription, minutes), "renewing a subscription", mailbox)

    def delete(self, subscription: str) -> None:
        """End a subscription; one that is gone is fine.

        Raises:
            MailboxError, MailboxBusy: and what derives from them.
        """
        return self._run(self._delete(subscription), "ending a subscription")

    def close(self) -> None:
        """End the session."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T], doing: str, mailbox: MailboxSettings | None = None) -> T:
        try:
            return self._client.run(work)
        except MailroomError:
            raise
        except Exception as error:
            raise graph_error(error, mailbox or self._settings, doing) from error

    async def _every(self) -> list[Subscription]:
        found: dict[str, Subscription] = {}
        links = Links(self._settings.name)
        answer = await self._client.json(self._requests.every())
        while True:
            before = len(found)
            found |= {one.id: one for one in map(_subscription, items_of(answer))}
            link = links.next(answer, new=len(found) > before)
            if link is None:
                return list(found.values())
            answer = await self._client.json(self._requests.following(link))

    async def _create(self, mailbox: MailboxSettings, folder: str, url: str, state: str, minutes: int) -> Subscription:
        resource = await self._resource(mailbox, folder)
        try:
            return await self._created(resource, url, state, minutes)
        except GraphResponseError as answer:
            allowed = _allowed(answer)
            if allowed is None or allowed >= minutes:
                raise _not_created(answer, mailbox, folder) from answer
            return await self._created(resource, url, state, allowed)

    async def _resource(self, mailbox: MailboxSettings, folder: str) -> str:
        requests = MailboxRequests(self._client, mailbox.mailbox_address)
        known = await folder_id(self._client, requests, self._way, mailbox, folder, name="FOLDERS")
        return f"users/{mailbox.mailbox_address}/mailFolders('{known}')/messages"

    async def _created(self, resource: str, url: str, state: str, minutes: int) -> Subscription:
        build = self._requests.create(resource=resource, url=url, state=state, until=self._until(minutes))
        # Asked once: had it been made, and the answer been lost, another try would make a second one.
        return replace(_subscription(await self._client.json(build, idempotent=False)), resource=resource)

    async def _renew(self, subscription: str, minutes: int) -> Subscription | None:
        try:
            return await self._renewed(subscription, minutes)
        except GraphResponseError as answer:
            if answer.is_gone:
                return None
            allowed = _allowed(answer)
            if allowed is None or allowed >= minutes:
                raise
            return await self._renewed(subscription, allowed)

    async def _renewed(self, subscription: str, minutes: int) -> Subscription:
        until = self._until(minutes)
        answer = await self._client.json(self._requests.renew(subscription, until))
        return _subscription({"notificationUrl": "", "expirationDateTime": until.isoformat(), **answer})

    async def _delete(self, subscription: str) -> None:
        try:
            await self._client.json(self._requests.delete(subscription))
        except GraphResponseError as answer:
            if not answer.is_gone:
                raise

    def _until(self, minutes: int) -> datetime:
        # Graph's clock may be a little behind ours, and its maximum is exact.
        return self._now() + timedelta(minutes=max(minutes, SHORTEST)) - timedelta(seconds=30)


def _subscription(item: dict[str, Any]) -> Subscription:
    until = datetime.fromisoformat(str(item["expirationDateTime"]))
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return Subscription(str(item["id"]), until, str(item.get("notificationUrl") or ""))


def _allowed(answer: GraphResponseError) -> int | None:
    """The minutes that Graph says it allows, where it refused more."""
    told = _TOO_LONG.search(answer.text) if answer.status == BAD_REQUEST and "expir" in answer.text.lower() else None
    return int(told[1]) if told else None


def _not_created(answer: GraphResponseError, mailbox: MailboxSettings, folder: str) -> Exception:
    if answer.status == BAD_REQUEST and "validation" in f"{answer.code} {answer.text}".lower():
        return MailboxError(
            f"mailbox {mailbox.name}: Microsoft Graph gets no proof from GRAPH_WEBHOOK_URL that notifications about "
            f"{folder} are wanted there ({answer.text}); is it the function's public address, and can it be reached?"
        )
    return answer
