"""How Microsoft Graph is reached, and what a process remembers of it from one session to the next."""

from __future__ import annotations

import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests

from shared.mailboxes.tls import context_for
from shared.settings import MailboxSettings
from shared.settings.model import GLOBAL_GRAPH

REMEMBERED: Final = 600.0
"""Seconds for which a path is taken to lead to the same folder."""


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


class Trusts:
    """Keeps the TLS context of each `CA_FILE`, as long as the file is the same. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: dict[str, tuple[object, ssl.SSLContext]] = {}

    def of(self, settings: MailboxSettings) -> ssl.SSLContext:
        """The context for a mailbox's connections.

        Raises:
            SettingsWrong: `CA_FILE` cannot be read, or holds no certificate.
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
class GraphWay:
    """How Microsoft Graph is reached.

    Attributes:
        endpoint: its address, with the version.
        patience: seconds from a session's beginning after which nothing is waited for any more.
        folders: which ids paths stood for.
        trusts: what the mailboxes' connections trust: the machine's roots take a while to load.
    """

    endpoint: str = GLOBAL_GRAPH
    patience: float = 300
    folders: FolderIds = field(default_factory=FolderIds)
    trusts: Trusts = field(default_factory=Trusts)
