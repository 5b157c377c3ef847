"""`mailroom run-once`: drain every mailbox and route every stored message, with the functions on the worker engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from functions_host.host import Host
from functions_host.host_mode import HostMode
from functions_host.worker_pool import PoolConfig
from mailroom_cli.progress import ProgressReporter
from mailroom_cli.render import name_mailbox
from mailroom_cli.terminal import quantity
from shared.bootstrap import App
from shared.clock import utc_now
from shared.errors import TransientError
from shared.lease import LEASE_SECONDS
from shared.operations.erasure import Eraser
from shared.operations.ledger import OUTCOMES, Counts, count_of
from shared.queue_messages import Poll, PollReason
from shared.storage.base import Filter, QueueName, Record, Table

ROOT = Path(__file__).resolve().parents[2]
"""Folder of function_app.py and host.json."""

OTHER_RUN_SECONDS = 15.0
"""Longest time in seconds, on a busy machine, that another run needs for a message that it has received.

The message may be a poll, which needs the mailbox's lease first, or a route request.
"""


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """How long a run waits for mailboxes that another worker has leased.

    Attributes:
        seconds: longest wait; longer than the lease of a worker that was killed.
        every: seconds between two attempts.
        monotonic: returns the time in seconds, like `time.monotonic`.
        sleep: waits for a number of seconds.
    """

    seconds: float = LEASE_SECONDS * 1.5
    every: float = 1.0
    monotonic: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The result of a run.

    Attributes:
        polled: the mailboxes that were polled.
        not_drained: those whose drain failed or was not complete.
        counts: the arrivals that were stored or routed during the run, or waited when it began. Of `skipped`, the
            messages that the polls left in the mailboxes.
        earlier: how many of them were stored before the run.
        seconds: how long the run took.
        failures: a line for each failure.
    """

    polled: Sequence[str]
    not_drained: Sequence[str]
    counts: Counts
    earlier: int
    seconds: float
    failures: Sequence[str]

    @property
    def collected(self) -> int:
        """Messages that were stored during the run."""
        return self.counts.collected - self.earlier

    @property
    def sentence(self) -> str:
        """The run in one line."""
        polled = f"{len(self.polled)} {'mailbox' if len(self.polled) == 1 else 'mailboxes'} polled"
        if self.not_drained:
            polled += f" ({len(self.not_drained)} not drained)"
        skipped = f"; {self.counts.skipped} skipped" if self.counts.skipped else ""
        if not self.counts.collected:
            # Only a mailbox that was drained is known to have no new mail.
            nothing = "nothing collected" if self.not_drained or not self.polled else "no new mail"
            return f"{polled}, {nothing}{skipped}; {self.seconds:.1f} s"
        earlier = f" (and {self.earlier} stored earlier)" if self.earlier else ""
        outcomes = ", ".join(f"{getattr(self.counts, name)} {name}" for name in OUTCOMES if name != "erased")
        erased = f", {self.counts.erased} erased" if self.counts.erased else ""
        return (
            f"{polled}: {self.collected} collected{earlier}, {outcomes}{erased}; {self.counts.skipped} skipped; "
            f"{self.seconds:.1f} s"
        )

    def to_json(self) -> dict[str, object]:
        """Return the summary as a JSON object."""
        return {
            "polled": list(self.polled),
            "not_drained": list(self.not_drained),
            **self.counts.to_json(),
            "collected": self.collected,
            "stored_earlier": self.earlier,
            "seconds": round(self.seconds, 3),
            "failures": list(self.failures),
        }


