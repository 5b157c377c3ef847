"""Writers of one process share a transaction of the folder's database, and return after it is durable."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ServiceUnavailable
from shared.storage.base import Create, Delete, Storage, Table
from shared.storage.folder import group_commit
from shared.storage.folder.group_commit import GroupCommit
from tests.contract.folders import OPEN, ROOT, opened_at

WRITERS = 6


class Connection(sqlite3.Connection):
    """A connection that calls `before` with each statement."""

    before: Callable[[str], None] = staticmethod(lambda _statement: None)

    def execute(self, statement: str, *args: Any) -> sqlite3.Cursor:
        self.before(statement)
        return super().execute(statement, *args)


class Group:
    """A group commit on a database in memory, and the statements that end its transactions."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=Connection)
        self.connection.execute("CREATE TABLE rows (n INTEGER)")
        self.ends: list[str] = []
        self.at_commit: Callable[[], None] = lambda: None
        self.connection.before = self._before
        self.commit = GroupCommit(self._connect)
        self.pool = ThreadPoolExecutor(WRITERS + 1)

    def insert(self, n: int) -> int:
        def function(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT INTO rows VALUES (?)", (n,))
            return n

        return self.commit.write(function)

    def rows(self) -> list[int]:
        return [n for (n,) in self.connection.execute("SELECT n FROM rows ORDER BY n")]

    @contextmanager
    def waiting(self, writes: list[Callable[[], Any]]) -> Iterator[list[Future[Any]]]:
        """Start writes during a transaction, which ends with the context; they share the next transaction."""
        began, may_end = threading.Event(), threading.Event()

        def slow(_connection: sqlite3.Connection) -> None:
            began.set()
            may_end.wait(10)

        first = self.pool.submit(self.commit.write, slow)
        assert began.wait(10)
        futures = []
        for count, write in enumerate(writes, 1):
            futures.append(self.pool.submit(write))
            wait_until(lambda count=count: len(self.commit._queue) == count)  # type: ignore[misc]
        self.ends.clear()
        yield futures
        may_end.set()
        first.result(10)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        yield self.connection

    def _before(self, statement: str) -> None:
        if statement in ("COMMIT", "ROLLBACK"):
            self.ends.append(statement)
        if statement == "COMMIT":
            self.at_commit()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def group() -> Iterator[Group]:
    group = Group()
    yield group
    group.pool.shutdown()
    group.connection.close()


def inserts(group: Group) -> list[Callable[[], Any]]:
    return [lambda n=n: group.insert(n) for n in range(WRITERS)]  # type: ignore[misc]


def test_writers_that_wait_share_a_transaction(group: Group) -> None:
    with group.waiting(inserts(group)) as futures:
        assert not any(future.done() for future in futures)
    assert [future.result(10) for future in futures] == [*range(WRITERS)]
    assert group.ends == ["COMMIT"] * 2, "of the first writer, and of all others"
    assert group.rows() == [*range(WRITERS)]


def test_a_writer_returns_after_the_commit_with_its_changes(group: Group) -> None:
    committing, may_commit = threading.Event(), threading.Event()

    def at_commit() -> None:
        if len(group.ends) == 2:
            committing.set()
            may_commit.wait(10)

    group.at_commit = at_commit
    with group.waiting(inserts(group)) as futures:
        pass
    assert committing.wait(10)
    late = group.pool.submit(group.insert, 100)
    time.sleep(0.1)
    assert not any(future.done() for future in [*futures, late])
    may_commit.set()
    assert [future.result(10) for future in [*futures, late]] == [*range(WRITERS), 100]
    assert group.ends == ["COMMIT"] * 3


@pytest.mark.parametrize("position", [0, 2, WRITERS - 1])
def test_an_error_of_a_writer_undoes_its_own_changes(group: Group, position: int) -> None:
    def failing(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO rows VALUES (1000)")
        raise LookupError("mine")

    writes = inserts(group)
    writes[position] = lambda: group.commit.write(failing)
    with group.waiting(writes) as futures:
        pass
    failed = futures.pop(position)
    with pytest.raises(LookupError, match="mine"):
        failed.result(10)
    others = [n for n in range(WRITERS) if n != position]
    assert [future.result(10) for future in futures] == others
    assert group.rows() == others


def test_an_error_of_a_single_writer_undoes_its_changes(group: Group) -> None:
    def failing(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO rows VALUES (1000)")
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        group.commit.write(failing)
    assert group.rows() == []
    assert group.insert(1) == 1


def test_an_error_of_the_commit_reaches_all_writers_of_the_transaction(group: Group) -> None:
    def at_commit() -> None:
        if len(group.ends) == 2:
            raise sqlite3.OperationalError("disk I/O error")

    group.at_commit = at_commit
    with group.waiting(inserts(group)) as futures:
        pass
    for future in futures:
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            future.result(10)
    assert group.ends == ["COMMIT", "COMMIT", "ROLLBACK"]
    assert group.rows() == []
    assert group.insert(7) == 7
    assert group.rows() == [7]


def test_a_transaction_that_sqlite_rolled_back_fails_for_all_writers(group: Group) -> None:
    def rolled_back(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")  # as SQLite does when the disk is full
        raise sqlite3.OperationalError("database or disk is full")

    writes = inserts(group)
    writes[3] = lambda: group.commit.write(rolled_back)
    with group.waiting(writes) as futures:
        pass
    for future in futures:
        with pytest.raises(sqlite3.OperationalError, match="full"):
            future.result(10)
    assert group.rows() == []


@pytest.mark.parametrize("moment", ["function", "commit"])
def test_no_writer_succeeds_if_the_thread_with_the_transaction_is_interrupted(group: Group, moment: str) -> None:
    def interrupted(_connection: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    def at_commit() -> None:
        if len(group.ends) == 2:
            raise KeyboardInterrupt

    writes = inserts(group)
    if moment == "function":
        writes[3] = lambda: group.commit.write(interrupted)
    else:
        group.at_commit = at_commit
    with group.waiting(writes) as futures:
        pass
    errors = [type(future.exception(10)) for future in futures]
    assert errors.count(KeyboardInterrupt) == 1, "of the thread that made the transaction"
    assert errors.count(ServiceUnavailable) == WRITERS - 1
    assert group.rows() == []
    assert group.insert(7) == 7


def test_the_write_of_a_writer_that_stops_to_wait_is_not_made(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = group.commit._changed
    wait = changed.wait
    interrupted: list[int] = []

    def interrupted_wait() -> bool:
        if interrupted and threading.get_ident() == interrupted[0]:
            interrupted.clear()  # the thread may run another write
            raise KeyboardInterrupt
        return wait()

    monkeypatch.setattr(changed, "wait", interrupted_wait)

    def first() -> int:
        interrupted.append(threading.get_ident())
        return group.insert(1000)

    began, may_end = threading.Event(), threading.Event()

    def slow(_connection: sqlite3.Connection) -> None:
        began.set()
        may_end.wait(10)

    leader = group.pool.submit(group.commit.write, slow)
    assert began.wait(10)
    stopped, other = group.pool.submit(first), group.pool.submit(group.insert, 1)
    assert isinstance(stopped.exception(10), KeyboardInterrupt)
    may_end.set()
    leader.result(10)
    assert other.result(10) == 1
    assert group.rows() == [1]


def test_threads_conclude_and_create_at_the_same_time(folder_storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions with failed conditions, in the same groups as others, change nothing and hinder none."""
    sizes: list[int] = []
    commit = group_commit._commit

    def observed(connection: sqlite3.Connection, writes: list[Any]) -> None:
        sizes.append(len(writes))
        commit(connection, writes)

    monkeypatch.setattr(group_commit, "_commit", observed)
    records = folder_storage.records
    keys = [f"a{number:063x}" for number in range(50)]
    for key in keys:
        assert records.commit([Create(Table.OUTBOX, key, {"n": 0})])
    barrier = threading.Barrier(8)

    def work(thread: int) -> list[bool]:
        barrier.wait()
        return [
            records.commit([Create(Table.RECEIPTS, f"a{thread:x}{key[2:]}", {"n": 1}), Delete(Table.OUTBOX, key)])
            for key in keys
        ]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    assert [sum(won) for won in zip(*results, strict=True)] == [1] * len(keys)
    assert len(list(records.scan(Table.RECEIPTS))) == len(keys)
    assert not list(records.scan(Table.OUTBOX))
    assert max(sizes) > 1, "some shared a transaction"


KILLED = """
from threading import Thread
from shared.storage.base import Create
import os

def work(thread):
    for number in range(100_000):
        key = f"a{thread:x}{number:062x}"
        assert storage.records.commit([Create(Table.RECEIPTS, key, {"n": number})])
        os.write(1, f"{key}\\n".encode())

for thread in range(8):
    Thread(target=work, args=(thread,)).start()
"""


@pytest.mark.parametrize("attempt", range(3))
def test_a_killed_process_has_lost_no_write_that_returned(folder: Path, tmp_path: Path, attempt: int) -> None:
    printed = tmp_path / "printed"
    with printed.open("wb") as output:
        command = [sys.executable, "-c", OPEN + KILLED, str(folder), "0"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=output)
        wait_until(lambda: printed.stat().st_size > 65 * 100)
        time.sleep(0.05 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    keys = printed.read_text().split()
    storage = opened_at(folder)
    stored = {record.key for record in storage.records.scan(Table.RECEIPTS)}
    storage.close()
    assert len(keys) >= 100
    assert [key for key in keys if len(key) == 64 and key not in stored] == []
