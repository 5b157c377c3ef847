"""The one place that wires everything together, once a process, at the first call.

The functions ask here for what they trigger. Nothing is built at import: indexing an app must not need its storage.
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
from shared.mailbox_health import HealthRecords
from shared.mailboxes.factory import open_mailbox, open_subscriptions
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.mailboxes.spool import remove_leftover_files
from shared.mime.parser import parse
from shared.observability.exporter import start
from shared.storage.base import Storage
from shared.storage.factory import open_storage

ROOT = Path(__file__).resolve().parents[1]
"""The function app's folder, which local.settings.json is in where Core Tools run it."""

UPLOADS = 16
"""Uploads at once, over all mailboxes that the process drains: what one client of the storage does best with."""

_log = logging.getLogger("mailroom.wiring")


@dataclass(frozen=True, slots=True)
class App:
    """Everything that the functions call.

    Attributes:
        settings: as read at start.
        stores: the storage.
        health: how the mailboxes fare.
        poller: looks at mailboxes.
        sorter: routes arrivals.
        subscriptions: looks after what makes Graph notify us.
        book: all routes, as they stand now.
        tables: the same by mailbox, for routing.
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
        """Release what killed processes held, where their owner is known. Elsewhere it is free after its time."""
        with suppress(TransientError):
            if count := self.storage.release_dead():
                _log.info("%d messages and leases of killed processes were released", count)

    def remove_leftover_files(self) -> None:
        """Remove the temporary files of killed processes. What cannot be removed now is removed later."""
        count = remove_leftover_files()
        with suppress(TransientError):
            count += self.storage.remove_leftover_files()
        if count:
            _log.info("%d temporary files of killed processes were removed", count)


def build_app(
    settings: AppSettings, stores: Storage | None = None, *, now: Now = utc_now, progress: Progress = no_progress
) -> App:
    """Build an app from its settings.

    Args:
        settings: validated.
        stores: the storage; None: as the settings name it.
        now: the time.
        progress: told as mailboxes are drained.
    """
    if stores is None:
        stores = open_storage(settings.app_storage, settings.mail_storage, settings.mail_container)
    health = HealthRecords(stores.records, now)
    uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload")
    remove_leftover_files()
    tokens = TokenCache(settings.sign_in_authority, settings.graph_endpoint)
    way = GraphEndpoint(settings.graph_endpoint, settings.poll_budget)
    connect = partial(open_mailbox, tokens=tokens, way=way)
    intake = MailboxDrain(stores, uploads, now, progress)
    watch = partial(open_subscriptions, tokens=tokens, way=way, now=now)
    subscriptions = SubscriptionManager(settings, stores, watch, now)
    poller = Poller(
        settings.mailboxes, settings.faulty, intake, health, connect, settings.poll_budget, subscriptions.is_active, now
    )
    book = RouteRepository(settings, stores.blobs, now)
    tables = RouteTableCache(settings, book.read)
    return App(
        settings,
        stores,
        health,
        poller,
        MessageRouter(stores, tables.for_mailbox, parse, now),
        subscriptions,
        book,
        tables,
    )


_lock = threading.Lock()
_app: App | None = None


def app() -> App:
    """The process's app, wired at the first call from the app settings.

    Raises:
        ConfigurationError: faults of the whole app. The next call tries again.
    """
    global _app  # noqa: PLW0603  the worker is one process, and wires once
    with _lock:
        if _app is None:
            settings = load_settings(complete=False, base=ROOT)
            start(settings.telemetry)
            _app = build_app(settings)
        return _app


def install_app(ready: App) -> None:
    """Let the functions of this process find an app that is wired already."""
    global _app  # noqa: PLW0603
    with _lock:
        _app = ready
