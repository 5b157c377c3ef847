"""The fixture of the routing tests: two mailboxes with routes, a storage, and ends of a process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.bootstrap import App
from shared.config import MailboxSettings
from shared.mailboxes.base import Mailbox
from shared.storage.base import QueueName, Storage
from shared.storage.factory import open_storage
from tests.integration.holding import Holding
from tests.servers.faults import ProcessKilled
from tests.servers.memory_app import TWO_MAILBOXES, app_on, let_time_pass, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.one_by_one import create_one_by_one, creates_blobs
from tests.servers.pump import poll, work_until_idle

DAY = datetime(2026, 11, 23, 23, 50, tzinfo=UTC)

WILDCARDS = {
    "ROUTES__any_support__MAILBOX": "support",
    "ROUTES__any_support__ADDRESS": "*",
    "ROUTES__any_support__SENDERS": "*@b.example",
    "ROUTES__any_office__MAILBOX": "office",
    "ROUTES__any_office__ADDRESS": "*",
    "ROUTES__any_office__SENDERS": "*@b.example",
}


def letter(to: str, *, sender: str = "a@b.example", subject: str = "Angebot") -> bytes:
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\ntext\r\n".encode()


def identity(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class InterceptedCalls:
    """A wrapper that calls functions of a test before methods of an object.

    Args:
        inner: the other.
        ways: by method: called first with the arguments; what it raises is raised.
    """

    def __init__(self, inner: object, **ways: Callable[..., object]) -> None:
        self._inner = inner
        self._ways = ways

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if creates_blobs(self._inner, name) and "create" in self._ways:
            return partial(create_one_by_one, self.create)
        first = self._ways.get(name)
        if first is None:
            return value

        def method(*args: Any, **kwargs: Any) -> Any:
            first(*args, **kwargs)
            return value(*args, **kwargs)

        return method


def process_gone_at(prefix: str) -> Callable[..., None]:
    """Return a function that ends the process where it would create a blob with this prefix."""

    def create(path: str, *_args: object, **_kwargs: object) -> None:
        if path.startswith(prefix):
            raise ProcessKilled

    return create


def raise_process_gone(*_args: object, **_kwargs: object) -> None:
    """End the process."""
    raise ProcessKilled


class RoutingFixture(Holding):
    """Two mailboxes with routes of their own, and a storage; `app` is a new process each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = {"support": MemoryServer(), "office": MemoryServer()}
        self.time = DAY
        self.values = dict(TWO_MAILBOXES)
        settings = settings_for(f"folder:{folder}", self.values)
        super().__init__(open_storage(settings.app_storage, settings.mail_storage, "mail"))

    def app(self, stores: Storage | None = None, faulty: Mapping[str, tuple[str, ...]] | None = None) -> App:
        def connect(settings: MailboxSettings) -> Mailbox:
            return self.servers[settings.name].open()

        settings = replace(settings_for(f"folder:{self.folder}", self.values), mailbox_errors=faulty or {})
        return app_on(settings, connect, stores=stores or self.stores, now=lambda: self.time)

    def run(self, *mailboxes: str, stores: Storage | None = None) -> None:
        app = self.app(stores)
        poll(app, *mailboxes)
        work_until_idle(app)

    def run_until_killed(self, *mailboxes: str, **parts: object) -> None:
        """Run until a part of the storage ends the process, then expire its locks."""
        with suppress(ProcessKilled):
            self.run(*mailboxes, stores=replace(self.stores, **parts))  # type: ignore[arg-type]  # a double of the part
            pytest.fail("the process was to end")
        let_time_pass(self.folder)

    def results(self) -> list[tuple[str, str]]:
        """Return route and recipient of each result."""
        read = [self.read(path) for path in self.paths("routed/")]
        return sorted((item["route"], item["recipient"]) for item in read)

    def drop_route_requests(self) -> None:
        """Lose the queued route requests, as an operator in the portal might."""
        queue = self.stores.queues[QueueName.ROUTE_REQUESTS]
        while items := queue.receive(32, hidden_for=60):
            for item in items:
                queue.delete(item)
