"""The fixture of the notification and subscription tests: an app on a Graph simulator, with its webhook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from shared.bootstrap import App, build_app
from shared.config import load_settings
from shared.graph_notifications.webhook import Webhook
from shared.queue_messages import LifecycleEvent, Poll
from shared.storage.base import QueueName
from shared.storage.factory import open_storage
from tests.servers.graph import STATE_KEY, Graph
from tests.servers.http import AnyMethod, serving


class SubscriptionFixture:
    """An app with mailboxes on a simulator, whose webhook writes to the app's queues."""

    def __init__(self, folder: Path, graph: Graph, url: str, mailboxes: dict[str, str]) -> None:
        self.graph = graph
        self.later = timedelta(0)
        self.refusing = False
        self.extra: dict[str, str] = {}
        self.values = {
            **graph.values(**mailboxes),
            "AzureWebJobsStorage": f"folder:{folder}",
            "GRAPH_WEBHOOK_URL": url,
            "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
            "ROUTES__all__ADDRESS": "*@example.com",
        }
        for address in mailboxes.values():
            graph.server.mailbox(address)
        settings = load_settings(self.values)
        self.stores = open_storage(settings.app_storage, settings.mail_storage, "mail")

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later

    def app(self) -> App:
        """Return the app of a new process."""
        settings = load_settings({**self.values, **self.extra})
        assert not settings.mailbox_errors, settings.mailbox_errors
        return build_app(settings, self.stores, now=self.now)

    def reconcile(self) -> None:
        """Run the renewal timer once."""
        self.app().subscriptions.reconcile()

    def polls(self) -> list[Poll]:
        """Remove the polls that are due from the queue and return them."""
        return [Poll.from_json(body) for body in self._drain_queue(QueueName.POLLS)]

    def lifecycle(self) -> list[LifecycleEvent]:
        """Remove the lifecycle events that are due from the queue and return them."""
        return [LifecycleEvent.from_json(body) for body in self._drain_queue(QueueName.LIFECYCLE)]

    def handle_lifecycle_events(self) -> int:
        """Handle the lifecycle events on the queue, and return their number."""
        events = self.lifecycle()
        for event in events:
            self.app().subscriptions.handle_lifecycle_event(event)
        return len(events)

    def receive(self, body: bytes, token: str | None) -> tuple[int, bytes]:
        """Handle a request like the function."""
        if self.refusing:
            return 503, b""
        response = Webhook.from_settings(load_settings({**self.values, **self.extra})).handle(body, token)
        self.stores.queues[QueueName.POLLS].put_many(response.polls)
        self.stores.queues[QueueName.LIFECYCLE].put_many(response.lifecycle)
        return response.status, response.text.encode()

    def _drain_queue(self, name: QueueName) -> Iterator[str]:
        queue = self.stores.queues[name]
        while items := queue.receive(32, hidden_for=60):
            for item in items:
                queue.delete(item)
                yield item.body


@contextmanager
def graph_world(folder: Path, graph: Graph, **mailboxes: str) -> Iterator[SubscriptionFixture]:
    """Run a fixture with a webhook while the context lasts."""
    world: SubscriptionFixture | None = None

    class Receiver(AnyMethod):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            tokens = parse_qs(urlsplit(self.path).query).get("validationToken")
            assert world is not None
            status, text = world.receive(body, tokens[0] if tokens else None)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    with serving(Receiver) as port:
        world = SubscriptionFixture(folder, graph, f"http://127.0.0.1:{port}/api/graph_webhook", mailboxes)
        try:
            yield world
        finally:
            graph.server.settle()
            world.stores.close()
