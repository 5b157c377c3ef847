"""Records as table entities, in partitions by the first hex digits of the key: 256 in most tables."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import EdmType, EntityProperty, TableClient, UpdateMode

from shared.errors import WriteConflict
from shared.storage.azure.accounts import StorageAccount
from shared.storage.azure.errors import Service, error_code
from shared.storage.azure.lazy_create import LazyResource
from shared.storage.azure.transactions import create_entities
from shared.storage.base import (
    MATCH_ALL,
    PARTITION_DIGITS,
    Filter,
    Record,
    Table,
    Value,
    Values,
    check_transaction,
    partition_of,
    prefix_upper_bound,
    storable_text,
)

MAX_PROPERTY_LENGTH = 15_000
"""Characters in a property. The service's limit is 32 Ki UTF-16 code units, and a character has up to two."""

_PIECE_SEPARATOR = "__"
"""Separates a property's name and the number of a further piece of a long text. No property's name contains it."""

_COUNT_MARK = "\u241e"
"""Encloses the number of pieces, before the first piece. A text that begins with it is stored as one counted piece."""

_EXISTS = frozenset({"EntityAlreadyExists"})
_MISSING = frozenset({"ResourceNotFound", "EntityNotFound"})
"""Error codes: the record does not exist. The code of a missing table (also 404) does not imply that."""

_MODIFIED = frozenset({"UpdateConditionNotSatisfied", "ConditionNotMet"})
"""Error codes: the record has another etag."""


Argument = TypeVar("Argument")
Result = TypeVar("Result")


class AzureRecords:
    """The records in the tables of an account.

    Args:
        account: the account that has the tables.
        container: the mail's container. The tables' names contain it, so that two installations can share an account.
    """

    def __init__(self, account: StorageAccount, container: str) -> None:
        self._pool = account.pool
        # A table's name has 3 to 63 letters and digits, and begins with a letter. Other container names are hashed.
        prefix = (
            container
            if re.fullmatch(r"[a-z][a-z0-9]{1,39}", container)
            else "m" + hashlib.sha256(container.encode()).hexdigest()[:16]
        )
        self._tables = {table: account.table(f"{prefix}{table}") for table in Table}
        self._resources = {
            table: LazyResource(account.setting, Service.TABLE, client.create_table, is_emulator=account.is_emulator)
            for table, client in self._tables.items()
        }

    def get(self, table: Table, key: str) -> Record | None:
        """Return a record, or None if it does not exist."""
        with self._resources[table].used():
            return _get(table, self._tables[table], key)

    def get_many(self, table: Table, keys: Sequence[str]) -> dict[str, Record]:
        """Return the existing records of `keys`, by key."""
        records = self._run_each(table, _get, keys)
        return {record.key: record for record in records if record is not None}

    def create(self, table: Table, key: str, values: Values) -> bool:
        """Create a record, and return whether it was created."""
        return not self.create_many(table, {key: values})

    def create_many(self, table: Table, rows: Mapping[str, Values]) -> set[str]:
        """Create the records that do not exist, and return the keys that existed already."""
        created = self._run_each(table, _create, rows.items())
        return {key for key, is_new in zip(rows, created, strict=True) if not is_new}

    def create_together(self, table: Table, rows: Mapping[str, Values]) -> bool:
        """Create all of the records in one transaction, or none if one of them exists."""
        check_transaction(table, rows)
        if len(rows) == 1:
            return not self.create_many(table, rows)
        entities = [_to_entity(table, *row) for row in rows.items()]
        with self._resources[table].used():
            try:
                create_entities(self._tables[table], entities)
            except HttpResponseError as error:
                # Also after a lost reply, if the transaction took effect: the SDK sent it again.
                if error_code(error) in _EXISTS:
                    return False
                raise
        return True

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Set the given properties and keep the others."""
        with self._resources[table].used():
            if etag is None:
                _merge(table, self._tables[table], (key, values))
                return
            self._update(table, _to_entity(table, key, values), etag, UpdateMode.MERGE)

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """Merge several records without etags."""
        self._run_each(table, _merge, rows.items())

    def replace(self, table: Table, key: str, values: Values, *, etag: str) -> None:
        """Replace all properties of a record, including the further pieces of long texts."""
        with self._resources[table].used():
            self._update(table, _to_entity(table, key, values), etag, UpdateMode.REPLACE)

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Delete records."""
        self._run_each(table, _delete, list(keys))

    def scan(self, table: Table, where: Filter = MATCH_ALL) -> Iterator[Record]:
        """Yield the records of a table that match."""
        return self._scan(table, where)

    def scan_newest(self, table: Table, where: Filter = MATCH_ALL) -> Iterator[Record]:
        """Yield the records that match and have the property `stored_at`. A table has no order by it: all are read."""
        records = [record for record in self._scan(table, where) if "stored_at" in record.values]
        yield from sorted(records, key=lambda record: (record.values["stored_at"], record.key), reverse=True)

    def count(self, table: Table, by: Sequence[str], where: Filter = MATCH_ALL) -> dict[tuple[str, ...], int]:
        """Count the records that match by the texts of some properties. All are read, without other properties."""
        # `_scan` compares further properties, and all pieces of their texts.
        records = self._scan(table, where, properties=() if where.equal else by)
        return Counter(tuple(str(record.values.get(name, "")) for name in by) for record in records)

    def is_indexed(self, table: Table, name: str) -> bool:
        """Return False: a table has an index on its keys alone."""
        del table, name
        return False

    def _scan(self, table: Table, where: Filter, properties: Sequence[str] = ()) -> Iterator[Record]:
        """Yield the records that match, with the named properties; empty: all."""
        query, parameters = _to_odata(table, where)
        equal = {name: storable_text(value) if isinstance(value, str) else value for name, value in where.equal.items()}
        select = ["PartitionKey", "RowKey", *properties] if properties else None
        client = self._tables[table]
        with self._resources[table].used():
            entities = (
                client.query_entities(query, parameters=parameters, select=select)
                if query
                else client.list_entities(select=select)
            )
            for record in map(_to_record, entities):
                # The service compares only the first piece of a long text.
                if all(record.values.get(name) == value for name, value in equal.items()):
                    yield record

    def _update(self, table: Table, entity: dict[str, Any], etag: str, mode: UpdateMode) -> None:
        try:
            self._tables[table].update_entity(
                entity, mode=mode, etag=etag, match_condition=MatchConditions.IfNotModified
            )
        except HttpResponseError as error:
            if error_code(error) in _MODIFIED | _MISSING:
                raise WriteConflict(f"a record of {table} was changed by another process") from None
            raise

    def _run_each(
        self, table: Table, operation: Callable[[Table, TableClient, Argument], Result], arguments: Collection[Argument]
    ) -> list[Result]:
        """Run an operation for each argument, several in parallel, and return the results in the arguments' order."""
        with self._resources[table].used():
            run = partial(operation, table, self._tables[table])
            if len(arguments) == 1:
                return [run(argument) for argument in arguments]
            return list(self._pool.map(run, arguments))


