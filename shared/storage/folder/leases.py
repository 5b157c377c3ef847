"""Leases as rows. The machine measures the time, since a folder belongs to one machine."""

from __future__ import annotations

import time

from shared.errors import LeaseLost
from shared.storage.folder.database import Database


class FolderLeases:
    """Leases in a database.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, seconds: int) -> str | None:
        """Return a token, or None if the lease is held."""
        token, now = self._database.holder.new_token(), time.time()
        rows = self._change(
            "INSERT INTO leases VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET token = excluded.token, "
            "seconds = excluded.seconds, expires = excluded.expires WHERE leases.expires <= ?",
            (name, token, seconds, now + seconds, now),
        )
        return token if rows else None

    def renew(self, name: str, token: str) -> None:
        """Extend a lease by its full duration, even an ended one that was not acquired since, as blob leases do."""
        rows = self._change(
            "UPDATE leases SET expires = ? + seconds WHERE name = ? AND token = ?", (time.time(), name, token)
        )
        if not rows:
            raise LeaseLost(f"the lease on {name} ended, or another worker holds it")

    def release(self, name: str, token: str) -> None:
        """End a lease, unless the token does not hold it any more."""
        self._change("DELETE FROM leases WHERE name = ? AND token = ?", (name, token))

    def _change(self, statement: str, parameters: tuple[str | float, ...]) -> int:
        """Execute a statement, and return the number of changed rows."""
        return self._database.write(lambda connection: connection.execute(statement, parameters).rowcount)
