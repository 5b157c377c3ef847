"""The time from a message's appearance to its result, in `mailroom serve` with the polling of the Functions host."""

from __future__ import annotations

import hashlib
import imaplib
import math
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.child import ROOT
from bench.mix import RECIPIENT, mix
from bench.peers import HOST
from bench.report import progress, table
from bench.running import Bench
from bench.serving import Served, served
from functions_host.host_json import read_config
from graph_simulator import GraphSimulator
from shared.queue_messages import Poll, PollReason
from shared.storage.base import QueueName
from tests.servers import azurite
from tests.servers.azurite import free_ports
from tests.servers.certificates import Ca
from tests.servers.dovecot import User
from tests.servers.graph import STATE_KEY, Graph
from tests.servers.mail import plain_mail

SAMPLES = 20
"""Messages on each of the two ways, into each storage."""

MAILBOXES = [f"box{number}" for number in range(8)]
"""Mailboxes that get the samples in turn, so that each is idle for a minute before its next one."""

SAMPLE_SIZE = 10_000
"""Size of a sample in bytes."""

LONGEST = 150.0
"""Seconds after which a sample without a result ends the benchmark."""

BACKLOG_SECONDS = 1_200.0
"""Seconds after which a backlog that is not routed ends the benchmark."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The times of one message, in seconds since 1970.

    Attributes:
        appeared: the server had the message: APPEND was acknowledged, or the simulator notified.
        polled: the poll that found it began.
        result: its result was first seen in the storage.
    """

    appeared: float
    polled: float
    result: float

    @property
    def timer(self) -> float:
        """The time of the last full minute before the result, at which the timer asked for the poll."""
        return self.result - self.result % 60


@dataclass(frozen=True, slots=True)
class Site:
    """One kind of storage, and the servers for it.

    Attributes:
        name: the storage's name in the report.
        storages: the locations of three empty storages: for notifications, for polling and for the backlog.
        folder: a folder for settings and logs.
        users: the users of the mailboxes that are polled.
        graph: the simulator of the mailboxes with notifications.
    """

    name: str
    storages: Sequence[str]
    folder: Path
    users: Mapping[str, User]
    graph: Graph


def latency(bench: Bench) -> None:
    """Measure notifications and IMAP polling into a folder and Azurite at the same time, after a backlog into each."""
    interval = read_config(ROOT, os.environ).max_polling_interval
    before = os.getloadavg()
    with ExitStack() as stack:
        names = [f"latency{number}" for number in range(3)]
        folders = [f"folder:{bench.folder / name / 'mail'}" for name in names]
        # The backlog has a server of its own, since a full one collects garbage while others wait.
        server, full = (
            stack.enter_context(azurite.running(new_folder(bench.folder / name), names)) for name in ("idle", "full")
        )
        accounts = [*map(server.connection_string, names[:2]), full.connection_string(names[2])]
        sites = [
            stack.enter_context(_site(bench, name, storages))
            for name, storages in (("folder", folders), ("Azurite", accounts))
        ]
        notified = [stack.enter_context(_notified(site)) for site in sites]
        polled = [stack.enter_context(_polled(bench, site)) for site in sites]
        with ThreadPoolExecutor(2 * len(sites) + 2) as pool:
            subscribed = [pool.submit(_wait_for_subscriptions, site) for site in sites]
            backlogs = [_backlog(bench, site) for site in sites]
            created = [future.result() for future in subscribed]
            time.sleep(_pause(interval))
            progress(f"latency: {SAMPLES} messages on each way")
            by_notification = [
                pool.submit(_notify, site, on, interval) for site, on in zip(sites, notified, strict=True)
            ]
            imap = bench.dovecot.imap
            by_polling = [
                pool.submit(_append, site, on, interval, imap) for site, on in zip(sites, polled, strict=True)
            ]
            results = [[future.result() for future in futures] for futures in (by_notification, by_polling)]
    for number, site in enumerate(sites):
        _report(site.name, interval, results[0][number], results[1][number], backlogs[number])
        seconds = created[number] - notified[number].started
        print(f"  The {len(MAILBOXES)} subscriptions existed {seconds:.1f} s after the start of `serve`.")
        errors = sum(serving.transient_errors() for serving in (notified[number], polled[number]))
        print(f"  Transient errors while the {2 * SAMPLES} messages were awaited: {errors}")
    load = " and ".join(f"{load[0]:.1f}" for load in (before, os.getloadavg()))
    print(f"\n  load of the machine at the beginning and at the end: {load}")


def new_folder(path: Path) -> Path:
    """Create a folder, and return its path."""
    path.mkdir(parents=True)
    return path


@contextmanager
def _site(bench: Bench, name: str, storages: Sequence[str]) -> Iterator[Site]:
    folder = bench.folder / f"latency-{name}"
    ca = Ca()
    certificate, key = ca.server().write(folder, "graph")
    with GraphSimulator(certificate=certificate, key=key) as server:
        graph = Graph(server, server.register(), ca.write(folder))
        for mailbox in MAILBOXES:
            graph.box(f"{mailbox}@example.com")
        users = {mailbox: bench.create_user([]) for mailbox in MAILBOXES}
        yield Site(name, storages, folder, users, graph)


