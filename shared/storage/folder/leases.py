"""Leases as rows, by the machine's clock: a folder is one machine's."""

from __future__ import annotations

import time

from shared.errors import LeaseLost
from shared.storage.folder.database import Database


class FolderLeases:
    """Exclusive holds.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, seconds: int) -> str | None:
        """A token, or None if another holds the name."""
        token, now = self._database.holder.proof(), time.time()
        with self._database.writing() as connection:
            done = connection.execute(
                "INSERT INTO leases VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET token = excluded.token, "
                "seconds = excluded.seconds, expires = excluded.expires WHERE leases.expires <= ?",
                (name, token, seconds, now + seconds, now),
            )
            return token if done.rowcount else None

    def renew(self, name: str, token: str) -> None:
        """Begin the seconds anew. As with a blob's lease, one that ended is renewed if nobody took it since."""
        with self._database.writing() as connection:
            done = connection.execute(
                "UPDATE leases SET expires = ? + seconds WHERE name = ? AND token = ?", (time.time(), name, token)
            )
            if not done.rowcount:
                raise LeaseLost(f"the lease on {name} is held by another")

    def release(self, name: str, token: str) -> None:
        """Give it up."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM leases WHERE name = ? AND token = ?", (name, token))
