"""`mailroom run-once`: every mailbox once, every queue until idle, by the functions on the worker engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from functions_host.host import Host
from mailroom_cli.progress import ProgressReporter
from shared.bootstrap import App
from shared.clock import utc_now
from shared.errors import TransientError
from shared.lease import LEASE_SECONDS
from shared.queue_messages import Poll, PollReason
from shared.storage.base import QueueName, Table

ROOT = Path(__file__).resolve().parents[2]
"""Where function_app.py and host.json are."""

OTHERS_TAKE = 15.0
"""Seconds that another run may take, on a busy machine, from our poll on the queue to the mailbox's lease, or to route
what it has taken."""


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """How long mailboxes are waited for that another worker has leased.

    Attributes:
        seconds: the longest wait: longer than the lease of a worker that was killed.
        every: seconds between two attempts.
        clock: seconds, as `time.monotonic` counts them.
        sleep: waits for some seconds.
    """

    seconds: float = LEASE_SECONDS * 1.5
    every: float = 1.0
    clock: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def drain_once(app: App, told: ProgressReporter, patience: WaitLimits = WaitLimits()) -> list[str]:
    """Drain every mailbox and route everything that is stored.

    What an earlier run had stored and not routed is finished as well. A mailbox that another worker has leased is
    waited for and then polled: the worker may have been killed.

    Args:
        app: with the storage and the mailboxes.
        told: shows the progress.
        patience: how long leased mailboxes are waited for.

    Returns:
        A line for each thing that failed; empty if nothing did.
    """
    began = utc_now()
    await asyncio.to_thread(app.release_dead)
    failures = [f"mailbox {name}: {'; '.join(faults)}" for name, faults in app.settings.faulty.items()]
    wrong_routes = await asyncio.to_thread(_wrong_routes, app)
    failures += [f"routes: {fault}" for fault in wrong_routes]
    polls = [poll.mailbox for poll in app.poller.due_polls(PollReason.MANUAL)]
    failures += [
        app.health.skip_reason(settings, PollReason.MANUAL) or f"mailbox {settings.name}: not due"
        for settings in app.settings.mailboxes.values()
        if settings.enabled and settings.name not in polls
    ]
    run = _Run(app, told, patience, began, {name: app.health.get(name).next_try for name in polls})
    run.poll(polls)

    async with Host.started(ROOT, app.storage) as host:
        watching = asyncio.create_task(_watch(app, told))
        try:
            counts = (await host.drain()).functions
            leased = await run.drain_leased(host)
            counts = (await host.drain()).functions
            if app.router.sweep(timedelta(0)):
                counts = (await host.drain()).functions
            if not wrong_routes and await run.wait_for_routing():
                counts = (await host.drain()).functions
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    for name in polls:
        health = await asyncio.to_thread(app.health.get, name)
        if health.last_failure is not None and health.last_failure >= began:
            failures.append(f"mailbox {name}: {health.last_error}")
        elif health.last_success is not None and health.last_success >= began:
            continue
        elif name in leased:
            failures.append(
                f"mailbox {name}: not drained, another worker has held its lease for {patience.seconds:.0f} s; "
                "the next run polls it again"
            )
        else:
            failures.append(f"mailbox {name}: was not looked at to its end, its server or the storage asks to wait")
    poisoned = counts["route_message"].poisoned if "route_message" in counts else 0
    if poisoned:
        failures.append(f"{poisoned} messages could not be routed; why stands under failed/")
    waiting = _waiting(app)
    if waiting:
        failures.append(f"{waiting} stored messages are not routed yet; the next run goes on with them")
    return failures


@dataclass(frozen=True, slots=True)
class _Run:
    """One run over the mailboxes.

    Attributes:
        app: with the storage and the mailboxes.
        told: shows the progress.
        patience: how long leased mailboxes are waited for.
        began: when it began.
        next_tries: the mailboxes that it polls, and what their `next_try` was when it began.
    """

    app: App
    told: ProgressReporter
    patience: WaitLimits
    began: datetime
    next_tries: Mapping[str, datetime | None]

    def poll(self, mailboxes: Collection[str]) -> None:
        """Enqueue a poll for each mailbox."""
        polls = [Poll(name, PollReason.MANUAL).to_json() for name in mailboxes]
        self.app.storage.queues[QueueName.POLLS].put_many(polls)

    async def drain_leased(self, host: Host) -> Collection[str]:
        """Wait for mailboxes that another worker has leased, and poll each as soon as its lease is free.

        The queues are shared: another run may have taken our poll and not have the lease yet. So a mailbox without a
        lease is waited for as well, for `OTHERS_TAKE` seconds.

        Returns:
            The mailboxes whose lease another worker still holds.
        """
        start = self.patience.clock()
        waiting, leased = sorted(self.next_tries), set[str]()
        while True:
            waiting = [name for name in waiting if await asyncio.to_thread(self._is_undecided, name)]
            held = {name for name in waiting if await asyncio.to_thread(_held, self.app, name)}
            freed = (leased - held) & set(waiting)
            leased = held
            if freed:
                self.poll(sorted(freed))
                await host.drain()
                continue
            waited = self.patience.clock() - start
            if not waiting or waited >= (self.patience.seconds if held else OTHERS_TAKE):
                return leased
            for name in sorted(held):
                self.told.leased(name, self.patience.seconds - waited)
            await self.patience.sleep(self.patience.every)

    async def wait_for_routing(self) -> bool:
        """Wait for the messages that another run has taken off the queue and not routed yet, `OTHERS_TAKE` at most.

        Returns:
            Whether there were any.
        """
        start = self.patience.clock()
        waited = False
        while await asyncio.to_thread(_waiting, self.app) and self.patience.clock() - start < OTHERS_TAKE:
            waited = True
            await self.patience.sleep(self.patience.every)
        return waited

    def _is_undecided(self, mailbox: str) -> bool:
        """Return whether a mailbox has neither been drained nor failed, nor asked to wait, since the run began."""
        health = self.app.health.get(mailbox)
        ended = any(at is not None and at >= self.began for at in (health.last_success, health.last_failure))
        return not ended and health.next_try == self.next_tries[mailbox]


def _wrong_routes(app: App) -> tuple[str, ...]:
    """What keeps mail from being routed, as far as the storage tells now."""
    try:
        return app.route_repository.read().all_faults
    except TransientError:
        return ()


def _waiting(app: App) -> int:
    """Return how many messages are stored and not routed yet."""
    return sum(1 for _ in app.storage.records.scan(Table.OUTBOX))


def _held(app: App, mailbox: str) -> bool:
    """Whether another worker is draining a mailbox now."""
    token = app.storage.leases.acquire(mailbox, LEASE_SECONDS)
    if token is not None:
        app.storage.leases.release(mailbox, token)
    return token is None


async def _watch(app: App, told: ProgressReporter) -> None:
    while True:
        told.waiting(await asyncio.to_thread(app.storage.queues[QueueName.ROUTE_REQUESTS].length))
        await asyncio.sleep(0.5)
