"""The notification function under load: a steady pace of notifications on the local host, and what comes of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import aiohttp

from bench.notifications import ENTRIES, notification
from bench.report import progress, table
from bench.running import Bench
from graph_simulator import GraphSimulator
from shared.config import load_settings
from shared.mailbox_health import HealthRecords
from shared.storage.base import QueueName, Storage
from shared.storage.factory import open_storage
from tests.end_to_end.graph_app import running
from tests.servers.azurite import free_ports
from tests.servers.certificates import Ca
from tests.servers.graph import STATE_KEY, Graph

PACE, SECONDS = 200, 10
MAILBOXES = ("support", "sales", "office")


def webhook(bench: Bench) -> None:
    """Seconds to an answer at a steady pace, and whether every mailbox was looked at after its last notification."""
    folder = bench.folder / "webhook"
    ca = Ca()
    certificate, key = ca.server().write(folder, "graph")
    with GraphSimulator(certificate=certificate, key=key) as server:
        graph = Graph(server, server.register(), ca.write(folder))
        for name in MAILBOXES:
            graph.box(f"{name}@example.com")
        (port,) = free_ports(1)
        storage = f"folder:{folder / 'mail'}"
        values = {
            **graph.values(**{name: f"{name}@example.com" for name in MAILBOXES}),
            "AzureWebJobsStorage": storage,
            "GRAPH_WEBHOOK_URL": f"http://127.0.0.1:{port}/api/graph_webhook",
            "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
        }
        with running(values, port, folder):
            while len(server.subscriptions) < len(MAILBOXES):
                time.sleep(0.1)
            answers, last = asyncio.run(_load(values["GRAPH_WEBHOOK_URL"]))
            settings = load_settings(values)
            stores = open_storage(settings.app_storage, settings.mail_storage, "mail")
            settled = _settled(stores)
            looked = [HealthRecords(stores.records).get(name).last_served for name in MAILBOXES]
            stores.close()
        _tell(answers, [one is not None and one > last for one in looked], settled)
        looks = sum(one.method == "GET" and one.path.endswith("/messages") for one in server.requests)
        print(f"  {looks} looks at {len(MAILBOXES)} mailboxes came of it")


async def _load(url: str) -> tuple[list[tuple[int, float]], datetime]:
    """Status and seconds of every request, sent at the pace whatever the answers do; and when the last was sent."""
    body = notification(MAILBOXES)
    answers: list[tuple[int, float]] = []

    async def send(client: aiohttp.ClientSession) -> None:
        began = time.perf_counter()
        try:
            async with client.post(url, data=body) as answer:
                await answer.read()
                status = answer.status
        except aiohttp.ClientError:
            status = 0
        answers.append((status, time.perf_counter() - began))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as client:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(PACE * SECONDS):
                await asyncio.sleep(max(0.0, began + number / PACE - time.perf_counter()))
                group.create_task(send(client))
            last = datetime.now(UTC)
    return answers, last


def _settled(stores: Storage) -> float:
    """Wait until no poll is left on the queue; how many seconds that took."""
    began = time.monotonic()
    while stores.queues[QueueName.POLLS].length():
        progress(f"webhook: {stores.queues[QueueName.POLLS].length()} polls on the queue")
        time.sleep(1)
    return time.monotonic() - began


def _tell(answers: Sequence[tuple[int, float]], looked: Sequence[bool], settled: float) -> None:
    seconds = sorted(second for _, second in answers)
    statuses = Counter(status for status, _ in answers)
    rows = [
        [
            f"{share:.0%} of the answers within",
            f"{seconds[min(int(len(seconds) * share), len(seconds) - 1)] * 1000:.0f} ms",
        ]
        for share in (0.5, 0.9, 0.99, 1.0)
    ]
    rows += [[f"answers {status}", str(count)] for status, count in sorted(statuses.items())]
    rows.append(["mailboxes looked at after the last notification", f"{sum(looked)} of {len(looked)}"])
    rows.append(["the queue was empty after", f"{settled:.1f} s"])
    title = f"The notification function: {PACE} requests a second of {ENTRIES} entries each, for {SECONDS} s"
    table(title, ["", ""], rows)
