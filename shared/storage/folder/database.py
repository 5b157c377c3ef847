"""The SQLite file behind queues, records and leases: one connection a thread, every write durable when it returns."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ServiceUnavailable

BUSY_MS = 30_000
"""Milliseconds that a writer waits for another, in this process or another one."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, etag INTEGER NOT NULL, properties TEXT NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body TEXT NOT NULL, inserted REAL NOT NULL,
    visible REAL NOT NULL, expires REAL, dequeued INTEGER NOT NULL DEFAULT 0, receipt TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (queue, visible);
CREATE TABLE IF NOT EXISTS leases (
    name TEXT PRIMARY KEY, token TEXT NOT NULL, seconds INTEGER NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
"""


class Database:
    """A SQLite file that several threads and processes use.

    Args:
        path: made, with its folder, if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        # Writers of one process queue here, in order, instead of polling SQLite's own lock.
        self._writing = threading.Lock()
        with self._mapped():
            path.parent.mkdir(parents=True, exist_ok=True)
            # WAL: readers and the writer do not stop each other. It is a property of the file.
            self._connection().execute("PRAGMA journal_mode = WAL")
            with self.writing() as connection:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with."""
        with self._mapped():
            yield self._connection()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction, which is committed, durably, when the context ends well."""
        with self._writing, self._mapped():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
            self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # Used by its own thread alone; closed by whoever closes the database.
            connection = sqlite3.connect(
                self._path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA synchronous = FULL")
            with self._lock:
                self._all.append(connection)
            self._local.connection = connection
        return connection

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ServiceUnavailable(f"the storage's database {self._path}: {error}") from error
