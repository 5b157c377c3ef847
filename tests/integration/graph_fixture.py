"""What the tests of notifications and subscriptions share: an app on a stand-in for Graph, and its webhook."""

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


class World:
    """An app with mailboxes on a stand-in, whose webhook puts on the app's own queues."""

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
        """A new process."""
        settings = load_settings({**self.values, **self.extra})
        assert not settings.mailbox_errors, settings.mailbox_errors
        return build_app(settings, self.stores, now=self.now)

    def keep(self) -> None:
        """One round of the timer."""
        self.app().subscriptions.reconcile()

    def polls(self) -> list[Poll]:
        """The polls on the queue, the delayed ones not among them; it is empty then."""
        return [Poll.from_json(body) for body in self._taken(QueueName.POLLS)]

    def lifecycle(self) -> list[LifecycleEvent]:
        """The lifecycle events on the queue, likewise."""
        return [LifecycleEvent.from_json(body) for body in self._taken(QueueName.LIFECYCLE)]

    def mend(self) -> int:
        """Do what the lifecycle events on the queue ask for; how many there were."""
        events = self.lifecycle()
        for event in events:
            self.app().subscriptions.handle_lifecycle_event(event)
        return len(events)

    def receive(self, body: bytes, token: str | None) -> tuple[int, bytes]:
        """What the function does with a request."""
        if self.refusing:
            return 503, b""
        answer = Webhook.of(load_settings({**self.values, **self.extra})).answer(body, token)
        self.stores.queues[QueueName.POLLS].put_many(answer.polls)
        self.stores.queues[QueueName.LIFECYCLE].put_many(answer.lifecycle)
        return answer.status, answer.text.encode()

    def _taken(self, name: QueueName) -> Iterator[str]:
        queue = self.stores.queues[name]
        while items := queue.receive(32, hidden_for=60):
            for item in items:
                queue.delete(item)
                yield item.body


@contextmanager
def graph_world(folder: Path, graph: Graph, **mailboxes: str) -> Iterator[World]:
    """A world whose webhook listens while the context lasts."""
    world: World | None = None

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
        world = World(folder, graph, f"http://127.0.0.1:{port}/api/graph_webhook", mailboxes)
        try:
            yield world
        finally:
            graph.server.settle()
            world.stores.close()
