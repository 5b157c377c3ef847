"""Records as rows of a SQLite table."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from shared.errors import WriteConflict
from shared.storage.base import (
    MATCH_ALL,
    Change,
    Create,
    Filter,
    Merge,
    Record,
    Replace,
    Table,
    Values,
    check_transaction,
    prefix_upper_bound,
    storable_text,
)
from shared.storage.folder.database import Database

BATCH_SIZE = 500
"""Keys or rows in a query. Older builds of SQLite accept 999 parameters."""


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

    def scan(self, table: Table, where: Filter = MATCH_ALL) -> Iterator[Record]:
        """Yield the records of a table that match."""
        terms, parameters = _to_sql(where)
        query = " ".join(
            ["SELECT key, etag, properties FROM records WHERE kind = ? AND key > ?", *terms, "ORDER BY key LIMIT ?"]
        )
        last_key = ""
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(query, (table.value, last_key, *parameters, BATCH_SIZE)).fetchall()
            if not rows:
                return
            yield from map(_to_record, rows)
            last_key = rows[-1][0]


def _to_sql(where: Filter) -> tuple[list[str], list[str | bool]]:
    """Return SQL conditions and their parameters. The names of properties are parameters, too."""
    terms: list[str] = []
    parameters: list[str | bool] = []
    if where.key_prefix:
        terms.append("AND key >= ? AND key < ?")
        parameters += [where.key_prefix, prefix_upper_bound(where.key_prefix)]
    for name, value in where.equal.items():
        # SQLite extracts JSON booleans as numbers; their JSON types are `true` and `false`.
        terms.append(f"AND {'json_extract' if isinstance(value, str) else 'json_type'}(properties, ?) = ?")
        parameters += [f"$.{name}", storable_text(value) if isinstance(value, str) else json.dumps(value)]
    for name, prefix in where.prefixes.items():
        terms.append("AND json_extract(properties, ?) >= ? AND json_extract(properties, ?) < ?")
        parameters += [f"$.{name}", prefix, f"$.{name}", prefix_upper_bound(prefix)]
    for limit, comparison in ((where.since, ">="), (where.until, "<")):
        if limit is not None:
            terms.append(f"AND json_extract(properties, ?) {comparison} ?")
            parameters += [f"$.{where.time_property}.t", _format_time(limit)]
    return terms, parameters


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
    connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", (table, key, _etag(), _to_json(values)))
    return True


def _etag() -> int:
    # Random and not a counter: a record that was deleted and created again must have another etag.
    return secrets.randbits(62)


def _to_json(values: Values) -> str:
    return json.dumps(
        {
            name: {"t": _format_time(value)}
            if isinstance(value, datetime)
            else storable_text(value)
            if isinstance(value, str)
            else value
            for name, value in values.items()
        }
    )


def _format_time(time: datetime) -> str:
    # In UTC, so that the texts sort like the times.
    return time.astimezone(UTC).isoformat()


def _to_record(row: tuple[str, int, str]) -> Record:
    values = {
        name: datetime.fromisoformat(value["t"]) if isinstance(value, dict) else value
        for name, value in json.loads(row[2]).items()
    }
    return Record(row[0], values, str(row[1]))
