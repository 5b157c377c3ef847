"""Queues as rows, with visibility timeouts, dequeue counts and pop receipts as in Queue Storage."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from shared.storage.base import QueueItem
from shared.storage.folder.database import Database


class FolderQueue:
    """A queue in a database.

    Args:
        database: the database.
        name: the name of the queue.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        """Put messages."""
        now = time.time()
        expires = None if ttl is None else now + ttl
        rows = [(self._name, body, now, now + delay, expires) for body in bodies]
        statement = "INSERT INTO messages (queue, body, inserted, visible, expires) VALUES (?, ?, ?, ?, ?)"
        self._database.write(lambda connection: connection.executemany(statement, rows))

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        """Return visible messages, oldest first, and hide them."""
        now = time.time()
        query = "SELECT id FROM messages WHERE queue = ? AND visible <= ? AND (expires IS NULL OR expires > ?)"
        with self._database.reading() as connection:
            if connection.execute(query + " LIMIT 1", (self._name, now, now)).fetchone() is None:
                return []  # an idle queue is polled often, so this must not write

        def hide(connection: sqlite3.Connection) -> list[QueueItem]:
            ids = connection.execute(query + " ORDER BY visible, id LIMIT ?", (self._name, now, now, count)).fetchall()
            items = []
            for (message_id,) in ids:
                receipt = self._database.holder.new_token()
                row = connection.execute(
                    "UPDATE messages SET visible = ?, dequeued = dequeued + 1, receipt = ? WHERE id = ? "
                    "RETURNING body, dequeued, inserted",
                    (now + hidden_for, receipt, message_id),
                ).fetchone()
                items.append(QueueItem(str(message_id), receipt, row[0], row[1], datetime.fromtimestamp(row[2], UTC)))
            connection.execute("DELETE FROM messages WHERE queue = ? AND expires <= ?", (self._name, now))
            return items

        return self._database.write(hide)

    def delete(self, item: QueueItem) -> None:
        """Delete a received message, unless it has been received again since."""
        self._change("DELETE FROM messages WHERE id = ? AND receipt = ?", (int(item.id), item.receipt))

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        """Make a received message visible again, unless it has been received again since."""
        self._change(
            # Without an owner: the delay must not end with the process.
            "UPDATE messages SET visible = ?, receipt = '' WHERE id = ? AND receipt = ?",
            (time.time() + delay, int(item.id), item.receipt),
        )

    def renew(self, item: QueueItem, *, hidden_for: float) -> QueueItem | None:
        """Hide a received message for longer. The receipt, which names the owner, stays."""
        rows = self._change(
            "UPDATE messages SET visible = ? WHERE id = ? AND receipt = ?",
            (time.time() + hidden_for, int(item.id), item.receipt),
        )
        return item if rows else None

    def _change(self, statement: str, parameters: tuple[str | float, ...]) -> int:
        """Execute a statement, and return the number of changed rows."""
        return self._database.write(lambda connection: connection.execute(statement, parameters).rowcount)

    def forward(self, item: QueueItem, *, ttl: float) -> None:
        """Put a message of another queue on this queue."""
        self.put_many([item.body], ttl=ttl)

    def length(self) -> int:
        """Return the number of messages."""
        with self._database.reading() as connection:
            count = connection.execute(
                "SELECT COUNT(*) FROM messages WHERE queue = ? AND (expires IS NULL OR expires > ?)",
                (self._name, time.time()),
            ).fetchone()
        return int(count[0])
