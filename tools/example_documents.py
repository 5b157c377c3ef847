"""A store with a document of every kind, written by the app itself from sample mail at a fixed time (rule 7.2).

`tools.published` publishes some of its documents as docs/examples. Tests validate all of them against docs/schemas.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from mailroom_cli.commands.replay import ReplayOptions, replay
from mailroom_cli.demo.messages import CONTRACTS, OFFICE, SUPPORT, message
from mailroom_cli.demo.run import ROUTES
from shared.bootstrap import App, build_app
from shared.config import load_settings
from shared.errors import TransientError
from shared.mailboxes.base import FetchResult, FolderCheck, ListedMessage
from shared.mailboxes.spool import Content
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.storage.base import QueueName
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
"""The app's time while it writes the documents."""

SETTINGS = {
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__support__FALLBACK": "helpdesk",
    "MAILBOXES__support__BLOCKED_SENDERS": "*@spam.example",
    "MAILBOXES__support__SINCE": "2026-01-01",
    "MAILBOXES__office__ADDRESS": "office@example.com",
    "MAILBOXES__office__MAX_MESSAGE_BYTES": "50000",
    "MAILBOXES__contracts__ADDRESS": "contracts@example.com",
    **ROUTES,
}
MAILBOX = {"PROTOCOL": "imap", "HOST": "127.0.0.1", "PORT": "1", "TLS": "none"}
"""Settings that every mailbox has."""

PRESS = {**SETTINGS, "ROUTES__press__ADDRESS": "press@example.com"}
"""The settings with a route for a message that is unhandled without it."""

SPAM = message(
    "From: Lea <lea@spam.example>\nTo: sales@example.com\nSubject: You have won\nMessage-ID: <spam@spam.example>",
    "Won.\n",
)
LARGE = message("From: Max <max@customer.example>\nTo: office@example.com\nSubject: Plans", "x" * 60_000)
FAILING = message("From: Nil <nil@customer.example>\nTo: sales@example.com\nSubject: It stumbles over this", "Ouch.\n")
ENCRYPTED: dict[str, object] = {
    "subject": "For your eyes only",
    "from": "kai@customer.example",
    "to": ["contracts@example.com"],
    "message_id": "<demo-13@demo.example>",
    "received": "2026-11-23T09:13:30Z",
}
"""What a server reports of a message that it never returns."""