@contextmanager
def _notified(site: Site) -> Iterator[Served]:
    """Serve the mailboxes with notifications; the timer's polls do not keep the listeners awake."""
    (port,) = free_ports(1)
    values = {
        **site.graph.values(**{name: f"{name}@example.com" for name in MAILBOXES}),
        "AzureWebJobsStorage": site.storages[0],
        "GRAPH_WEBHOOK_URL": f"http://127.0.0.1:{port}/api/graph_webhook",
        "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
        "ROUTES__sales__ADDRESS": RECIPIENT,
    }
    with served(new_folder(site.folder / "notified"), values, port) as serving:
        yield serving


@contextmanager
def _polled(bench: Bench, site: Site) -> Iterator[Served]:
    """Serve the mailboxes that are polled every minute."""
    values: dict[str, str] = {}
    for name, user in site.users.items():
        settings = bench.values(user, site.storages[1])
        values |= {key.replace("__support__", f"__{name}__"): value for key, value in settings.items()}
    with served(new_folder(site.folder / "polled"), values) as serving:
        yield serving


def _wait_for_subscriptions(site: Site) -> float:
    """Return when all mailboxes had a subscription, in seconds since 1970.

    Raises:
        SystemExit: one has none within `LONGEST` seconds.
    """
    ends_at = time.monotonic() + LONGEST
    while len(site.graph.server.subscriptions) < len(MAILBOXES):
        if time.monotonic() > ends_at:
            raise SystemExit(f"benchmark: {site.name}: mailboxes have no subscription after {LONGEST:.0f} s")
        time.sleep(0.05)
    return time.time()


def _backlog(bench: Bench, site: Site) -> list[float]:
    """Return the seconds from the first poll of a full mailbox to the result of each of its messages."""
    progress(f"latency: a backlog of {bench.messages} into {site.name}")
    user = bench.create_user(mix(bench.messages, seed=4))
    with served(new_folder(site.folder / "backlog"), bench.values(user, site.storages[2])) as serving:
        # The timer would do the same at the next full minute.
        serving.storage.queues[QueueName.POLLS].put_many([Poll("support", PollReason.TIMER).to_json()])
        serving.wait_until(lambda: len(serving.seen) >= bench.messages, BACKLOG_SECONDS)
        began = serving.health("support").first_contact
        assert began is not None
        return [seen - began.timestamp() for seen in serving.seen.values()]


def _pause(interval: float) -> float:
    """Return the seconds until the next sample: more than a listener needs to reach its longest wait."""
    return random.uniform(1.0, 1.5) * max(7.0, 2.5 * interval)


def _sample_for(way: str, number: int) -> bytes:
    return plain_mail(number, size=SAMPLE_SIZE, to=RECIPIENT, headers=f"X-Way: {way}\r\n")


def _notify(site: Site, serving: Served, interval: float) -> list[Sample]:
    """Deliver messages at random times, and wait for the result of each."""
    samples = []
    for number in range(SAMPLES):
        mailbox, message = MAILBOXES[number % len(MAILBOXES)], _sample_for("notified", number)
        appeared = time.time()
        site.graph.box(f"{mailbox}@example.com", message)
        samples.append(_finished(serving, mailbox, message, appeared))
        time.sleep(_pause(interval))
    return samples


def _append(site: Site, serving: Served, interval: float, port: int) -> list[Sample]:
    """Append messages at random times without waiting for their results."""
    waiting: list[Future[Sample]] = []
    with ThreadPoolExecutor(SAMPLES) as pool:
        for number in range(SAMPLES):
            mailbox, message = MAILBOXES[number % len(MAILBOXES)], _sample_for("polled", number)
            user = site.users[mailbox]
            with imaplib.IMAP4(HOST, port) as client:
                client.login(user.name, user.password)
                client.append("INBOX", "", "", message)
                appeared = time.time()
            waiting.append(pool.submit(_finished, serving, mailbox, message, appeared))
            time.sleep(_pause(interval) * 0.7)  # the last result comes a minute later
        return [future.result() for future in waiting]


def _finished(serving: Served, mailbox: str, message: bytes, appeared: float) -> Sample:
    result = serving.wait_for(hashlib.sha256(message).hexdigest(), LONGEST)
    polled = serving.health(mailbox).last_poll
    assert polled is not None
    return Sample(appeared, polled.timestamp(), result)


def _report(
    name: str, interval: float, notified: Sequence[Sample], polled: Sequence[Sample], backlog: Sequence[float]
) -> None:
    rows = [
        _row("notification: to the begin of the poll", [sample.polled - sample.appeared for sample in notified]),
        _row("notification: from there to the result", [sample.result - sample.polled for sample in notified]),
        _row("notification: in all", [sample.result - sample.appeared for sample in notified]),
        _row("IMAP: from the timer to the result", [sample.result - sample.timer for sample in polled]),
        _row("IMAP: from the begin of the poll to the result", [sample.result - sample.polled for sample in polled]),
        _row("IMAP: in all, polled every 60 s", [sample.result - sample.appeared for sample in polled]),
        _row("backlog: from the begin of the poll to the result", backlog),
    ]
    head = ["", "messages", "p50 s", "p95 s", "most s"]
    table(f"Latency into {name}; queues are checked every {interval:g} s at the longest", head, rows)
    print(f"  The backlog was routed at {len(backlog) / max(backlog):.0f} messages a second.")


def _row(title: str, seconds: Sequence[float]) -> list[str]:
    ordered = sorted(seconds)
    shares = (ordered[math.ceil(len(ordered) * share) - 1] for share in (0.5, 0.95))
    return [title, str(len(ordered)), *(f"{value:.2f}" for value in (*shares, ordered[-1]))]
