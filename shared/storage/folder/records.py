"""Records as rows of a SQLite table."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.errors import WriteConflict
from shared.storage.base import (
    MATCH_ALL,
    Change,
    Create,
    Delete,
    Filter,
    Merge,
    Record,
    Replace,
    Table,
    Values,
    storable_text,
)
from shared.storage.folder.database import Database
from shared.storage.folder.queries import INDEXED, count_query, format_time, page_query
from shared.storage.transactions import check_transaction

BATCH_SIZE = 500
"""Keys in a query. Older builds of SQLite accept 999 parameters."""

MAX_INSERTED = 200
"""Records that one statement inserts at most, with four parameters each."""

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
        statements = _prepare([Create(table, key, values) for key, values in rows.items()])

        def create(connection: sqlite3.Connection) -> set[str]:
            created = [key for statement in statements for key in statement.changed_keys(connection)]
            return rows.keys() - created

        return self._database.write(create)

    def commit(self, changes: Sequence[Change]) -> bool:
        """Make all changes in one transaction, or none if a record is not as its change requires."""
        check_transaction(changes)
        statements = _prepare(changes)

        def make(connection: sqlite3.Connection) -> None:
            for statement in statements:
                if statement.execute(connection) < statement.expected:
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
        statements = _prepare([Merge(table, key, values) for key, values in rows.items()])

        def merge(connection: sqlite3.Connection) -> None:
            for statement in statements:
                statement.execute(connection)

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


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement that changes records.

    Attributes:
        sql: its text.
        parameters: its parameters.
        expected: the number of records that it has to change.
    """

    sql: str
    parameters: Sequence[str | int | None]
    expected: int = 1

    def execute(self, connection: sqlite3.Connection) -> int:
        """Execute the statement, and return how many records it changed."""
        return connection.execute(self.sql, self.parameters).rowcount

    def changed_keys(self, connection: sqlite3.Connection) -> list[str]:
        """Execute the statement, and return the key of each record that it changed."""
        return [key for (key,) in connection.execute(f"{self.sql} RETURNING key", self.parameters)]


def _prepare(changes: Sequence[Change]) -> list[_Statement]:
    """Return statements that make changes of different records.

    What can be done before the transaction is done here: other writers wait for the transaction. One statement creates
    or merges many records: each execution lets other threads run, and has to wait for them.
    """
    creates: list[Create] = []
    merges: list[Merge] = []
    others: list[_Statement] = []
    for change in changes:
        if isinstance(change, Create):
            creates.append(change)
        elif isinstance(change, Merge) and change.etag is None:
            merges.append(change)
        else:
            others.append(_conditional(change))
    return [*_insertions(creates, "DO NOTHING"), *_insertions(merges, _MERGE), *others]


_MERGE: Final = (
    # Not OR REPLACE, which would give the record another row, and so each of its index entries.
    "DO UPDATE SET etag = excluded.etag, properties = json_patch(properties, excluded.properties)"
)


def _insertions(changes: Sequence[Create | Merge], conflict: str) -> Iterator[_Statement]:
    """Yield statements that insert records, of up to `MAX_INSERTED` each.

    Args:
        changes: the creations, or the merges without etags.
        conflict: what to do with a record that exists.
    """
    for start in range(0, len(changes), MAX_INSERTED):
        group = changes[start : start + MAX_INSERTED]
        rows = ", ".join(["(?, ?, ?, ?)"] * len(group))
        parameters = [
            parameter
            for change in group
            for parameter in (change.table.value, change.key, _etag(), _to_json(change.values))
        ]
        sql = f"INSERT INTO records VALUES {rows} ON CONFLICT (kind, key) {conflict}"  # noqa: S608  fixed texts
        yield _Statement(sql, parameters, len(group))


def _conditional(change: Merge | Replace | Delete) -> _Statement:
    """Return the statement of a change that requires an etag, or of a deletion."""
    record = (change.table.value, change.key)
    has_etag = "kind = ? AND key = ? AND CAST(etag AS TEXT) = ?"
    if isinstance(change, Merge):
        sql = f"UPDATE records SET etag = ?, properties = json_patch(properties, ?) WHERE {has_etag}"  # noqa: S608  fixed texts
        return _Statement(sql, (_etag(), _to_json(change.values), *record, change.etag))
    if isinstance(change, Replace):
        sql = f"UPDATE records SET etag = ?, properties = ? WHERE {has_etag}"  # noqa: S608  likewise
        return _Statement(sql, (_etag(), _to_json(change.values), *record, change.etag))
    sql = "DELETE FROM records WHERE kind = ? AND key = ? AND (? IS NULL OR CAST(etag AS TEXT) = ?)"
    return _Statement(sql, (*record, change.etag, change.etag))


def _etag() -> int:
    # Random and not a counter: a record that was deleted and created again must have another etag. Not `secrets`, which
    # asks the system each time, and lets other threads run meanwhile.
    return random.getrandbits(62)


def _to_json(values: Values) -> str:
    text = _encode(dict(values))
    if _SURROGATE not in text:
        return text
    return _encode({name: storable_text(value) if isinstance(value, str) else value for name, value in values.items()})


def _encode_time(time: datetime) -> dict[str, str]:
    return {"t": format_time(time)}


_encode = json.JSONEncoder(default=_encode_time).encode
"""Encodes as JSON in ASCII. `json.dumps` would build an encoder for each call."""

_SURROGATE: Final = "\\ud"
"""How the code of a surrogate begins in JSON, which a lone one and each of a pair has. So do the codes of a few
letters (U+D000 to U+D7FF), whose texts are encoded twice.
"""


def _to_record(row: tuple[Any, ...]) -> Record:
    values = {
        name: datetime.fromisoformat(value["t"]) if isinstance(value, dict) else value
        for name, value in json.loads(row[2]).items()
    }
    return Record(row[0], values, str(row[1]))