@dataclass(slots=True)
class ExampleServer:
    """A mailbox in memory, whose messages outlive its sessions.

    Attributes:
        messages: by number.
        received: times at which the server received messages, by number.
        refused: the reasons why the server does not return messages, by number.
        unreadable: what the server reports of messages that it never returns, by number.
    """

    messages: dict[int, bytes] = field(default_factory=dict)
    received: dict[int, datetime] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    unreadable: dict[int, dict[str, object]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def deliver(self, *messages: bytes) -> None:
        """Add messages to the mailbox."""
        for data in messages:
            self.messages[next(self._numbers)] = data


class ExampleMailbox:
    """A session with an `ExampleServer`, which satisfies the protocol `Mailbox`."""

    folders: Sequence[str] = ("INBOX",)
    commit_every: int | None = None

    def __init__(self, server: ExampleServer) -> None:
        self._server = server

    def fetch(
        self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int
    ) -> Generator[list[FetchResult], None, None]:
        """Yield the messages of each batch."""
        for batch in batches:
            yield [self._fetch(listed, max_bytes) for listed in batch]

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        """Remove messages."""
        for listed in messages:
            self._server.messages.pop(listed.number, None)

    def commit(self) -> None:
        """Do nothing: `remove` is final."""

    def check_folder(self, folder: str) -> FolderCheck:
        """Return the number of messages."""
        return FolderCheck(folder, len(self._server.messages))

    def close(self) -> None:
        """Do nothing."""

    @property
    def key_prefix(self) -> str:
        """Return UIDVALIDITY and a period: every listing is complete."""
        return "1."

    def watermark(self, processed: Collection[int]) -> str | None:
        """Return None: this mailbox has no watermarks."""
        del processed
        return None

    def list(
        self, folder: str, *, received: bool = False, above: str | None = None, since: datetime | None = None
    ) -> Sequence[ListedMessage]:
        """Return the messages in the order of their numbers."""
        del folder, above, since
        return [
            ListedMessage(f"1.{number}", number, len(data), self._server.received.get(number) if received else None)
            for number, data in sorted(self._server.messages.items())
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _fetch(self, listed: ListedMessage, max_bytes: int) -> FetchResult:
        refused = self._server.refused.get(listed.number)
        if refused is not None:
            return FetchResult(listed, None, refused=refused, unreadable=self._server.unreadable.get(listed.number))
        data = self._server.messages[listed.number]
        if len(data) > max_bytes:
            return FetchResult(listed, None, oversized=True)
        return FetchResult(listed, Content.from_bytes(data))


class ExampleStore:
    """Three mailboxes, and the storage into which the app drains them.

    Args:
        storage: address of the storage, in a folder or in Azure.
    """

    def __init__(self, storage: str) -> None:
        location = StorageLocation.parse(storage, setting="AzureWebJobsStorage")
        self._address = storage
        self.storage = open_storage(location, location, "mail")
        self.servers = {name: ExampleServer() for name in ("support", "office", "contracts")}

    def app(self, settings: Mapping[str, str] = SETTINGS) -> App:
        """Return a new app with these settings, as a new process has it."""
        values = {"AzureWebJobsStorage": self._address, "POLL_SCHEDULE": "0 * * * * *", **settings}
        for name in self.servers:
            values |= {f"MAILBOXES__{name}__{key}": value for key, value in MAILBOX.items()}
            values[f"MAILBOXES__{name}__PASSWORD"] = f"secret-of-{name}"
        app_settings = load_settings(values)
        assert not app_settings.mailbox_errors, app_settings.mailbox_errors
        app = build_app(app_settings, self.storage, now=lambda: NOW)
        poller = replace(app.poller, connect=lambda mailbox: ExampleMailbox(self.servers[mailbox.name]))
        return replace(app, poller=poller)

    def drain(self, mailbox: str, *messages: bytes) -> None:
        """Deliver messages to a mailbox, drain it, and route the messages."""
        server = self.servers[mailbox]
        server.deliver(*messages)
        server.received = dict.fromkeys(server.messages, NOW - timedelta(minutes=1))
        app = self.app()
        app.poller.poll(Poll(mailbox, PollReason.MANUAL))
        route_all(app)

    def write_every_kind(self) -> None:
        """Drain the demo's mail, and messages that lead to documents of all other kinds."""
        self.drain("support", *SUPPORT, SPAM)
        self.drain("office", *OFFICE, LARGE)
        contracts = self.servers["contracts"]
        contracts.deliver(b"sealed")
        contracts.refused, contracts.unreadable = {1: "ErrorMimeContentConversionFailed"}, {1: ENCRYPTED}
        self.drain("contracts", *CONTRACTS)
        self._dead_letter(FAILING)

    def replay(self, *records: str, reissue: bool = False) -> None:
        """Replay records with the settings `PRESS`."""
        app = self.app(PRESS)
        replay(app, ReplayOptions(records=records, reissue=reissue), lambda _done, _total: None)
        route_all(app)

    def documents(self, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every document of the container with its path, sorted by path."""
        for path in sorted(self.storage.blobs.list(prefix)):
            if path.endswith(".json") and "/attachments/" not in path:
                yield path, self.read(path)

    def read(self, path: str) -> dict[str, Any]:
        """Return the document at `path`."""
        data = self.storage.blobs.read(path)
        assert data is not None, path
        document = json.loads(data)
        assert isinstance(document, dict)
        return document

    def _dead_letter(self, data: bytes) -> None:
        """Deliver a message whose parsing fails at every try."""

        def fail(_data: object) -> None:
            raise ValueError("the parser failed")

        self.servers["support"].deliver(data)
        app = self.app()
        router = replace(app.router, parse=fail)  # type: ignore[arg-type]  # it returns no message
        app.poller.poll(Poll("support", PollReason.MANUAL))
        queue = self.storage.queues[QueueName.ROUTE_REQUESTS]
        for item in queue.receive(32, hidden_for=60):
            request = RouteRequest.from_json(item.body)
            with suppress(ValueError):
                router.route(request)
            router.record_error(request, ValueError())
            router.dead_letter(request)
            queue.delete(item)


def route_all(app: App) -> None:
    """Route messages until no route request is visible, as the functions do."""
    queue = app.storage.queues[QueueName.ROUTE_REQUESTS]
    while items := queue.receive(4, hidden_for=600):
        for item in items:
            request = RouteRequest.from_json(item.body)
            try:
                app.router.route(request, tried=item.dequeue_count > 1)
            except TransientError as error:
                app.router.requeue(request, error)
            queue.delete(item)