def _get(table: Table, client: TableClient, key: str) -> Record | None:
    try:
        return _to_record(client.get_entity(partition_of(table, key), key))
    except HttpResponseError as error:
        if error_code(error) in _MISSING:
            return None
        raise


def _create(table: Table, client: TableClient, row: tuple[str, Values]) -> bool:
    try:
        client.create_entity(_to_entity(table, *row))
    except HttpResponseError as error:
        if error_code(error) in _EXISTS:
            return False
        raise
    return True


def _merge(table: Table, client: TableClient, row: tuple[str, Values]) -> None:
    client.upsert_entity(_to_entity(table, *row), mode=UpdateMode.MERGE)


def _delete(table: Table, client: TableClient, key: str) -> None:
    client.delete_entity(partition_of(table, key), key)  # the SDK ignores a missing record


def _to_odata(table: Table, where: Filter) -> tuple[str, dict[str, Any]]:
    """Return an OData filter and its parameters; the filter is empty if all records match."""
    terms: list[str] = []
    parameters: dict[str, Any] = {}

    def add(name: str, comparison: str, value: str | bool | datetime) -> None:
        terms.append(f"{name} {comparison} @p{len(terms)}")
        parameters[f"p{len(parameters)}"] = value

    def add_prefix(name: str, prefix: str) -> None:
        add(name, "ge", prefix)
        add(name, "lt", prefix_upper_bound(prefix))

    if where.key_prefix:
        if len(where.key_prefix) >= PARTITION_DIGITS.get(table, 2):
            add("PartitionKey", "eq", partition_of(table, where.key_prefix))
        else:
            add_prefix("PartitionKey", where.key_prefix)
        add_prefix("RowKey", where.key_prefix)
    for name, value in where.equal.items():
        add(name, "eq", _split(name, value)[name] if isinstance(value, str) else value)
    for name, prefix in where.prefixes.items():
        add_prefix(name, prefix)
    if where.since is not None:
        add(where.time_property, "ge", where.since)
    if where.until is not None:
        add(where.time_property, "lt", where.until)
    return " and ".join(terms), parameters


def _to_entity(table: Table, key: str, values: Values) -> dict[str, Any]:
    entity: dict[str, Any] = {"PartitionKey": partition_of(table, key), "RowKey": key}
    for name, value in values.items():
        if isinstance(value, str):
            entity |= _split(name, value)
        elif isinstance(value, int) and not isinstance(value, bool):
            entity[name] = EntityProperty(value, EdmType.INT64)
        else:
            entity[name] = value
    return entity


def _split(name: str, text: str) -> dict[str, str]:
    """Split a text into properties of allowed length. If there are several, the first one contains their number."""
    text = storable_text(text)
    if len(text) <= MAX_PROPERTY_LENGTH and not text.startswith(_COUNT_MARK):
        return {name: text}
    pieces = [text[start : start + MAX_PROPERTY_LENGTH] for start in range(0, len(text), MAX_PROPERTY_LENGTH)]
    first = f"{_COUNT_MARK}{len(pieces)}{_COUNT_MARK}{pieces[0]}"
    return {name: first} | {f"{name}{_PIECE_SEPARATOR}{number}": piece for number, piece in enumerate(pieces[1:], 1)}


def _to_record(entity: Any) -> Record:
    properties = {name: _to_value(value) for name, value in entity.items() if name not in {"PartitionKey", "RowKey"}}
    values: dict[str, Value] = {}
    for name, value in properties.items():
        if _PIECE_SEPARATOR in name:
            continue
        values[name] = value
        if isinstance(value, str) and value.startswith(_COUNT_MARK):
            # Pieces beyond the count belong to an earlier, longer text.
            _, count, first = value.split(_COUNT_MARK, 2)
            values[name] = first + "".join(
                str(properties[f"{name}{_PIECE_SEPARATOR}{number}"]) for number in range(1, int(count))
            )
    return Record(str(entity["RowKey"]), values, str(entity.metadata["etag"]))


def _to_value(value: Any) -> Value:
    if isinstance(value, EntityProperty):
        return int(value.value)
    if isinstance(value, datetime):
        # The SDK returns a subclass that also has the service's text. A plain datetime prints the same everywhere.
        return datetime.fromisoformat(value.isoformat())
    assert isinstance(value, str | int | bool)
    return value
