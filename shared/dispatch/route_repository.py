"""The current routes: of the settings and of the routes file, which is read again when it changes (rule 3.1).

Invalid routes, in the settings or in the file, delay the mail that they may apply to, and lose none: it is downloaded
and stored, and routed once the routes are corrected.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared.addresses import normalise
from shared.clock import Now, utc_now
from shared.config import ROUTES_PATH, AppSettings, MailboxSettings, PlusAddressing, RouteSet, load_routes
from shared.config.routes_file import LARGEST_FILE
from shared.errors import TransientError
from shared.routing.model import Route
from shared.routing.route_table import RouteTable, TrustPolicy
from shared.storage.base import Blobs

CHECK_INTERVAL = timedelta(seconds=10)
"""How often the file is checked for changes."""

MAX_LOGGED_ERRORS = 10
"""Configuration errors in one log line; `mailroom check` lists all of them."""

_log = logging.getLogger("mailroom.routes")


class RouteRepository:
    """The routes of the settings and of the routes file, kept current.

    Args:
        settings: the app's settings, with their own routes.
        blobs: where the routes file is stored, at `ROUTES_PATH`.
        now: returns the current time.
    """

    def __init__(self, settings: AppSettings, blobs: Blobs, now: Now = utc_now) -> None:
        self._settings = settings
        self._blobs = blobs
        self._now = now
        self._lock = threading.Lock()
        self._routes: RouteSet | None = None
        self._etag = ""
        self._checked_at: datetime | None = None

    def read(self) -> RouteSet:
        """Return all routes; the same object while the file does not change.

        The file is checked at most once in `CHECK_INTERVAL`, and read only if it changed. While storage is
        unavailable, the last routes stay in use.

        Raises:
            TransientError: storage is unavailable, and the file was never read.
        """
        with self._lock:
            # `abs`: the system time may have been set back.
            is_due = self._checked_at is None or abs(self._now() - self._checked_at) >= CHECK_INTERVAL
            if self._routes is None or is_due:
                self._routes = self._refresh(self._routes)
                self._checked_at = self._now()
            return self._routes

    def _refresh(self, current: RouteSet | None) -> RouteSet:
        try:
            version = self._blobs.read_version(ROUTES_PATH, unless_etag=self._etag, max_bytes=LARGEST_FILE + 1)
        except TransientError as error:
            if current is None:
                raise
            _log.warning("%s cannot be read, the last routes stay in use: %s", ROUTES_PATH, error)
            return current
        etag = "" if version is None else version.etag
        if current is not None and etag == self._etag:
            return current
        routes = load_routes(self._settings, None if version is None else version.data)
        self._etag = etag
        _log_changes(routes, current)
        return routes


def _log_changes(routes: RouteSet, previous: RouteSet | None) -> None:
    """Log the errors and warnings of changed routes, once."""
    errors = routes.all_errors
    if errors:
        rest = f"; and {len(errors) - MAX_LOGGED_ERRORS} more" if len(errors) > MAX_LOGGED_ERRORS else ""
        _log.error(
            "routes-wrong: mail waits until these errors are corrected: %s%s",
            "; ".join(errors[:MAX_LOGGED_ERRORS]),
            rest,
        )
    elif previous is not None:
        change = "was deleted" if routes.from_file is None else f"was read again, with {routes.from_file} routes"
        _log.info("routes-changed: %s %s", ROUTES_PATH, change)
    for warning in routes.warnings:
        if previous is None or warning not in previous.warnings:
            _log.warning("routes-doubtful: %s", warning)


@dataclass(frozen=True, slots=True)
class _RouteTables:
    """The route tables that were built from one set of routes; `by_mailbox` grows as mailboxes are requested."""

    source: RouteSet
    routes: tuple[Route, ...]
    by_mailbox: dict[str, RouteTable | None] = field(default_factory=dict)


class RouteTableCache:
    """The route table of each mailbox, built when first requested, and again when the routes change.

    Args:
        settings: the app's settings.
        routes: returns the current routes; the same object while they do not change.
    """

    def __init__(self, settings: AppSettings, routes: Callable[[], RouteSet]) -> None:
        self._settings = settings
        self._routes = routes
        self._tables = _RouteTables(RouteSet(), ())

    def for_mailbox(self, mailbox: str) -> RouteTable | None:
        """Return the route table of a mailbox; None while its settings, or routes that may apply to it, are invalid.

        Mail of a mailbox that is no longer configured is routed by the routes without MAILBOX.

        Raises:
            TransientError: storage is unavailable, and the routes file was never read.
        """
        if mailbox in self._settings.mailbox_errors:
            return None
        routes = self._routes()
        tables = self._tables
        if tables.source is not routes:
            enabled = tuple(route for route in routes.routes if route.enabled)
            # Replaced as a whole: another thread may be using the previous tables.
            tables = self._tables = _RouteTables(routes, enabled)
        if mailbox not in tables.by_mailbox:
            applicable = [route for route in tables.routes if route.mailbox in (None, mailbox)]
            table = self._build(applicable, self._settings.mailboxes.get(mailbox))
            tables.by_mailbox[mailbox] = None if routes.errors_for(mailbox) else table
        return tables.by_mailbox[mailbox]

    def _build(self, routes: list[Route], mailbox: MailboxSettings | None) -> RouteTable:
        max_recipients, max_attachments = self._settings.max_recipients, self._settings.max_attachments
        if mailbox is None:
            return RouteTable(
                routes,
                trust_policy=self._common_trust(),
                max_recipients=max_recipients,
                max_attachments=max_attachments,
            )
        return RouteTable(
            routes,
            primary=normalise(mailbox.mailbox_address),
            aliases=mailbox.aliases,
            fallback=mailbox.fallback,
            plus_addressing=mailbox.plus_addressing is not PlusAddressing.OFF,
            blocked_senders=mailbox.blocked_senders,
            trust_policy=replace(
                self._common_trust(),
                hints=mailbox.delivery_hints,
                hops=mailbox.trusted_hops,
                received_by=mailbox.received_by,
                fields=dict(mailbox.delivery_fields),
                by_tag_alone=mailbox.plus_addressing is PlusAddressing.ONLY,
            ),
            max_recipients=max_recipients,
            max_attachments=max_attachments,
        )

    def _common_trust(self) -> TrustPolicy:
        """Return the part of the trust policy that all mailboxes share."""
        mailboxes = self._settings.mailboxes.values()
        addresses = (normalise(text) for mailbox in mailboxes for text in (mailbox.mailbox_address, *mailbox.aliases))
        own = frozenset(address for address in addresses if address is not None)
        return TrustPolicy(own=own, loop_limit=self._settings.loop_limit)
