"""How Microsoft Graph is reached, and what a process remembers of it from one session to the next."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests

from shared.config import MailboxSettings
from shared.config.presets import GLOBAL_GRAPH
from shared.mailboxes.tls import context_for

REMEMBERED: Final = 600.0
"""Seconds for which a path is taken to lead to the same folder, and a missing action to be missing."""

SIZE_REMEMBERED: Final = 3600.0
"""Seconds for which a mailbox is not asked for larger pages than the largest that worked."""


class FolderIds:
    """Remembers which id a path stood for, so that a look need not ask again. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, str], tuple[str, float]] = {}

    def get(self, mailbox: str, path: str) -> str | None:
        """The id, if it was asked for a short while ago: a folder may be renamed, and another take its name."""
        with self._lock:
            folder, until = self._ids.get((mailbox, path), (None, 0.0))
            return folder if time.monotonic() < until else None

    def put(self, mailbox: str, path: str, folder: str) -> None:
        """Remember an id."""
        with self._lock:
            if self._ids.get((mailbox, path), ("", 0.0))[1] < time.monotonic():
                self._ids[mailbox, path] = folder, time.monotonic() + REMEMBERED

    def forget(self, mailbox: str) -> None:
        """A folder was not where it was: forget all that is known of the mailbox."""
        with self._lock:
            self._ids = {key: found for key, found in self._ids.items() if key[0] != mailbox}


class PageSizes:
    """The largest page that each mailbox's listings may ask for, after larger pages failed. Thread-safe.

    A limit ends after `SIZE_REMEMBERED` seconds, so that one bad hour does not slow the process down for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: dict[str, tuple[int, float]] = {}

    def usable(self, mailbox: str, sizes: Sequence[int]) -> list[int]:
        """Return the sizes to try for a mailbox, largest first: those within its limit, and always the smallest."""
        with self._lock:
            limit, until = self._limits.get(mailbox, (max(sizes), 0.0))
        within = [size for size in sizes if size <= limit or time.monotonic() >= until]
        return sorted(within or [min(sizes)], reverse=True)

    def limit(self, mailbox: str, size: int) -> None:
        """Remember that pages of this size worked for a mailbox where larger ones failed."""
        with self._lock:
            self._limits[mailbox] = size, time.monotonic() + SIZE_REMEMBERED


class MissingActions:
    """The mailboxes at which `permanentDelete` is not available, found out by asking. Thread-safe.

    A finding ends after `REMEMBERED` seconds: a gateway that answers 501 for a moment must not decide for the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def lacks_permanent_delete(self, mailbox: str) -> bool:
        """Return whether a recent request showed that a mailbox's server does not have the action."""
        with self._lock:
            return time.monotonic() < self._until.get(mailbox, 0.0)

    def note_permanent_delete(self, mailbox: str) -> None:
        """Remember that a mailbox's server does not have the action."""
        with self._lock:
            self._until[mailbox] = time.monotonic() + REMEMBERED


class TlsContexts:
    """Keeps the TLS context of each `CA_FILE`, as long as the file is the same. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: dict[str, tuple[object, ssl.SSLContext]] = {}

    def for_settings(self, settings: MailboxSettings) -> ssl.SSLContext:
        """The context for a mailbox's connections.

        Raises:
            ConfigurationError: `CA_FILE` cannot be read, or holds no certificate.
        """
        path = settings.ca_file
        with suppress(OSError):
            stamp: object = path.stat().st_mtime_ns if path is not None else None
            with self._lock:
                known, context = self._contexts.get(str(path), ("", None))
                if context is not None and known == stamp:
                    return context
                self._contexts[str(path)] = stamp, _trusting(settings)
                return self._contexts[str(path)][1]
        return _trusting(settings)


def _trusting(settings: MailboxSettings) -> ssl.SSLContext:
    """What the way to the tokens trusts: REQUESTS_CA_BUNDLE counts as well, which requests reads and httpx does not."""
    context = context_for(settings)
    bundle = requests.Session().merge_environment_settings("https://localhost", {}, None, None, None)["verify"]
    if isinstance(bundle, str):
        place = Path(bundle)
        with suppress(OSError, ssl.SSLError):
            context.load_verify_locations(
                cafile=bundle if place.is_file() else None, capath=bundle if place.is_dir() else None
            )
    return context


@dataclass(frozen=True, slots=True)
class GraphEndpoint:
    """How Microsoft Graph is reached.

    Attributes:
        endpoint: its address, with the version.
        patience: seconds from a session's beginning after which nothing is waited for any more.
        folders: which ids paths stood for.
        trusts: what the mailboxes' connections trust: the machine's roots take a while to load.
        page_sizes: which page sizes work for which mailbox.
        missing: which mailboxes' servers do not have `permanentDelete`.
    """

    endpoint: str = GLOBAL_GRAPH
    patience: float = 300
    folders: FolderIds = field(default_factory=FolderIds)
    trusts: TlsContexts = field(default_factory=TlsContexts)
    page_sizes: PageSizes = field(default_factory=PageSizes)
    missing: MissingActions = field(default_factory=MissingActions)
