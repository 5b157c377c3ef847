"""Microsoft Graph's endpoint, and the state that a process keeps about it between sessions."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.config import MailboxSettings
from shared.config.presets import GLOBAL_GRAPH
from shared.mailboxes.tls import context_for

CACHE_SECONDS: Final = 600.0
"""Seconds for which a folder's id, and the absence of an action, are assumed not to change."""

PAGE_SIZE_SECONDS: Final = 3600.0
"""Seconds for which a mailbox is not asked for larger pages than the largest that worked."""


class FolderIds:
    """A cache of folder ids by mailbox and path, which saves a request per poll. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, str], tuple[str, float]] = {}

    def get(self, mailbox: str, path: str) -> str | None:
        """Return a cached id; None after `CACHE_SECONDS`, since another folder may have taken the name."""
        with self._lock:
            folder, expires = self._ids.get((mailbox, path), (None, 0.0))
            return folder if time.monotonic() < expires else None

    def put(self, mailbox: str, path: str, folder: str) -> None:
        """Cache an id. An entry that has not expired keeps its expiry."""
        with self._lock:
            if self._ids.get((mailbox, path), ("", 0.0))[1] < time.monotonic():
                self._ids[mailbox, path] = folder, time.monotonic() + CACHE_SECONDS

    def forget(self, mailbox: str) -> None:
        """Drop a mailbox's cached ids, after one of its folders was missing."""
        with self._lock:
            self._ids = {key: entry for key, entry in self._ids.items() if key[0] != mailbox}


class PageSizes:
    """The largest page that each mailbox's listings may ask for, after larger pages failed. Thread-safe.

    A limit ends after `PAGE_SIZE_SECONDS` seconds, so that one bad hour does not slow the process down for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: dict[str, tuple[int, float]] = {}

    def usable(self, mailbox: str, sizes: Sequence[int]) -> list[int]:
        """Return the sizes to try for a mailbox, largest first: those within its limit, and always the smallest."""
        with self._lock:
            limit, expires = self._limits.get(mailbox, (max(sizes), 0.0))
        within = [size for size in sizes if size <= limit or time.monotonic() >= expires]
        return sorted(within or [min(sizes)], reverse=True)

    def limit(self, mailbox: str, size: int) -> None:
        """Remember that pages of this size worked for a mailbox where larger ones failed."""
        with self._lock:
            self._limits[mailbox] = size, time.monotonic() + PAGE_SIZE_SECONDS


class MissingActions:
    """The mailboxes whose server was found not to have `permanentDelete`. Thread-safe.

    An entry ends after `CACHE_SECONDS`: a gateway that answers 501 for a moment must not decide for the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expires: dict[str, float] = {}

    def lacks_permanent_delete(self, mailbox: str) -> bool:
        """Return whether a recent request showed that a mailbox's server does not have the action."""
        with self._lock:
            return time.monotonic() < self._expires.get(mailbox, 0.0)

    def note_permanent_delete(self, mailbox: str) -> None:
        """Remember that a mailbox's server does not have the action."""
        with self._lock:
            self._expires[mailbox] = time.monotonic() + CACHE_SECONDS


class TlsContexts:
    """A cache of TLS contexts by `CA_FILE`, valid while the file is unchanged. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: dict[str, tuple[object, ssl.SSLContext]] = {}

    def for_settings(self, settings: MailboxSettings) -> ssl.SSLContext:
        """Return the context for a mailbox's connections.

        Raises:
            ConfigurationError: `CA_FILE` cannot be read, or contains no certificate.
        """
        path = settings.ca_file
        with suppress(OSError):
            stamp: object = path.stat().st_mtime_ns if path is not None else None
            with self._lock:
                cached_stamp, context = self._contexts.get(str(path), ("", None))
                if context is not None and cached_stamp == stamp:
                    return context
                self._contexts[str(path)] = stamp, _create_context(settings)
                return self._contexts[str(path)][1]
        return _create_context(settings)


def _create_context(settings: MailboxSettings) -> ssl.SSLContext:
    """Return a context that also trusts REQUESTS_CA_BUNDLE, which requests reads for tokens and httpx ignores."""
    import requests  # noqa: PLC0415  slow to load; mailboxes of other protocols need none

    context = context_for(settings)
    bundle = requests.Session().merge_environment_settings("https://localhost", {}, None, None, None)["verify"]
    if isinstance(bundle, str):
        path = Path(bundle)
        with suppress(OSError, ssl.SSLError):
            context.load_verify_locations(
                cafile=bundle if path.is_file() else None, capath=bundle if path.is_dir() else None
            )
    return context


@dataclass(frozen=True, slots=True)
class GraphEndpoint:
    """Microsoft Graph's endpoint, with the caches that its sessions share.

    Attributes:
        url: base URL, with the version.
        patience: seconds from a session's start after which it no longer waits before a retry.
        folder_ids: folder ids by path.
        tls_contexts: TLS contexts; loading the machine's root certificates is slow.
        page_sizes: page sizes that work for each mailbox.
        missing_actions: mailboxes whose server does not have `permanentDelete`.
    """

    url: str = GLOBAL_GRAPH
    patience: float = 300
    folder_ids: FolderIds = field(default_factory=FolderIds)
    tls_contexts: TlsContexts = field(default_factory=TlsContexts)
    page_sizes: PageSizes = field(default_factory=PageSizes)
    missing_actions: MissingActions = field(default_factory=MissingActions)
