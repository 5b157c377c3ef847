"""The SQLite file behind queues, records and leases: every write is durable when it returns."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ServiceUnavailable
from shared.storage.folder.fsync import make_folder
from shared.storage.folder.holders import ProcessMarker
from shared.storage.folder.modes import OWNER_ONLY, FileModes

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

_creating = threading.Lock()
"""Held while a file is made and closed: closing a file drops the locks that SQLite has on it in this process
(fcntl(2)). A file that has just been made has none, unless another thread opens it meanwhile."""


class Database:
    """A SQLite file that several threads and processes use.

    A connection is one thread's while it is used, and kept for the next one: there are never more than threads that
    asked at the same time, however many threads come and go.

    Args:
        path: made, with its folder, if it is not there.
        modes: those of a new file and a new folder.

    Attributes:
        holder: this process, as the owner of messages and leases.
    """

    def __init__(self, path: Path, modes: FileModes = OWNER_ONLY) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        # Writers of one process queue here, in order, instead of polling SQLite's own lock.
        self._writing = threading.Lock()
        with self._mapped():
            make_folder(path.parent, modes)
            # SQLite gives the mode of this file to those that it makes beside it.
            with _creating:
                modes.make_file(path)
            self.holder = ProcessMarker(path.parent, modes)
        try:
            self._set_wal()
            with self.writing() as connection:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
        except BaseException:
            self.close()
            raise

    def _set_wal(self) -> None:
        """Have readers and the writer not stop each other. It is a property of the file."""
        until = time.monotonic() + BUSY_MS / 1000
        while True:
            try:
                with self.reading() as connection:
                    connection.execute("PRAGMA journal_mode = WAL")
            except ServiceUnavailable as error:
                # Two processes that open a new file at once: this statement does not wait its turn as others do.
                code = getattr(error.__cause__, "sqlite_errorcode", None)
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with."""
        with self._mapped(), self._connection() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction, which is committed, durably, when the context ends well."""
        with self._writing, self._mapped(), self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite itself has ended the transaction after some errors, a full disk among them.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def release_dead(self) -> int:
        """Make messages visible, and leases free, that dead processes held. Return their number."""
        now = time.time()
        with self.holder.dead() as marks, self.writing() as connection:
            return sum(
                connection.execute(statement, (*values, f"{mark}.%")).rowcount
                for mark in marks
                for statement, values in (
                    ("UPDATE messages SET visible = ?, receipt = '' WHERE visible > ? AND receipt LIKE ?", (now, now)),
                    ("DELETE FROM leases WHERE token LIKE ?", ()),
                )
            )

    def close(self) -> None:
        """Close all connections; one that is being used is closed by who uses it."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self.holder.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise ServiceUnavailable(f"the storage's database {self._path} is closed")
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            yield connection
        finally:
            with self._lock:
                kept = not self._closed
                if kept:
                    self._idle.append(connection)
            if not kept:
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ServiceUnavailable(f"the storage's database {self._path}: {error}") from error
