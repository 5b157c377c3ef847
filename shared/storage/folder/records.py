"""Records as rows."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from shared.errors import WriteConflict
from shared.storage.base import EVERYWHERE, Filter, Record, Table, Value, Values
from shared.storage.folder.database import Database
from shared.storage.texts import prefix_upper_bound, storable_text

AT_ONCE = 500
"""Keys in one query: SQLite takes 999 parameters in its older builds."""


class FolderRecords:
    """The tables.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, table: Table, key: str) -> Record | None:
        """One record, or None."""
        return self.get_many(table, [key]).get(key)

    def get_many(self, table: Table, keys: Sequence[str]) -> dict[str, Record]:
        """Those of `keys` that are there."""
        found: dict[str, Record] = {}
        with self._database.reading() as connection:
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, etag, properties FROM records WHERE kind = ? AND key IN ({marks})"  # noqa: S608  question marks alone
                for row in connection.execute(query, (table.value, *some)):
                    found[row[0]] = _record(row)
        return found

    def create(self, table: Table, key: str, values: Values) -> bool:
        """Create a record if there is none."""
        return not self.create_many(table, {key: values})

    def create_many(self, table: Table, rows: Mapping[str, Values]) -> set[str]:
        """Create those that are not there; gives the keys that were."""
        there = set()
        with self._database.writing() as connection:
            for key, values in rows.items():
                done = connection.execute(
                    "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?)", (table.value, key, _etag(), _text(values))
                )
                if not done.rowcount:
                    there.add(key)
        return there

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Set some properties."""
        with self._database.writing() as connection:
            _merge(connection, table, key, values, etag)

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """Set some properties of several."""
        with self._database.writing() as connection:
            for key, values in rows.items():
                _merge(connection, table, key, values, None)

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Remove records."""
        with self._database.writing() as connection:
            connection.executemany(
                "DELETE FROM records WHERE kind = ? AND key = ?", [(table.value, key) for key in keys]
            )

    def replace(self, table: Table, key: str, values: Values, *, etag: str) -> None:
        """Write a record anew."""
        with self._database.writing() as connection:
            done = connection.execute(
                "UPDATE records SET etag = ?, properties = ? WHERE kind = ? AND key = ? AND CAST(etag AS TEXT) = ?",
                (_etag(), _text(values), table.value, key, etag),
            )
            if not done.rowcount:
                raise WriteConflict(f"a record of {table} was changed by another in between")

    def scan(self, table: Table, where: Filter = EVERYWHERE) -> Iterator[Record]:
        """Those records of a table that are meant."""
        terms, parameters = _terms(where)
        query = " ".join(
            ["SELECT key, etag, properties FROM records WHERE kind = ? AND key > ?", *terms, "ORDER BY key LIMIT ?"]
        )
        after = ""
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(query, (table.value, after, *parameters, AT_ONCE)).fetchall()
            if not rows:
                return
            yield from map(_record, rows)
            after = rows[-1][0]


def _terms(where: Filter) -> tuple[list[str], list[str | bool]]:
    """What is meant, as conditions and their parameters; the names of properties are parameters too."""
    terms: list[str] = []
    parameters: list[str | bool] = []
    if where.key:
        terms.append("AND key >= ? AND key < ?")
        parameters += [where.key, prefix_upper_bound(where.key)]
    for name, value in where.equal.items():
        # Taken out of JSON, truth values are numbers to SQLite; as types they are `true` and `false`.
        terms.append(f"AND {'json_extract' if isinstance(value, str) else 'json_type'}(properties, ?) = ?")
        parameters += [f"$.{name}", storable_text(value) if isinstance(value, str) else json.dumps(value)]
    for name, beginning in where.begins.items():
        terms.append("AND json_extract(properties, ?) >= ? AND json_extract(properties, ?) < ?")
        parameters += [f"$.{name}", beginning, f"$.{name}", prefix_upper_bound(beginning)]
    for moment, comparison in ((where.since, ">="), (where.until, "<")):
        if moment is not None:
            terms.append(f"AND json_extract(properties, ?) {comparison} ?")
            parameters += [f"$.{where.time}.t", _moment(moment)]
    return terms, parameters


def _merge(connection: sqlite3.Connection, table: Table, key: str, values: Values, etag: str | None) -> None:
    row = connection.execute(
        "SELECT key, etag, properties FROM records WHERE kind = ? AND key = ?", (table.value, key)
    ).fetchone()
    if etag is not None and (row is None or str(row[1]) != etag):
        raise WriteConflict(f"a record of {table} was changed by another in between")
    before: dict[str, Value] = {} if row is None else _record(row).values
    connection.execute(
        "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)",
        (table.value, key, _etag(), _text({**before, **values})),
    )


def _etag() -> int:
    # Not a count: a record that was removed and made again must not look like the one before it.
    return secrets.randbits(62)


def _text(values: Values) -> str:
    return json.dumps(
        {
            name: {"t": _moment(value)}
            if isinstance(value, datetime)
            else storable_text(value)
            if isinstance(value, str)
            else value
            for name, value in values.items()
        }
    )


def _moment(time: datetime) -> str:
    # In UTC, and so texts that sort as the moments do.
    return time.astimezone(UTC).isoformat()


def _record(row: tuple[str, int, str]) -> Record:
    values = {
        name: datetime.fromisoformat(value["t"]) if isinstance(value, dict) else value
        for name, value in json.loads(row[2]).items()
    }
    return Record(row[0], values, str(row[1]))
