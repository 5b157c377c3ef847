"""`mailroom once`: every mailbox once, every queue until idle, by the functions on the worker engine."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from local.host.host import Host
from local.progress import Told
from shared.clock import utc_now
from shared.errors import TryAgain
from shared.health import MailboxHealth
from shared.leasing import LEASE_SECONDS
from shared.queued import Poll, Reason
from shared.storage.protocol import QueueName, Table
from shared.wiring import App

ROOT = Path(__file__).resolve().parent.parent
"""Where function_app.py and host.json are."""

OTHERS_TAKE = 15.0
"""Seconds that another run may take from our poll on the queue to the mailbox's lease, on a busy machine."""


async def drain_once(app: App, told: Told) -> list[str]:
    """Look at every mailbox and route everything that is stored.

    What an earlier run had stored and not routed is finished as well.

    Returns:
        A line for each thing that failed; empty if nothing did.
    """
    began = utc_now()
    failures = [f"mailbox {name}: {'; '.join(faults)}" for name, faults in app.settings.faulty.items()]
    failures += [f"routes: {fault}" for fault in await asyncio.to_thread(_wrong_routes, app)]
    polls = [poll.mailbox for poll in app.poller.due(Reason.BY_HAND)]
    failures += [
        app.health.not_now(settings, Reason.BY_HAND) or f"mailbox {settings.name}: not due"
        for settings in app.settings.mailboxes.values()
        if settings.enabled and settings.name not in polls
    ]
    due = [Poll(name, Reason.BY_HAND).body() for name in polls]
    app.stores.queues[QueueName.POLLS].put_many(due)

    async with Host.started(ROOT, app.stores) as host:
        watching = asyncio.create_task(_watch(app, told))
        try:
            counts = (await host.drain()).functions
            if app.sorter.sweep(timedelta(0)):
                counts = (await host.drain()).functions
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    for name in polls:
        health = await _looked_at(app, name, began)
        if health.last_failure is not None and health.last_failure >= began:
            failures.append(f"mailbox {name}: {health.last_error}")
        elif (health.last_success is None or health.last_success < began) and not _held(app, name):
            failures.append(f"mailbox {name}: was not looked at to its end, its server or the storage asks to wait")
    poisoned = counts["route_message"].poisoned if "route_message" in counts else 0
    if poisoned:
        failures.append(f"{poisoned} messages could not be routed; why stands under failed/")
    waiting = sum(1 for _ in app.stores.records.scan(Table.PENDING))
    if waiting:
        failures.append(f"{waiting} stored messages are not routed yet; the next run goes on with them")
    return failures


async def _looked_at(app: App, mailbox: str, began: datetime) -> MailboxHealth:
    """How a mailbox fares, once somebody has looked at it since we began.

    The queues are everybody's: another run may have taken our poll and be on its way to the lease with it.
    """
    until = monotonic() + OTHERS_TAKE
    while True:
        health = await asyncio.to_thread(app.health.of, mailbox)
        told = [at for at in (health.last_success, health.last_failure) if at is not None and at >= began]
        asked_to_wait = health.next_try is not None and health.next_try > utc_now()
        if told or asked_to_wait or monotonic() > until or await asyncio.to_thread(_held, app, mailbox):
            return health
        await asyncio.sleep(0.25)


def _wrong_routes(app: App) -> tuple[str, ...]:
    """What keeps mail from being routed, as far as the storage tells now."""
    try:
        return app.book.read().all_faults
    except TryAgain:
        return ()


def _held(app: App, mailbox: str) -> bool:
    """Whether another worker is draining a mailbox now."""
    token = app.stores.leases.acquire(mailbox, LEASE_SECONDS)
    if token is not None:
        app.stores.leases.release(mailbox, token)
    return token is None


async def _watch(app: App, told: Told) -> None:
    while True:
        told.waiting(await asyncio.to_thread(app.stores.queues[QueueName.ARRIVALS].length))
        await asyncio.sleep(0.5)
