"""Measure the notification function under a constant rate of notifications on the local host."""

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
    """Print the response times, and whether every mailbox was polled after its last notification."""
    folder = bench.folder / "webhook"
    ca = Ca()
    certificate, key = ca.server().write(folder, "graph")
    with GraphSimulator(certificate=certificate, key=key) as server:
        graph = Graph(server, server.register(), ca.write(folder))
        for name in MAILBOXES:
            graph.box(f"{name}@example.com")
        (port,) = free_ports(1)
        values = {
            **graph.values(**{name: f"{name}@example.com" for name in MAILBOXES}),
            "AzureWebJobsStorage": f"folder:{folder / 'mail'}",
            "GRAPH_WEBHOOK_URL": f"http://127.0.0.1:{port}/api/graph_webhook",
            "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
        }
        with running(values, port, folder):
            while len(server.subscriptions) < len(MAILBOXES):
                time.sleep(0.1)
            responses, last = asyncio.run(_send_notifications(values["GRAPH_WEBHOOK_URL"]))
            settings = load_settings(values)
            storage = open_storage(settings.app_storage, settings.mail_storage, "mail")
            drained_after = _wait_for_polls(storage)
            polled = [HealthRecords(storage.records).get(name).last_served for name in MAILBOXES]
            storage.close()
        _report(responses, [time is not None and time > last for time in polled], drained_after)
        listings = sum(request.method == "GET" and request.path.endswith("/messages") for request in server.requests)
        print(f"  {listings} listings of {len(MAILBOXES)} mailboxes followed")


async def _send_notifications(url: str) -> tuple[list[tuple[int, float]], datetime]:
    """Send requests at a constant rate; return the status and seconds of each, and the time of the last request."""
    body = notification(MAILBOXES)
    responses: list[tuple[int, float]] = []

    async def send(client: aiohttp.ClientSession) -> None:
        began = time.perf_counter()
        try:
            async with client.post(url, data=body) as response:
                await response.read()
                status = response.status
        except aiohttp.ClientError:
            status = 0
        responses.append((status, time.perf_counter() - began))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as client:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(PACE * SECONDS):
                await asyncio.sleep(max(0.0, began + number / PACE - time.perf_counter()))
                group.create_task(send(client))
            last = datetime.now(UTC)
    return responses, last


def _wait_for_polls(storage: Storage) -> float:
    """Wait until the queue of polls is empty, and return the seconds that it took."""
    began = time.monotonic()
    while length := storage.queues[QueueName.POLLS].length():
        progress(f"webhook: {length} polls on the queue")
        time.sleep(1)
    return time.monotonic() - began


def _report(responses: Sequence[tuple[int, float]], polled: Sequence[bool], drained_after: float) -> None:
    seconds = sorted(second for _, second in responses)
    statuses = Counter(status for status, _ in responses)
    rows = [
        [
            f"{share:.0%} of the responses within",
            f"{seconds[min(int(len(seconds) * share), len(seconds) - 1)] * 1000:.0f} ms",
        ]
        for share in (0.5, 0.9, 0.99, 1.0)
    ]
    rows += [[f"responses {status}", str(count)] for status, count in sorted(statuses.items())]
    rows.append(["mailboxes polled after the last notification", f"{sum(polled)} of {len(polled)}"])
    rows.append(["the queue was empty after", f"{drained_after:.1f} s"])
    title = f"The notification function: {PACE} requests per second with {ENTRIES} entries each, for {SECONDS} s"
    table(title, ["", ""], rows)
