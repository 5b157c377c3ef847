"""Records as rows of a SQLite table."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from shared.errors import WriteConflict
from shared.storage.base import MATCH_ALL, Change, Create, Filter, Merge, Record, Replace, Table, Values, storable_text
from shared.storage.folder.database import Database
from shared.storage.folder.queries import INDEXED, count_query, format_time, page_query
from shared.storage.transactions import check_transaction

BATCH_SIZE = 500
"""Keys in a query. Older builds of SQLite accept 999 parameters."""

FIRST_PAGE = 128
LARGEST_PAGE = 2048
"""Records in the first query of a scan, and in a later one at most: most readers stop early, or read everything."""


class FolderRecords:
    """The records in a database.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, table: Table, key: str) -> Record | None:
        """Return a record, or None if it does not exist."""
        return self.get_many(table, [key]).get(key)

    def get_many(self, table: Table, keys: Sequence[str]) -> dict[str, Record]:
        """Return the existing records of `keys`, by key."""
        records: dict[str, Record] = {}
        with self._database.reading() as connection:
            for start in range(0, len(keys), BATCH_SIZE):
                batch = keys[start : start + BATCH_SIZE]
                marks = ",".join("?" * len(batch))
                query = f"SELECT key, etag, properties FROM records WHERE kind = ? AND key IN ({marks})"  # noqa: S608  only question marks are inserted
                for row in connection.execute(query, (table.value, *batch)):
                    records[row[0]] = _to_record(row)
        return records

    def create(self, table: Table, key: str, values: Values) -> bool:
        """Create a record, and return whether it was created."""
        return not self.create_many(table, {key: values})

    def create_many(self, table: Table, rows: Mapping[str, Values]) -> set[str]:
        """Create the records that do not exist, and return the keys that existed already."""
        changes = {key: _prepared(Create(table, key, values)) for key, values in rows.items()}

        def create(connection: sqlite3.Connection) -> set[str]:
            return {key for key, change in changes.items() if not change(connection)}

        return self._database.write(create)

    def commit(self, changes: Sequence[Change]) -> bool:
        """Make all changes in one transaction, or none if a record is not as its change requires."""
        check_transaction(changes)
        prepared = [_prepared(change) for change in changes]

        def make(connection: sqlite3.Connection) -> None:
            for change in prepared:
                if not change(connection):
                    raise _ConditionNotMet

        try:
            self._database.write(make)
        except _ConditionNotMet:
            return False
        return True

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Set the given properties and keep the others."""
        self._change(Merge(table, key, values, etag))

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """Merge several records without etags."""
        changes = [_prepared(Merge(table, key, values)) for key, values in rows.items()]

        def merge(connection: sqlite3.Connection) -> None:
            for change in changes:
                change(connection)

        self._database.write(merge)

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Delete records."""
        rows = [(table.value, key) for key in keys]
        statement = "DELETE FROM records WHERE kind = ? AND key = ?"
        self._database.write(lambda connection: connection.executemany(statement, rows))

    def replace(self, table: Table, key: str, values: Values, *, etag: str) -> None:
        """Replace all properties of a record."""
        self._change(Replace(table, key, values, etag))

    def _change(self, change: Merge | Replace) -> None:
        if not self.commit([change]):
            raise WriteConflict(f"a record of {change.table} was changed by another process")

    def scan(self, table: Table, where: Filter = MATCH_ALL, *, page_size: int | None = None) -> Iterator[Record]:
        """Yield the records of a table that match."""
        del page_size  # A page needs no request: pages grow as the caller reads.
        return self._pages(table, where, newest_first=False)

    def scan_newest(self, table: Table, where: Filter = MATCH_ALL) -> Iterator[Record]:
        """Yield the records of a table that match and have the property `stored_at`, the latest first."""
        return self._pages(table, where, newest_first=True)

    def count(self, table: Table, by: Sequence[str], where: Filter = MATCH_ALL) -> dict[tuple[str, ...], int]:
        """Count the records that match by the texts of some properties."""
        query = count_query(table, by, where)
        with self._database.reading() as connection:
            rows = connection.execute(query.sql, query.parameters).fetchall()
        counts: Counter[tuple[str, ...]] = Counter()
        for count, *values in rows:
            counts[tuple(value or "" for value in values)] += count
        return counts

    def is_indexed(self, table: Table, name: str) -> bool:
        """Return whether records are looked up by a property, and no others are read."""
        return (table, name) in INDEXED

    def _pages(self, table: Table, where: Filter, *, newest_first: bool) -> Iterator[Record]:
        last: tuple[Any, Any] | None = None
        size = FIRST_PAGE
        while True:
            query = page_query(table, where, last, size, newest_first=newest_first)
            with self._database.reading() as connection:
                rows = connection.execute(query.sql, query.parameters).fetchall()
            yield from map(_to_record, rows)
            if len(rows) < size:
                return
            last = rows[-1][3:]
            # Where no index has the order, each page sorts all that is left.
            size = min(2 * size, LARGEST_PAGE)


class _ConditionNotMet(Exception):
    """A record is not as a change requires. This ends a transaction, and never leaves this module."""


def _prepared(change: Change) -> Callable[[sqlite3.Connection], bool]:
    """Return a function that makes a change, and returns whether the record was as the change requires.

    What can be done before the transaction is done here: other writers wait for the function.
    """
    table, key = change.table.value, change.key
    if isinstance(change, Merge):
        return partial(_merge, change)
    if isinstance(change, Create):
        statement = "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?)"
        parameters: tuple[str | int | None, ...] = (table, key, _etag(), _to_json(change.values))
    elif isinstance(change, Replace):
        statement = "UPDATE records SET etag = ?, properties = ? WHERE kind = ? AND key = ? AND CAST(etag AS TEXT) = ?"
        parameters = (_etag(), _to_json(change.values), table, key, change.etag)
    else:
        statement = "DELETE FROM records WHERE kind = ? AND key = ? AND (? IS NULL OR CAST(etag AS TEXT) = ?)"
        parameters = (table, key, change.etag, change.etag)
    return lambda connection: connection.execute(statement, parameters).rowcount > 0


def _merge(change: Merge, connection: sqlite3.Connection) -> bool:
    table, key = change.table.value, change.key
    row = connection.execute(
        "SELECT key, etag, properties FROM records WHERE kind = ? AND key = ?", (table, key)
    ).fetchone()
    if change.etag is not None and (row is None or str(row[1]) != change.etag):
        return False
    values = change.values if row is None else {**_to_record(row).values, **change.values}
    # Not OR REPLACE, which would give the record another row, and so each of its index entries.
    connection.execute(
        "INSERT INTO records VALUES (?, ?, ?, ?) "
        "ON CONFLICT (kind, key) DO UPDATE SET etag = excluded.etag, properties = excluded.properties",
        (table, key, _etag(), _to_json(values)),
    )
    return True


def _etag() -> int:
    # Random and not a counter: a record that was deleted and created again must have another etag.
    return secrets.randbits(62)


def _to_json(values: Values) -> str:
    return json.dumps(
        {
            name: {"t": format_time(value)}
            if isinstance(value, datetime)
            else storable_text(value)
            if isinstance(value, str)
            else value
            for name, value in values.items()
        }
    )


def _to_record(row: tuple[Any, ...]) -> Record:
    values = {
        name: datetime.fromisoformat(value["t"]) if isinstance(value, dict) else value
        for name, value in json.loads(row[2]).items()
    }
    return Record(row[0], values, str(row[1]))
