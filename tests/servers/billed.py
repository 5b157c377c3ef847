"""Every request that the app sends to the storage, counted as Azure bills it."""

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
"""Messages that the host takes off a queue at once, as host.json has it."""

_BLOB = {"PUT": "blob write", "GET": "blob read", "HEAD": "blob other", "DELETE": "blob delete"}
_TABLE = {"POST": "table write", "PATCH": "table write", "PUT": "table write", "GET": "table read"}


class Bill:
    """What was asked for, by kind of operation.

    The kinds are those of Azure's price lists (Microsoft's page "Map each REST operation to a price").

    Args:
        azurite: whose services they are.
    """

    def __init__(self, azurite: Azurite) -> None:
        self._services = {azurite.blob: "blob", azurite.queue: "queue", azurite.table: "table"}
        self._kinds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, method: str, url: str) -> None:
        """Count one request."""
        there = urlsplit(url)
        query = parse_qs(there.query)
        service = self._services[there.port or 0]
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

    def take(self) -> Counter[str]:
        """What was counted since the last time."""
        with self._lock:
            taken, self._kinds = self._kinds, Counter()
        return taken


@contextmanager
def billed(azurite: Azurite) -> Iterator[Bill]:
    """Count what clients that are made meanwhile send: at the very end of the SDK's pipeline, retries included."""
    bill = Bill(azurite)

    class Counting(accounts._Transport):
        def send(self, request: Any, **kwargs: Any) -> Any:
            bill.add(request.method, request.url)
            return super().send(request, **kwargs)

    with patch.object(accounts, "_Transport", Counting):
        yield bill


def settings_of(storage: str, dovecot: Dovecot, user: User) -> dict[str, str]:
    """Settings for one mailbox on IMAP, and two routes."""
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


class Measuring:
    """An app on Azurite and a mailbox on Dovecot, past its first message: what is made once is made.

    Args:
        azurite: where the storage is.
        storage: an account's connection string.
        dovecot: the mail server.
    """

    def __init__(self, azurite: Azurite, storage: str, dovecot: Dovecot) -> None:
        self._user = dovecot.user()
        # The clock stands still: what is looked at every few seconds, such as the file of routes, is not counted.
        begun = utc_now()
        with billed(azurite) as bill:
            self._bill = bill
            settings = load_settings(settings_of(storage, dovecot, self._user))
            self._app: App = build_app(settings, now=lambda: begun)
            self.messages([plain_mail(999_999, to=RECIPIENT)])
            self.sweep()

    def messages(self, mails: Sequence[bytes]) -> Counter[str]:
        """What it takes to collect these, and to route them; the look not counted that finds them."""
        idle = self.look()
        self._user.deliver(mails)
        collecting = self.look()
        self._route(len(mails))
        return collecting - idle + self._bill.take()

    def look(self) -> Counter[str]:
        """What a look at the mailbox takes, from the clock's tick on, and with it the collecting of what is in it."""
        queue = self._app.storage.queues[QueueName.POLLS]
        self._bill.take()
        self._app.poller.due_polls(PollReason.TIMER)
        queue.put_many([Poll("support", PollReason.MANUAL).to_json()])
        (item,) = queue.receive(1, hidden_for=60)
        self._app.poller.poll(Poll.from_json(item.body))
        queue.delete(item)
        return self._bill.take()

    def _route(self, waiting: int) -> None:
        queue = self._app.storage.queues[QueueName.ROUTE_REQUESTS]
        while waiting > 0:
            # No more than there are: our own client asks again for what is missing, and the host's does not.
            items = queue.receive(min(waiting, RECEIVED), hidden_for=60)
            assert items, "what was collected is announced"
            for item in items:
                self._app.router.route(RouteRequest.from_json(item.body))
                queue.delete(item)
            waiting -= len(items)

    def sweep(self) -> Counter[str]:
        """What the timer takes that announces again what waits, and measures."""
        self._bill.take()
        self._app.router.sweep()
        collect_health_metrics(self._app.settings, self._app.storage)
        return self._bill.take()
