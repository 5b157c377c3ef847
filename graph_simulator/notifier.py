"""Sends notifications to subscribers: late, twice, out of order or not at all, as the fault plan says."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp

from graph_simulator import webhook_validation
from graph_simulator.fault_plan import FaultPlan
from graph_simulator.items import Change
from graph_simulator.subscriptions import Subscription, timestamp

BATCH_SIZE = 4
"""Maximum number of notifications in one request."""

BATCH_WINDOW = 0.005
"""Seconds that a notification waits for others of the same batch."""


@dataclass(frozen=True, slots=True)
class PendingNotification:
    """A notification that waits to be sent."""

    due: float
    url: str
    entry: dict[str, Any] = field(repr=False)


class Notifier:
    """Sends notifications from the simulator's event loop. `notify` and `notify_lifecycle` are thread-safe.

    Attributes:
        sent: number of entries that receivers accepted.
        lost: number of entries that were not sent because of the fault plan, or failed every attempt.
        responses: status and seconds of every request; status 0 without a response.
        response_timeout: seconds that a receiver has to respond.
        validation_timeout: seconds that a new URL has to respond to the validation.
        retry_delays: seconds between attempts; after the last one, the entries are lost.
    """

    def __init__(self, lock: threading.RLock, fault_plan: FaultPlan) -> None:
        self.sent = 0
        self.lost = 0
        self.responses: list[tuple[int, float]] = []
        self.response_timeout = 10.0
        self.validation_timeout = 10.0
        self.retry_delays: tuple[float, ...] = (0.05, 0.2, 0.5)
        self._idle = threading.Condition(lock)
        self._fault_plan = fault_plan
        self._pending: list[PendingNotification] = []
        self._unfinished = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def notify(self, subscription: Subscription, change: Change, tenant: str) -> None:
        """Enqueue a change notification. The caller holds the lock."""
        faults = self._fault_plan
        if faults.chance(faults.lose):
            self.lost += 1
            return
        message_id = change.id_as(immutable=subscription.immutable)
        resource = f"Users/{subscription.store.id}/Messages/{message_id}"
        entry = {
            "changeType": change.kind,
            "resource": resource,
            "resourceData": {
                "@odata.type": "#Microsoft.Graph.Message",
                "@odata.id": resource,
                "@odata.etag": f'W/"CQAAABYAAAC{change.version:012d}"',
                "id": message_id,
            },
        }
        for _ in range(2 if faults.chance(faults.duplicate) else 1):
            self._enqueue(subscription.url, {**_common_fields(subscription, tenant), **entry})

    def notify_lifecycle(self, subscription: Subscription, event: str, tenant: str) -> None:
        """Enqueue a lifecycle notification, if the subscription has a URL for them. The caller holds the lock."""
        if subscription.lifecycle_url is not None:
            entry = {**_common_fields(subscription, tenant), "lifecycleEvent": event}
            self._enqueue(subscription.lifecycle_url, entry)

    def settle(self, timeout: float) -> bool:
        """Wait until no notification is pending; return whether this happened within `timeout` seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: self._unfinished == 0, timeout)

    async def validate(self, url: str) -> None:
        """Validate a URL that will receive notifications.

        Raises:
            GraphError: the validation failed.
        """
        assert self._session is not None
        await webhook_validation.validate(self._session, url, self.validation_timeout)

    async def run(self, trust: ssl.SSLContext | None) -> None:
        """Send notifications until cancelled. Certificates of receivers are verified with `trust`."""
        # Not kept alive: the receiver may have closed the connection when the next notification is sent.
        connector = aiohttp.TCPConnector(ssl=trust if trust is not None else True, force_close=True)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as self._session:
            self._loop = asyncio.get_running_loop()
            try:
                while True:
                    await self._wait_until_due()
                    self._send_due()
            finally:
                with self._idle:
                    self._loop = None
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enqueue(self, url: str, entry: dict[str, Any]) -> None:
        minimum, maximum = self._fault_plan.delay
        delay = self._fault_plan.random.uniform(minimum, maximum) if maximum > 0 else 0.0
        self._unfinished += 1
        self._pending.append(PendingNotification(time.monotonic() + delay, url, entry))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _wait_until_due(self) -> None:
        with self._idle:
            due = min((notification.due for notification in self._pending), default=None)
        delay = None if due is None else max(0.0, due - time.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), delay)
        self._wake.clear()
        await asyncio.sleep(BATCH_WINDOW)

    def _send_due(self) -> None:
        now = time.monotonic()
        with self._idle:
            due = [notification for notification in self._pending if notification.due <= now]
            due.sort(key=lambda notification: notification.due)
            self._pending = [notification for notification in self._pending if notification.due > now]
            if self._fault_plan.reorder:
                self._fault_plan.random.shuffle(due)
        for url in dict.fromkeys(notification.url for notification in due):
            entries = [notification.entry for notification in due if notification.url == url]
            for start in range(0, len(entries), BATCH_SIZE):
                task = asyncio.create_task(self._send(url, entries[start : start + BATCH_SIZE]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _send(self, url: str, entries: list[dict[str, Any]]) -> None:
        accepted = False
        try:
            for delay in (*self.retry_delays, None):
                status = await self._post(url, entries)
                accepted = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
                if delay is None or HTTPStatus.OK <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    break
                await asyncio.sleep(delay)
        finally:
            with self._idle:
                self._unfinished -= len(entries)
                self.sent += len(entries) if accepted else 0
                self.lost += 0 if accepted else len(entries)
                self._idle.notify_all()

    async def _post(self, url: str, entries: list[dict[str, Any]]) -> int:
        assert self._session is not None
        started, status = time.monotonic(), 0
        try:
            timeout = aiohttp.ClientTimeout(total=self.response_timeout)
            body = {"value": entries}
            async with self._session.post(url, json=body, timeout=timeout, allow_redirects=False) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        with self._idle:
            self.responses.append((status, time.monotonic() - started))
        return status


def _common_fields(subscription: Subscription, tenant: str) -> dict[str, Any]:
    return {
        "subscriptionId": subscription.id,
        "subscriptionExpirationDateTime": timestamp(subscription.expires),
        "clientState": subscription.client_state,
        "tenantId": tenant,
    }
