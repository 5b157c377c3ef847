"""Group commit: writers of one process that wait at the same time share one durable SQLite transaction.

A commit waits for the disk, for longer than the statements of many writers take. While one thread commits, the others
queue their writes; then one of them makes all of these in the next transaction.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from shared.errors import ServiceUnavailable

Result = TypeVar("Result")


class GroupCommit:
    """Makes writes in transactions that they share.

    Args:
        connect: lends a connection, which no other thread uses meanwhile.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self._connect = connect
        self._changed = threading.Condition()
        self._queue: list[_Write] = []
        self._leader: _Write | None = None
        """The write whose thread makes a transaction at present."""

    def write(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a function in a transaction, and return its result after the transaction is durable.

        The function may run in the thread of another writer. Its error undoes its own changes only, and is raised here.

        Args:
            function: executes statements on the connection that it gets; does not begin or end a transaction.

        Raises:
            sqlite3.Error: the transaction failed. Nothing was changed.
            ServiceUnavailable: the thread that made the transaction was interrupted. It may have been committed.
        """
        write, group = _Write(function), list[_Write]()
        try:
            with self._changed:
                self._queue.append(write)
                while self._leader is not None and not write.is_finished:
                    self._changed.wait()
                if not write.is_finished:
                    self._leader = write
                    group, self._queue = self._queue, []
            if group:
                with self._connect() as connection:
                    _commit(connection, group)
        except Exception as error:  # noqa: BLE001  raised below, and by the other writers
            for member in group:
                member.error = error
        finally:
            # Also after an interruption (KeyboardInterrupt), which ends a wait, a function or a commit.
            with self._changed:
                if write in self._queue:
                    self._queue.remove(write)
                if self._leader is write:
                    self._leader = None
                    for member in group:
                        member.is_finished = True
                    self._changed.notify_all()
        if write.error is not None:
            try:
                raise write.error
            finally:
                del write, group  # would form a reference cycle with the error's traceback
        result: Result = write.result
        return result


class _Write:
    """A function that a writer waits for.

    Attributes:
        function: the function.
        result: what the function returned.
        error: the error to raise in the writer's thread; None only after the commit.
        is_finished: whether the transaction ended.
    """

    def __init__(self, function: Callable[[sqlite3.Connection], Any]) -> None:
        self.function = function
        self.result: Any = None
        self.error: Exception | None = ServiceUnavailable("a write was interrupted")
        self.is_finished = False


def _commit(connection: sqlite3.Connection, writes: Sequence[_Write]) -> None:
    """Make writes in one transaction, and set their results or errors after the commit.

    Raises:
        Exception: no write was made: SQLite's error, or that of a single write.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if len(writes) == 1:  # its error may end the transaction: no savepoint is necessary
            outcomes: list[tuple[Any, Exception | None]] = [(writes[0].function(connection), None)]
        else:
            outcomes = [_make(connection, write) for write in writes]
        connection.execute("COMMIT")
    except BaseException:
        # After some errors, such as a full disk, SQLite has already rolled back.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    for write, (result, error) in zip(writes, outcomes, strict=True):
        write.result, write.error = result, error


def _make(connection: sqlite3.Connection, write: _Write) -> tuple[Any, Exception | None]:
    """Run a write's function, and return its result or its error, which undoes its changes.

    Raises:
        sqlite3.Error: SQLite has rolled back the whole transaction.
    """
    connection.execute("SAVEPOINT write")
    try:
        result = write.function(connection)
    except Exception as error:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO write")
        connection.execute("RELEASE write")
        return None, error
    connection.execute("RELEASE write")
    return result, None
