"""Count the requests that the app sends to the storage, by the kinds that Azure bills."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

from shared.bootstrap import App, build_app
from shared.clock import utc_now
from shared.config import load_settings
from shared.operations.health_metrics import collect_health_metrics
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.storage.azure import accounts
from shared.storage.base import QueueName
from tests.servers.azurite import Azurite
from tests.servers.dovecot import Dovecot, User
from tests.servers.mail import plain_mail

RECIPIENT = "sales@example.com"

RECEIVED = 4
"""Messages that the Functions host receives at a time, as in host.json."""

_BLOB = {"PUT": "blob write", "GET": "blob read", "HEAD": "blob other", "DELETE": "blob delete"}
_TABLE = {"POST": "table write", "PATCH": "table write", "PUT": "table write", "GET": "table read"}


class Bill:
    """The number of requests by kind.

    The kinds are those of Azure's price lists (Microsoft's page "Map each REST operation to a price").

    Args:
        azurite: the server whose requests are counted.
    """

    def __init__(self, azurite: Azurite) -> None:
        self._services = {azurite.blob: "blob", azurite.queue: "queue", azurite.table: "table"}
        self._kinds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, method: str, url: str) -> None:
        """Count a request."""
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        service = self._services[parts.port or 0]
        if service == "queue":
            kind = "queue"
        elif service == "table":
            kind = _TABLE.get(method, "table delete")
        elif query.get("comp") == ["lease"]:
            kind = "blob other"
        elif query.get("restype") == ["container"]:
            kind = "blob list"
        else:
            kind = _BLOB[method]
        with self._lock:
            self._kinds[kind] += 1

    def reset(self) -> Counter[str]:
        """Return the counts since the last call, and reset them."""
        with self._lock:
            kinds, self._kinds = self._kinds, Counter()
        return kinds


@contextmanager
def count_requests(azurite: Azurite) -> Iterator[Bill]:
    """Count the requests, including retries, of clients that are created within the context."""
    bill = Bill(azurite)

    class Counting(accounts._Transport):
        def send(self, request: Any, **kwargs: Any) -> Any:
            bill.add(request.method, request.url)
            return super().send(request, **kwargs)

    with patch.object(accounts, "_Transport", Counting):
        yield bill


def app_settings(storage: str, dovecot: Dovecot, user: User) -> dict[str, str]:
    """Return settings for an IMAP mailbox and two routes."""
    return {
        "AzureWebJobsStorage": storage,
        "POLL_SCHEDULE": "0 * * * * *",
        "MAILBOXES__support__PROTOCOL": "imap",
        "MAILBOXES__support__HOST": "127.0.0.1",
        "MAILBOXES__support__PORT": str(dovecot.imap),
        "MAILBOXES__support__TLS": "none",
        "MAILBOXES__support__ADDRESS": user.address,
        "MAILBOXES__support__USERNAME": user.name,
        "MAILBOXES__support__PASSWORD": user.password,
        "ROUTES__sales__ADDRESS": RECIPIENT,
        "ROUTES__billing__ADDRESS": "billing@example.com",
    }


class BillingFixture:
    """An app with a storage on Azurite and a mailbox on Dovecot. Its first message has created all resources.

    Args:
        azurite: the server with the storage.
        storage: the connection string of an account.
        dovecot: the mail server.
    """

    def __init__(self, azurite: Azurite, storage: str, dovecot: Dovecot) -> None:
        self._user = dovecot.user()
        # The time does not pass, so that periodic reads, such as of the routes file, are not counted.
        start = utc_now()
        with count_requests(azurite) as bill:
            self._bill = bill
            settings = load_settings(app_settings(storage, dovecot, self._user))
            self._app: App = build_app(settings, now=lambda: start)
            self.messages([plain_mail(999_999, to=RECIPIENT)])
            self.sweep()

    def messages(self, mails: Sequence[bytes]) -> Counter[str]:
        """Return the requests for storing and routing messages, without the requests of an idle poll."""
        idle_poll = self.poll()
        self._user.deliver(mails)
        poll = self.poll()
        return poll - idle_poll + self._route(len(mails))

    def poll(self) -> Counter[str]:
        """Return the requests for a poll of the mailbox, from the timer on, including the storing of new messages."""
        queue = self._app.storage.queues[QueueName.POLLS]
        self._bill.reset()
        self._app.poller.due_polls(PollReason.TIMER)
        queue.put_many([Poll("support", PollReason.MANUAL).to_json()])
        (item,) = queue.receive(1, hidden_for=60)
        self._app.poller.poll(Poll.from_json(item.body))
        queue.delete(item)
        return self._bill.reset()

    def _route(self, messages: int) -> Counter[str]:
        """Return the requests for routing all stored messages."""
        queue = self._app.storage.queues[QueueName.ROUTE_REQUESTS]
        remaining = queue.length()
        self._bill.reset()
        routed = 0
        while remaining > 0:
            # At most `remaining`: unlike the Functions host, our client repeats the request if messages are missing.
            items = queue.receive(min(remaining, RECEIVED), hidden_for=60)
            assert items, "the queue has this number of route requests"
            for item in items:
                routed += len(self._app.router.route(RouteRequest.from_json(item.body)))
                queue.delete(item)
            remaining -= len(items)
        assert routed == messages, "a route request names each stored message"
        return self._bill.reset()

    def sweep(self) -> Counter[str]:
        """Return the requests of the timer that republishes overdue route requests and collects health metrics."""
        self._bill.reset()
        self._app.router.sweep()
        collect_health_metrics(self._app.settings, self._app.storage)
        return self._bill.reset()
