"""The one place that wires everything together, once a process, at the first call.

The functions ask here for what they trigger. Nothing is built at import: indexing an app must not need its storage.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from shared.clock import Now, utc_now
from shared.folder_round import Progress, no_progress
from shared.health import Health
from shared.intake import Intake
from shared.mail.addresses import normalise
from shared.mail.message import parse
from shared.mailboxes.connect import open_mailbox, open_subscriptions
from shared.mailboxes.graph_way import GraphWay
from shared.mailboxes.sign_in import Tokens
from shared.mailboxes.spool import remove_left_over
from shared.polling import Poller
from shared.routing.model import Route
from shared.routing.routes import Reading, RouteTable
from shared.settings import AppSettings, PlusAddressing, RouteSettings, read_settings
from shared.sorting import Sorter
from shared.storage.opening import open_stores
from shared.storage.protocol import Stores
from shared.subscriptions import Subscriptions

UPLOADS = 16
"""Uploads at once, over all mailboxes that the process drains: what one client of the storage does best with."""


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
    """

    settings: AppSettings
    stores: Stores
    health: Health
    poller: Poller
    sorter: Sorter
    subscriptions: Subscriptions


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
    tables = RouteTables(settings)
    return App(settings, stores, health, poller, Sorter(stores, tables.of, parse, now), subscriptions)


class RouteTables:
    """The mailboxes' routes, indexed when first asked for.

    Args:
        settings: whose routes.
    """

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self._built: dict[str, RouteTable] = {}

    def of(self, mailbox: str) -> RouteTable | None:
        """The routes for a mailbox's mail; None while its settings are wrong.

        Mail of a mailbox that is configured no more is routed by the routes that are everybody's.
        """
        if mailbox in self._settings.faulty:
            return None
        if mailbox not in self._built:
            own = self._settings.mailboxes.get(mailbox)
            routes = [
                as_route(route) for route in self._settings.routes if route.enabled and route.mailbox in (None, mailbox)
            ]
            self._built[mailbox] = (
                RouteTable(routes, reading=self._reading())
                if own is None
                else RouteTable(
                    routes,
                    primary=normalise(own.mailbox_address),
                    fallback=own.fallback,
                    plus_addressing=own.plus_addressing is not PlusAddressing.OFF,
                    blocked_senders=own.blocked_senders,
                    reading=replace(
                        self._reading(),
                        hints=own.delivery_hints,
                        hops=own.trusted_hops,
                        received_by=own.received_by,
                        by_tag_alone=own.plus_addressing is PlusAddressing.ONLY,
                    ),
                )
            )
        return self._built[mailbox]

    def _reading(self) -> Reading:
        """What is believed of all mail."""
        everybody = (normalise(one.mailbox_address) for one in self._settings.mailboxes.values())
        own = frozenset(address for address in everybody if address is not None)
        return Reading(own=own, loop_limit=self._settings.loop_limit)


def as_route(route: RouteSettings) -> Route:
    """A configured route as routing knows it."""
    return Route(
        name=route.name,
        address=route.address,
        order=route.order,
        senders=route.senders,
        recipients=route.recipients,
        subject_words=route.subject_words,
        attachment_types=route.attachment_types,
        important=route.important,
        folders=route.folders,
    )


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
            _app = wire(read_settings())
        return _app


def use(ready: App) -> None:
    """Let the functions of this process find an app that is wired already."""
    global _app  # noqa: PLW0603
    with _lock:
        _app = ready
