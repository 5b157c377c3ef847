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
from shared.config import AppSettings, read_settings
from shared.dispatch.route_repository import RouteBook
from shared.dispatch.route_tables import RouteTables
from shared.dispatch.router import Sorter
from shared.errors import TryAgain
from shared.graph_notifications.subscription_manager import Subscriptions
from shared.intake.folder_sync import Progress, no_progress
from shared.intake.mailbox_drain import Intake
from shared.intake.poller import Poller
from shared.mailbox_health import Health
from shared.mailboxes.factory import open_mailbox, open_subscriptions
from shared.mailboxes.graph.endpoint import GraphWay
from shared.mailboxes.oauth.token_cache import Tokens
from shared.mailboxes.spool import remove_left_over
from shared.mime.parser import parse
from shared.observability.exporter import start
from shared.storage.base import Stores
from shared.storage.factory import open_stores

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
    stores: Stores
    health: Health
    poller: Poller
    sorter: Sorter
    subscriptions: Subscriptions
    book: RouteBook
    tables: RouteTables

    def release_dead(self) -> None:
        """Release what killed processes held, where their owner is known. Elsewhere it is free after its time."""
        with suppress(TryAgain):
            if count := self.stores.release_dead():
                _log.info("%d messages and leases of killed processes were released", count)

    def remove_left_over(self) -> None:
        """Remove the temporary files of killed processes. What cannot be removed now is removed later."""
        count = remove_left_over()
        with suppress(TryAgain):
            count += self.stores.remove_left_over()
        if count:
            _log.info("%d temporary files of killed processes were removed", count)


def wire(
    settings: AppSettings, stores: Stores | None = None, *, now: Now = utc_now, progress: Progress = no_progress
) -> App:
    """Build an app from its settings.

    Args:
        settings: validated.
        stores: the storage; None: as the settings name it.
        now: the time.
        progress: told as mailboxes are drained.
    """
    if stores is None:
        stores = open_stores(settings.app_storage, settings.mail_storage, settings.mail_container)
    health = Health(stores.records, now)
    uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload")
    remove_left_over()
    tokens = Tokens(settings.sign_in_authority, settings.graph_endpoint)
    way = GraphWay(settings.graph_endpoint, settings.poll_budget)
    connect = partial(open_mailbox, tokens=tokens, way=way)
    intake = Intake(stores, uploads, now, progress)
    watch = partial(open_subscriptions, tokens=tokens, way=way, now=now)
    subscriptions = Subscriptions(settings, stores, watch, now)
    poller = Poller(
        settings.mailboxes, settings.faulty, intake, health, connect, settings.poll_budget, subscriptions.alive, now
    )
    book = RouteBook(settings, stores.blobs, now)
    tables = RouteTables(settings, book.read)
    return App(settings, stores, health, poller, Sorter(stores, tables.of, parse, now), subscriptions, book, tables)


_lock = threading.Lock()
_app: App | None = None


def app() -> App:
    """The process's app, wired at the first call from the app settings.

    Raises:
        SettingsWrong: faults of the whole app. The next call tries again.
    """
    global _app  # noqa: PLW0603  the worker is one process, and wires once
    with _lock:
        if _app is None:
            settings = read_settings(complete=False, base=ROOT)
            start(settings.telemetry)
            _app = wire(settings)
        return _app


def use(ready: App) -> None:
    """Let the functions of this process find an app that is wired already."""
    global _app  # noqa: PLW0603
    with _lock:
        _app = ready
