"""Sends what subscribers are told: late, twice, in no order or not at all, as the trouble has it."""

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

BATCH = 4
"""Notifications in one request, at most."""

GATHER = 0.005
"""Seconds that a notification waits for others to come along."""


@dataclass(frozen=True, slots=True)
class PendingNotification:
    """A notification that waits to be sent."""

    due: float
    url: str
    entry: dict[str, Any] = field(repr=False)


class Notifier:
    """Sends notifications from the stand-in's own loop; `notify` and `lifecycle` may be called from any thread.

    Attributes:
        sent: how many entries were taken by their receivers.
        lost: how many were not: lost on purpose, or given up.
        answers: status and seconds of every request; status 0 when no answer came.
        answer_within: seconds that a receiver has.
        validation_within: seconds that a new address has.
        pauses: seconds between attempts; after the last, an entry is given up.
    """

    def __init__(self, lock: threading.RLock, trouble: FaultPlan) -> None:
        self.sent = 0
        self.lost = 0
        self.answers: list[tuple[int, float]] = []
        self.answer_within = 10.0
        self.validation_within = 10.0
        self.pauses: tuple[float, ...] = (0.05, 0.2, 0.5)
        self._idle = threading.Condition(lock)
        self._trouble = trouble
        self._waiting: list[PendingNotification] = []
        self._open = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def notify(self, subscription: Subscription, change: Change, tenant: str) -> None:
        """Tell of a change; the caller holds the lock."""
        if self._trouble.chance(self._trouble.lose):
            self.lost += 1
            return
        name = change.called(immutable=subscription.immutable)
        resource = f"Users/{subscription.store.id}/Messages/{name}"
        entry = {
            "changeType": change.kind,
            "resource": resource,
            "resourceData": {
                "@odata.type": "#Microsoft.Graph.Message",
                "@odata.id": resource,
                "@odata.etag": f'W/"CQAAABYAAAC{change.version:012d}"',
                "id": name,
            },
        }
        for _ in range(2 if self._trouble.chance(self._trouble.double) else 1):
            self._push(subscription.url, {**_about(subscription, tenant), **entry})

    def lifecycle(self, subscription: Subscription, event: str, tenant: str) -> None:
        """Tell of something that happened to a subscription, if it named a place for that; under the lock."""
        if subscription.lifecycle_url is not None:
            self._push(subscription.lifecycle_url, {**_about(subscription, tenant), "lifecycleEvent": event})

    def settle(self, within: float) -> bool:
        """Wait until nothing is pending any more: whether that came about within so many seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: self._open == 0, within)

    async def validate(self, url: str) -> None:
        """Ask an address whether it wants notifications.

        Raises:
            GraphError: it does not.
        """
        assert self._session is not None
        await webhook_validation.ask(self._session, url, self.validation_within)

    async def run(self, trust: ssl.SSLContext | None) -> None:
        """Send what comes, until cancelled. Receivers over HTTPS are checked against `trust`."""
        # A connection kept open may have been closed by the other side when the next notification goes out.
        connector = aiohttp.TCPConnector(ssl=trust if trust is not None else True, force_close=True)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as self._session:
            self._loop = asyncio.get_running_loop()
            try:
                while True:
                    await self._wait()
                    self._send_due()
            finally:
                with self._idle:
                    self._loop = None
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _push(self, url: str, entry: dict[str, Any]) -> None:
        least, most = self._trouble.delay
        pause = self._trouble.random.uniform(least, most) if most > 0 else 0.0
        self._open += 1
        self._waiting.append(PendingNotification(time.monotonic() + pause, url, entry))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _wait(self) -> None:
        with self._idle:
            due = min((each.due for each in self._waiting), default=None)
        pause = None if due is None else max(0.0, due - time.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), pause)
        self._wake.clear()
        await asyncio.sleep(GATHER)

    def _send_due(self) -> None:
        now = time.monotonic()
        with self._idle:
            due = sorted((each for each in self._waiting if each.due <= now), key=lambda each: each.due)
            self._waiting = [each for each in self._waiting if each.due > now]
            if self._trouble.reorder:
                self._trouble.random.shuffle(due)
        for url in dict.fromkeys(each.url for each in due):
            entries = [each.entry for each in due if each.url == url]
            for start in range(0, len(entries), BATCH):
                task = asyncio.create_task(self._send(url, entries[start : start + BATCH]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _send(self, url: str, entries: list[dict[str, Any]]) -> None:
        taken = False
        try:
            for pause in (*self.pauses, None):
                status = await self._post(url, entries)
                taken = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
                if pause is None or HTTPStatus.OK <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    break
                await asyncio.sleep(pause)
        finally:
            with self._idle:
                self._open -= len(entries)
                self.sent += len(entries) if taken else 0
                self.lost += 0 if taken else len(entries)
                self._idle.notify_all()

    async def _post(self, url: str, entries: list[dict[str, Any]]) -> int:
        assert self._session is not None
        began, status = time.monotonic(), 0
        try:
            timeout = aiohttp.ClientTimeout(total=self.answer_within)
            body = {"value": entries}
            async with self._session.post(url, json=body, timeout=timeout, allow_redirects=False) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        with self._idle:
            self.answers.append((status, time.monotonic() - began))
        return status


def _about(subscription: Subscription, tenant: str) -> dict[str, Any]:
    return {
        "subscriptionId": subscription.id,
        "subscriptionExpirationDateTime": timestamp(subscription.expires),
        "clientState": subscription.client_state,
        "tenantId": tenant,
    }