async def drain_once(
    app: App, progress: ProgressReporter, limits: WaitLimits = WaitLimits(), pool: PoolConfig | None = None
) -> RunSummary:
    """Drain every mailbox and route every stored message, including messages that an earlier run stored.

    If another worker has leased a mailbox, the run waits for the lease and then polls the mailbox, since that worker
    may have been killed.

    Args:
        app: supplies the storage and the mailboxes.
        progress: shows the progress.
        limits: how long to wait for leased mailboxes.
        pool: the processes that route messages; None: this one alone.

    Returns:
        The numbers of messages, and a line for each failure.
    """
    began, start = utc_now(), monotonic()
    await asyncio.to_thread(app.release_dead)
    unrouted = await asyncio.to_thread(_unrouted_arrivals, app)
    failures = [name_mailbox(name, "; ".join(errors)) for name, errors in app.settings.mailbox_errors.items()]
    route_errors = await asyncio.to_thread(_route_errors, app)
    failures += [f"routes: {error}" for error in route_errors]
    polls = [poll.mailbox for poll in app.poller.due_polls(PollReason.MANUAL)]
    failures += [
        app.health.skip_reason(settings, PollReason.MANUAL) or f"mailbox {settings.name}: not due"
        for settings in app.settings.mailboxes.values()
        if settings.enabled and settings.name not in polls
    ]
    run = _Run(app, progress, limits, began, {name: app.health.get(name).next_try for name in polls})
    run.poll(polls)

    async with Host.started(ROOT, app.storage, mode=HostMode(pool=pool)) as host:
        watcher = asyncio.create_task(_watch_queue(app, progress))
        try:
            counts = (await host.drain()).functions
            leased = await run.drain_leased(host)
            counts = (await host.drain()).functions
            if app.router.sweep(timedelta(0)):
                counts = (await host.drain()).functions
            if not route_errors and await run.wait_for_routing():
                counts = (await host.drain()).functions
        finally:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher

    with suppress(TransientError):  # A later run repeats the erasures.
        while await asyncio.to_thread(Eraser.from_settings(app.settings, app.storage).repeat):
            pass
    not_drained = list(polls)
    for name in polls:
        health = await asyncio.to_thread(app.health.get, name)
        if health.last_failure is not None and health.last_failure >= began:
            # The next run retries at once, unless the credentials were refused.
            fix = f"; `mailroom enable {name}` ends the backoff" if health.refused else ""
            failures.append(name_mailbox(name, health.last_error) + fix)
        elif health.last_success is not None and health.last_success >= began:
            not_drained.remove(name)
        elif name in leased:
            failures.append(
                f"mailbox {name}: not drained, since another worker has held its lease for {limits.seconds:.0f} s; "
                "the next run polls it again"
            )
        else:
            failures.append(
                f"mailbox {name}: not drained completely, since its server or the storage requested a backoff; "
                "the next run polls it again"
            )
    poisoned = counts["route_message"].poisoned if "route_message" in counts else 0
    if poisoned:
        failures.append(f"could not be routed: {quantity(poisoned, 'message')}; the records in failed/ give the reason")
    waiting = _count_unrouted(app)
    if waiting:
        failures.append(f"not routed yet: {quantity(waiting, 'stored message')}; the next run routes what waits")
    arrivals, earlier = await asyncio.to_thread(_count_arrivals, app, began, unrouted)
    arrivals.skipped = sum(app.health.get(name).left for name in polls)
    return RunSummary(
        polled=polls,
        not_drained=not_drained,
        counts=arrivals,
        earlier=earlier,
        seconds=monotonic() - start,
        failures=tuple(failures),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """A run over the mailboxes.

    Attributes:
        app: supplies the storage and the mailboxes.
        progress: shows the progress.
        limits: how long to wait for leased mailboxes.
        began: time at which the run began.
        next_tries: the mailboxes that the run polls, each with its `next_try` when the run began.
    """

    app: App
    progress: ProgressReporter
    limits: WaitLimits
    began: datetime
    next_tries: Mapping[str, datetime | None]

    def poll(self, mailboxes: Collection[str]) -> None:
        """Enqueue a poll for each mailbox."""
        polls = [Poll(name, PollReason.MANUAL).to_json() for name in mailboxes]
        self.app.storage.queues[QueueName.POLLS].put_many(polls)

    async def drain_leased(self, host: Host) -> Collection[str]:
        """Wait for mailboxes that another worker has leased, and poll each when its lease is free.

        Runs share the queues: another run may have received this run's poll and not have the lease yet. Therefore this
        also waits, for `OTHER_RUN_SECONDS`, for a polled mailbox without a lease.

        Returns:
            The mailboxes whose lease another worker still holds.
        """
        start = self.limits.monotonic()
        waiting, leased = sorted(self.next_tries), set[str]()
        while True:
            waiting = [name for name in waiting if await asyncio.to_thread(self._is_unfinished, name)]
            held = {name for name in waiting if await asyncio.to_thread(_is_leased, self.app, name)}
            freed = (leased - held) & set(waiting)
            leased = held
            if freed:
                self.poll(sorted(freed))
                await host.drain()
                continue
            waited = self.limits.monotonic() - start
            if not waiting or waited >= (self.limits.seconds if held else OTHER_RUN_SECONDS):
                return leased
            for name in sorted(held):
                self.progress.waiting_for_lease(name, self.limits.seconds - waited)
            await self.limits.sleep(self.limits.every)

    async def wait_for_routing(self) -> bool:
        """Wait, at most `OTHER_RUN_SECONDS`, until another run has routed the messages that it has received.

        Returns:
            Whether it waited for any message.
        """
        waited = False
        deadline = self.limits.monotonic() + OTHER_RUN_SECONDS
        while await asyncio.to_thread(_count_unrouted, self.app) and self.limits.monotonic() < deadline:
            waited = True
            await self.limits.sleep(self.limits.every)
        return waited

    def _is_unfinished(self, mailbox: str) -> bool:
        """Return whether a mailbox has neither been drained, nor failed, nor backed off since the run began."""
        health = self.app.health.get(mailbox)
        ended = any(at is not None and at >= self.began for at in (health.last_success, health.last_failure))
        return not ended and health.next_try == self.next_tries[mailbox]


@dataclass(slots=True)
class _Tally:
    """The arrivals of a run, counted. Of each only the key is kept: a run may collect a mailbox of any size.

    Attributes:
        began: when the run began.
        keys: the keys of the receipts that were added.
        counts: the collected arrivals by outcome.
        earlier: how many of them were stored before the run.
    """

    began: datetime
    keys: set[str] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    earlier: int = 0

    def add(self, record: Record) -> None:
        """Count the arrival of a receipt, once, if it was downloaded."""
        if record.key in self.keys or count_of(record.values) == "skipped":
            return
        self.keys.add(record.key)
        self.counts.add(record.values)
        stored_at = record.values["stored_at"]
        self.earlier += isinstance(stored_at, datetime) and stored_at < self.began


def _route_errors(app: App) -> tuple[str, ...]:
    """Return the errors that stop routing; empty if the storage cannot be read now."""
    try:
        return app.route_repository.read().all_errors
    except TransientError:
        return ()


def _unrouted_arrivals(app: App) -> set[str]:
    """Return the arrivals that are stored and not yet routed."""
    entries = app.storage.records.scan(Table.OUTBOX)
    return {str(entry.values["arrival"]) for entry in entries if not entry.values.get("replay")}


def _count_unrouted(app: App) -> int:
    """Return the number of messages that are stored and not yet routed."""
    return sum(1 for _ in app.storage.records.scan(Table.OUTBOX))


def _count_arrivals(app: App, began: datetime, unrouted: Collection[str]) -> tuple[Counts, int]:
    """Count the arrivals of a run. Return the counts, and how many of these arrivals were stored before it.

    Args:
        app: supplies the storage.
        began: when the run began.
        unrouted: the arrivals that waited to be routed then.
    """
    tally, records = _Tally(began), app.storage.records
    for time_property in ("routed_at", "stored_at"):
        for record in records.scan(Table.RECEIPTS, Filter(time_property=time_property, since=began)):
            tally.add(record)
    remaining = [key for key in unrouted if key not in tally.keys]
    for record in records.get_many(Table.RECEIPTS, remaining).values() if remaining else ():
        tally.add(record)
    return tally.counts, tally.earlier


def _is_leased(app: App, mailbox: str) -> bool:
    """Return whether another worker is draining a mailbox now."""
    token = app.storage.leases.acquire(mailbox, LEASE_SECONDS)
    if token is not None:
        app.storage.leases.release(mailbox, token)
    return token is None


async def _watch_queue(app: App, progress: ProgressReporter) -> None:
    while True:
        progress.unrouted(await asyncio.to_thread(app.storage.queues[QueueName.ROUTE_REQUESTS].length))
        await asyncio.sleep(0.5)
