"""The composition root: builds the app from its settings, once per process, at the first call.

The functions call `app()`. Nothing is built at import: indexing the functions must not need storage.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shared.clock import Now, utc_now
from shared.config import AppSettings, load_settings
from shared.dispatch.route_repository import RouteRepository, RouteTableCache
from shared.dispatch.router import MessageRouter
from shared.errors import TransientError
from shared.graph_notifications.subscription_manager import SubscriptionManager
from shared.intake.folder_sync import Progress, no_progress
from shared.intake.mailbox_drain import MailboxDrain
from shared.intake.poller import Poller
from shared.mailbox_health import DrainProgress, HealthRecords
from shared.mailboxes.factory import open_mailbox, open_subscriptions
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.mailboxes.spool import remove_leftover_files
from shared.mime.parser import parse
from shared.observability.exporter import start
from shared.storage.base import Storage
from shared.storage.factory import open_storage

ROOT = Path(__file__).resolve().parents[1]
"""The function app's folder, in which Core Tools look for local.settings.json."""

WRITES = 16
"""Storage operations at once of the messages that are routed: what one client of the storage does best with."""

_log = logging.getLogger("mailroom.bootstrap")


@dataclass(frozen=True, slots=True)
class App:
    """The objects that the functions call.

    Attributes:
        settings: the settings, as read at start.
        storage: the storage.
        health: the health of the mailboxes.
        poller: polls mailboxes.
        router: routes stored messages.
        subscriptions: keeps the Graph subscriptions.
        route_repository: the current routes.
        route_tables: the current routes by mailbox, as routing uses them.
    """

    settings: AppSettings
    storage: Storage
    health: HealthRecords
    poller: Poller
    router: MessageRouter
    subscriptions: SubscriptionManager
    route_repository: RouteRepository
    route_tables: RouteTableCache

    def release_dead(self) -> None:
        """Release the queue messages and leases of killed processes, if the storage knows them. Others expire."""
        with suppress(TransientError):
            if count := self.storage.release_dead():
                _log.info("%d messages and leases of killed processes were released", count)

    def remove_leftover_files(self) -> None:
        """Remove the temporary files of killed processes. Files that cannot be removed now are removed later."""
        count = remove_leftover_files()
        with suppress(TransientError):
            count += self.storage.remove_leftover_files()
        if count:
            _log.info("%d temporary files of killed processes were removed", count)


def build_app(
    settings: AppSettings, storage: Storage | None = None, *, now: Now = utc_now, progress: Progress = no_progress
) -> App:
    """Build an app from its settings.

    Args:
        settings: validated settings.
        storage: the storage; None: the one that the settings name.
        now: returns the current time.
        progress: called while mailboxes are drained.
    """
    if storage is None:
        storage = open_storage(settings.app_storage, settings.mail_storage, settings.mail_container)
    health = HealthRecords(storage.records, now)
    remove_leftover_files()
    tokens = TokenCache(settings.sign_in_authority, settings.graph_endpoint)
    endpoint = GraphEndpoint(settings.graph_endpoint, settings.poll_budget)
    connect = partial(open_mailbox, tokens=tokens, graph_endpoint=endpoint)
    intake = MailboxDrain(storage, now, DrainProgress(health, progress))
    open_subscriptions_for = partial(open_subscriptions, tokens=tokens, graph_endpoint=endpoint, now=now)
    subscriptions = SubscriptionManager(settings, storage, open_subscriptions_for, now)
    poller = Poller(
        settings.mailboxes,
        settings.mailbox_errors,
        intake,
        health,
        connect,
        settings.poll_budget,
        subscriptions.is_active,
        now,
    )
    route_repository = RouteRepository(settings, storage.blobs, now)
    route_tables = RouteTableCache(settings, route_repository.read)
    return App(
        settings,
        storage,
        health,
        poller,
        MessageRouter(storage, route_tables.for_mailbox, parse, now, ThreadPoolExecutor(WRITES, "route")),
        subscriptions,
        route_repository,
        route_tables,
    )


_lock = threading.Lock()
_app: App | None = None


def app() -> App:
    """Return the process's app, built from the app settings at the first call.

    Raises:
        ConfigurationError: the settings of the whole app are invalid. The next call tries again.
    """
    global _app  # noqa: PLW0603  a worker is one process with one app
    with _lock:
        if _app is None:
            settings = load_settings(complete=False, base=ROOT)
            start(settings.telemetry)
            _app = build_app(settings)
        return _app


def install_app(built: App) -> None:
    """Make `app()` return an app that was built already."""
    global _app  # noqa: PLW0603
    with _lock:
        _app = built
