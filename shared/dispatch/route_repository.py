"""All routes as they stand now: the routes file is looked at anew while the process lives (rule 3.1).

Routes that are wrong, in the settings or in the file, hold the mail that they may be for, and lose none: it is
collected, stored, and routed once they are right.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta

from shared.clock import Now, utc_now
from shared.config import ROUTES_PATH, AppSettings, RouteSet, load_routes
from shared.config.routes_file import LARGEST_FILE
from shared.errors import TransientError
from shared.storage.base import Blobs

LOOK_EVERY = timedelta(seconds=10)
"""How old what is known of the file may be."""

MOST_LOGGED = 10
"""Faults that are logged; `mailroom check` tells them all."""

_log = logging.getLogger("mailroom.routes")


class RouteRepository:
    """Knows all routes.

    Args:
        settings: with their own routes.
        blobs: where the file is, at `ROUTES_PATH`.
        now: the time.
    """

    def __init__(self, settings: AppSettings, blobs: Blobs, now: Now = utc_now) -> None:
        self._settings = settings
        self._blobs = blobs
        self._now = now
        self._lock = threading.Lock()
        self._known: RouteSet | None = None
        self._etag = ""
        self._looked: datetime | None = None

    def read(self) -> RouteSet:
        """All routes; the same object as long as the file does not change.

        The storage is asked at most once in `LOOK_EVERY`, and for the content only when it changed. While the storage
        is ill, what was last seen goes on to hold.

        Raises:
            TransientError: the storage is ill, and the file was never seen.
        """
        with self._lock:
            # The clock may have been set back.
            if self._known is None or self._looked is None or abs(self._now() - self._looked) >= LOOK_EVERY:
                self._known = self._look(self._known)
                self._looked = self._now()
            return self._known

    def _look(self, known: RouteSet | None) -> RouteSet:
        try:
            version = self._blobs.read_version(ROUTES_PATH, unless_etag=self._etag, max_bytes=LARGEST_FILE + 1)
        except TransientError as error:
            if known is None:
                raise
            _log.warning("%s cannot be looked at, it holds as it was last seen: %s", ROUTES_PATH, error)
            return known
        etag = "" if version is None else version.etag
        if known is not None and etag == self._etag:
            return known
        routes = load_routes(self._settings, None if version is None else version.data)
        self._etag = etag
        _tell(routes, known)
        return routes


def _tell(routes: RouteSet, before: RouteSet | None) -> None:
    """Log what changed, once."""
    faults = routes.all_errors
    if faults:
        more = f"; and {len(faults) - MOST_LOGGED} more" if len(faults) > MOST_LOGGED else ""
        _log.error("routes-wrong: mail waits until they are right: %s%s", "; ".join(faults[:MOST_LOGGED]), more)
    elif before is not None:
        found = "is gone" if routes.from_file is None else f"was read anew, with {routes.from_file} routes"
        _log.info("routes-changed: %s %s", ROUTES_PATH, found)
    for warning in routes.warnings:
        if before is None or warning not in before.warnings:
            _log.warning("routes-doubtful: %s", warning)
