"""Change notification subscriptions of one app registration: list, create, renew and delete.

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
from shared.mailboxes.graph.links import Links
from shared.mailboxes.graph.listing import folder_id
from shared.mailboxes.graph.requests import MailboxRequests, SubscriptionRequests, page_items
from shared.mailboxes.oauth.token_cache import TokenCache

T = TypeVar("T")

PATIENCE: Final = 60.0
"""Seconds from a session's start after which it no longer waits before a retry; the timer runs again soon."""

MIN_MINUTES: Final = 45
"""Minutes to which Graph raises a shorter lifetime."""

CLOCK_SKEW: Final = timedelta(seconds=30)
"""Margin for a Graph server whose time is behind: its maximum lifetime is exact."""

_MAXIMUM = re.compile(r"(\d{2,6}) minutes")


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as Graph reports it.

    Attributes:
        id: Graph's id.
        expires: when it expires.
        url: the URL that receives its notifications.
        resource: the resource it was created for; empty if this session did not create it.
    """

    id: str
    expires: datetime
    url: str
    resource: str = ""


class GraphSubscriptions:
    """A session that manages the subscriptions of one app registration.

    Args:
        settings: a mailbox with the app registration's credentials.
        tokens: issues access tokens.
        endpoint: Graph's endpoint, with its caches.
        now: returns the current time.

    Raises:
        ConfigurationError, AuthenticationError, ConnectFailed, TlsRefused, ServiceUnavailable: no token was issued.
    """

    def __init__(self, settings: MailboxSettings, tokens: TokenCache, endpoint: GraphEndpoint, now: Now) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._now = now
        tokens.token(settings)
        self._client = GraphClient(settings, tokens, endpoint, patience=PATIENCE)
        self._requests = SubscriptionRequests(self._client)

    def list_all(self) -> list[Subscription]:
        """List all subscriptions of the app registration, including subscriptions that Mailroom did not create.

        Raises:
            MailboxError, MailboxBusy: the request failed.
        """
        return self._run(self._list_all(), "listing subscriptions")

    def resource(self, mailbox: MailboxSettings, folder: str) -> str:
        """Return a folder's resource name for a subscription, which has the mailbox's address and the folder's id.

        Raises:
            MailboxError, MailboxBusy: the request failed.
        """
        return self._run(self._resource(mailbox, folder), f"looking up {folder}", mailbox)

    def create(
        self, mailbox: MailboxSettings, folder: str, *, url: str, client_state: str, minutes: int
    ) -> Subscription:
        """Subscribe to the messages that arrive in a folder.

        Args:
            mailbox: the folder's mailbox, which uses this session's app registration.
            folder: the folder's path in the settings.
            url: the URL that receives notifications. Graph validates it before it responds.
            client_state: the value that Graph repeats in each notification.
            minutes: the lifetime; shorter if Graph says that it allows less.

        Raises:
            MailboxError, MailboxBusy: the request failed.
        """
        work = self._create(mailbox, folder, url, client_state, minutes)
        return self._run(work, f"subscribing to {folder}", mailbox)

    def renew(self, mailbox: MailboxSettings, subscription: str, *, minutes: int) -> Subscription | None:
        """Extend a subscription; return None if it no longer exists.

        Args:
            mailbox: the subscription's mailbox.
            subscription: Graph's id.
            minutes: the lifetime from now; shorter if Graph says that it allows less.

        Raises:
            MailboxError, MailboxBusy: the request failed.
        """
        return self._run(self._renew(subscription, minutes), "renewing a subscription", mailbox)

    def delete(self, subscription: str) -> None:
        """Delete a subscription, which may already be gone.

        Raises:
            MailboxError, MailboxBusy: the request failed.
        """
        return self._run(self._delete(subscription), "deleting a subscription")

    def close(self) -> None:
        """End the session."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T], activity: str, mailbox: MailboxSettings | None = None) -> T:
        try:
            return self._client.run(work)
        except MailroomError:
            raise
        except Exception as error:
            raise graph_error(error, mailbox or self._settings, activity) from error

    async def _list_all(self) -> list[Subscription]:
        subscriptions: dict[str, Subscription] = {}
        links = Links(self._settings.name)
        page = await self._client.json(self._requests.list_all())
        while True:
            count_before = len(subscriptions)
            parsed = map(_parse_subscription, page_items(page))
            subscriptions |= {subscription.id: subscription for subscription in parsed}
            link = links.next(page, has_new=len(subscriptions) > count_before)
            if link is None:
                return list(subscriptions.values())
            page = await self._client.json(self._requests.following(link))

    async def _create(
        self, mailbox: MailboxSettings, folder: str, url: str, client_state: str, minutes: int
    ) -> Subscription:
        resource = await self._resource(mailbox, folder)
        try:
            return await self._send_create(resource, url, client_state, minutes)
        except GraphResponseError as error:
            allowed = _allowed_minutes(error)
            if allowed is None or allowed >= minutes:
                raise _creation_error(error, mailbox, folder) from error
            return await self._send_create(resource, url, client_state, allowed)

    async def _resource(self, mailbox: MailboxSettings, folder: str) -> str:
        requests = MailboxRequests(self._client, mailbox.mailbox_address)
        id_ = await folder_id(self._client, requests, self._endpoint, mailbox, folder, name="FOLDERS")
        return f"users/{mailbox.mailbox_address}/mailFolders('{id_}')/messages"

    async def _send_create(self, resource: str, url: str, client_state: str, minutes: int) -> Subscription:
        expires = self._expiry(minutes)
        build = self._requests.create(resource=resource, url=url, client_state=client_state, expires=expires)
        # Sent once: after a lost response, another attempt would create a second subscription.
        return replace(_parse_subscription(await self._client.json(build, idempotent=False)), resource=resource)

    async def _renew(self, subscription: str, minutes: int) -> Subscription | None:
        try:
            return await self._send_renew(subscription, minutes)
        except GraphResponseError as error:
            if error.is_gone:
                return None
            allowed = _allowed_minutes(error)
            if allowed is None or allowed >= minutes:
                raise
            return await self._send_renew(subscription, allowed)

    async def _send_renew(self, subscription: str, minutes: int) -> Subscription:
        expires = self._expiry(minutes)
        response = await self._client.json(self._requests.renew(subscription, expires))
        return _parse_subscription({"notificationUrl": "", "expirationDateTime": expires.isoformat(), **response})

    async def _delete(self, subscription: str) -> None:
        try:
            await self._client.json(self._requests.delete(subscription))
        except GraphResponseError as error:
            if not error.is_gone:
                raise

    def _expiry(self, minutes: int) -> datetime:
        return self._now() + timedelta(minutes=max(minutes, MIN_MINUTES)) - CLOCK_SKEW


def _parse_subscription(item: dict[str, Any]) -> Subscription:
    expires = datetime.fromisoformat(str(item["expirationDateTime"]))
    expires = expires if expires.tzinfo is not None else expires.replace(tzinfo=UTC)
    return Subscription(str(item["id"]), expires, str(item.get("notificationUrl") or ""))


def _allowed_minutes(error: GraphResponseError) -> int | None:
    """Return the maximum lifetime in minutes that Graph names when it refuses a longer one."""
    is_about_expiry = error.status == BAD_REQUEST and "expir" in error.text.lower()
    match = _MAXIMUM.search(error.text) if is_about_expiry else None
    return int(match[1]) if match else None


def _creation_error(error: GraphResponseError, mailbox: MailboxSettings, folder: str) -> Exception:
    if error.status == BAD_REQUEST and "validation" in f"{error.code} {error.text}".lower():
        return MailboxError(
            f"mailbox {mailbox.name}: Microsoft Graph could not validate GRAPH_WEBHOOK_URL for notifications about "
            f"{folder} ({error.text}); check that it is the function's public address and can be reached"
        )
    return error
