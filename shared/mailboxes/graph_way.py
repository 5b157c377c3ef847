"""How Microsoft Graph is reached, and what a process remembers of it from one session to the next."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from shared.mailboxes.sign_in import DEFAULT_GRAPH


class FolderIds:
    """Remembers which id a path stood for, so that a look need not ask again. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, str], str] = {}

    def get(self, mailbox: str, path: str) -> str | None:
        """The id, if it is known."""
        with self._lock:
            return self._ids.get((mailbox, path))

    def put(self, mailbox: str, path: str, folder: str) -> None:
        """Remember an id."""
        with self._lock:
            self._ids[mailbox, path] = folder

    def forget(self, mailbox: str) -> None:
        """A folder was not where it was: forget all that is known of the mailbox."""
        with self._lock:
            self._ids = {key: folder for key, folder in self._ids.items() if key[0] != mailbox}


@dataclass(frozen=True, slots=True)
class GraphWay:
    """How Microsoft Graph is reached.

    Attributes:
        endpoint: its address, with the version.
        patience: seconds that one session waits for a server that says "not now", all in all.
        folders: which ids paths stood for.
    """

    endpoint: str = DEFAULT_GRAPH
    patience: float = 300
    folders: FolderIds = field(default_factory=FolderIds)
