"""The SQLite database of queues, records and leases. Every write is durable when it returns."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from shared.errors import ServiceUnavailable
from shared.storage.folder.fsync import make_folder
from shared.storage.folder.group_commit import GroupCommit
from shared.storage.folder.holders import ProcessMarker
from shared.storage.folder.modes import OWNER_ONLY, FileModes
from shared.storage.folder.queries import INDEXES

Result = TypeVar("Result")

BUSY_MS = 30_000
"""Milliseconds that a writer waits for other writers, in any process."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, etag INTEGER NOT NULL, properties TEXT NOT NULL, PRIMARY KEY (kind, key)
);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body TEXT NOT NULL, inserted REAL NOT NULL,
    visible REAL NOT NULL, expires REAL, dequeued INTEGER NOT NULL DEFAULT 0, receipt TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (queue, visible);
CREATE TABLE IF NOT EXISTS leases (
    name TEXT PRIMARY KEY, token TEXT NOT NULL, seconds INTEGER NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
"""
"""The tables. The records have row ids: WITHOUT ROWID, a row of over 1,002 bytes, as most receipts have, would occupy a
page of its own, and cost three times the bytes and the time.
"""

_creating = threading.Lock()
"""Held while a database file is created and closed: closing it would drop the locks that SQLite holds on the file in
this process (fcntl(2)). A new file has no locks as long as no other thread opens it."""


def _create_tables(connection: sqlite3.Connection) -> None:
    for statement in (*SCHEMA.split(";"), *(index.sql for index in INDEXES)):
        connection.execute(statement)


class Database:
    """A SQLite database that several threads and processes use.

    One thread uses a connection at a time. Idle connections are kept, so there are at most as many connections as
    threads that needed one at the same time.

    Args:
        path: the database file, created with its folder if it does not exist.
        modes: the modes of new files and folders.

    Attributes:
        holder: this process as the owner of messages and leases.
    """

    def __init__(self, path: Path, modes: FileModes = OWNER_ONLY) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        # Writers of this process wait for each other here, instead of polling SQLite's lock.
        self._group = GroupCommit(self._connection)
        with self._mapped_errors():
            make_folder(path.parent, modes)
            # SQLite creates its journal files with the mode of this file.
            with _creating:
                modes.make_file(path)
            self.holder = ProcessMarker(path.parent, modes)
        try:
            self._set_wal()
            self.write(_create_tables)
        except BaseException:
            self.close()
            raise

    def _set_wal(self) -> None:
        """Set write-ahead logging, a property of the file, so that readers and the writer do not block each other."""
        deadline = time.monotonic() + BUSY_MS / 1000
        while True:
            try:
                with self.reading() as connection:
                    connection.execute("PRAGMA journal_mode = WAL")
            except ServiceUnavailable as error:
                # Two processes open a new file at the same time: SQLite applies no busy timeout to this statement.
                code = getattr(error.__cause__, "sqlite_errorcode", None)
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for reading."""
        with self._mapped_errors(), self._connection() as connection:
            yield connection

    def write(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a function in a transaction, and return its result after the transaction is durable.

        An error of the function undoes its changes. The function may run in another thread, with other functions in
        the same transaction (`GroupCommit`).
        """
        with self._mapped_errors():
            return self._group.write(function)

    def release_dead(self) -> int:
        """Make the messages of dead processes visible, end their leases, and return the number of both."""
        now = time.time()

        def release(connection: sqlite3.Connection) -> int:
            return sum(
                connection.execute(statement, (*values, f"{mark}.%")).rowcount
                for mark in marks
                for statement, values in (
                    ("UPDATE messages SET visible = ?, receipt = '' WHERE visible > ? AND receipt LIKE ?", (now, now)),
                    ("DELETE FROM leases WHERE token LIKE ?", ()),
                )
            )

        with self.holder.dead_marks() as marks:
            return self.write(release)

    def close(self) -> None:
        """Close the idle connections. A connection in use is closed after its use."""
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
                raise ServiceUnavailable(f"the storage database {self._path} is closed")
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            yield connection
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._idle.append(connection)
            if not keep:
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
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ServiceUnavailable(f"the storage database {self._path}: {error}") from error
