"""Records as table entities, spread over 256 partitions by the first two digits of their keys."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import EdmType, EntityProperty, TableClient, UpdateMode

from shared.errors import WriteConflict
from shared.storage.azure.accounts import StorageAccount
from shared.storage.azure.errors import Service, code_of
from shared.storage.azure.lazy_create import LazyResource
from shared.storage.base import EVERYWHERE, Filter, Record, Table, Value, Values
from shared.storage.texts import prefix_upper_bound, storable_text

PIECE = 15_000
"""Characters in one property: it holds 32 Ki units of UTF-16, of which a character may take two."""

_MORE = "__"
"""Between a property's name and the number of a further piece; no name of ours has it."""

_COUNT = "\u241e"
"""Around the number of pieces, before the first; a text that begins so itself counts as one piece."""

_THERE = frozenset({"EntityAlreadyExists"})
_NONE = frozenset({"ResourceNotFound", "EntityNotFound"})
"""A table that is gone (404 too) says nothing about a record."""

_CHANGED = frozenset({"UpdateConditionNotSatisfied", "ConditionNotMet"})


One = TypeVar("One")
Result = TypeVar("Result")


class AzureRecords:
    """The tables.

    Args:
        account: where they are.
        container: the mail's container; the tables are named for it, so that two intakes may share an account.
    """

    def __init__(self, account: StorageAccount, container: str) -> None:
        self._pool = account.pool
        # A table's name is letters and digits, begins with a letter, and is short: other containers get a digest.
        prefix = (
            container
            if re.fullmatch(r"[a-z][a-z0-9]{1,39}", container)
            else "m" + hashlib.sha256(container.encode()).hexdigest()[:16]
        )
        self._tables = {table: account.table(f"{prefix}{table}") for table in Table}
        self._places = {
            table: LazyResource(account.setting, Service.TABLE, client.create_table)
            for table, client in self._tables.items()
        }

    def get(self, table: Table, key: str) -> Record | None:
        """One record, or None."""
        with self._places[table].used():
            return _get(self._tables[table], key)

    def get_many(self, table: Table, keys: Sequence[str]) -> dict[str, Record]:
        """Those of `keys` that are there."""
        found = self._each(table, _get, keys)
        return {record.key: record for record in found if record is not None}

    def create(self, table: Table, key: str, values: Values) -> bool:
        """Create a record if there is none."""
        return not self.create_many(table, {key: values})

    def create_many(self, table: Table, rows: Mapping[str, Values]) -> set[str]:
        """Create those that are not there; gives the keys that were."""
        created = self._each(table, _create, rows.items())
        return {key for key, new in zip(rows, created, strict=True) if not new}

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Set some properties."""
        with self._places[table].used():
            if etag is None:
                _merge(self._tables[table], (key, values))
                return
            self._update(table, _entity(key, values), etag, UpdateMode.MERGE)

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """Set some properties of several."""
        self._each(table, _merge, rows.items())

    def replace(self, table: Table, key: str, values: Values, *, etag: str) -> None:
        """Write a record anew; the further pieces of a long text that it had go with the rest."""
        with self._places[table].used():
            self._update(table, _entity(key, values), etag, UpdateMode.REPLACE)

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Remove records."""
        self._each(table, _delete, list(keys))

    def scan(self, table: Table, where: Filter = EVERYWHERE) -> Iterator[Record]:
        """Those records of a table that are meant."""
        text, parameters = _filter(where)
        equal = {name: storable_text(value) if isinstance(value, str) else value for name, value in where.equal.items()}
        client = self._tables[table]
        with self._places[table].used():
            found = client.query_entities(text, parameters=parameters) if text else client.list_entities()
            for record in map(_record, found):
                # Of a long text the filter sees the first piece alone.
                if all(record.values.get(name) == value for name, value in equal.items()):
                    yield record

    def _update(self, table: Table, entity: dict[str, Any], etag: str, mode: UpdateMode) -> None:
        try:
            self._tables[table].update_entity(
                entity, mode=mode, etag=etag, match_condition=MatchConditions.IfNotModified
            )
        except HttpResponseError as error:
            if code_of(error) in _CHANGED | _NONE:
                raise WriteConflict(f"a record of {table} was changed by another in between") from None
            raise

    def _each(self, table: Table, do: Callable[[TableClient, One], Result], these: Collection[One]) -> list[Result]:
        """Do something to each of these, several at once; what comes of it is in their order."""
        with self._places[table].used():
            client = self._tables[table]
            if len(these) == 1:
                return [do(client, one) for one in these]
            return list(self._pool.map(partial(do, client), these))


def _get(client: TableClient, key: str) -> Record | None:
    try:
        return _record(client.get_entity(key[:2], key))
    except HttpResponseError as error:
        if code_of(error) in _NONE:
            return None
        raise


def _create(client: TableClient, row: tuple[str, Values]) -> bool:
    try:
        client.create_entity(_entity(*row))
    except HttpResponseError as error:
        if code_of(error) in _THERE:
            return False
        raise
    return True


def _merge(client: TableClient, row: tuple[str, Values]) -> None:
    client.upsert_entity(_entity(*row), mode=UpdateMode.MERGE)


def _delete(client: TableClient, key: str) -> None:
    client.delete_entity(key[:2], key)  # the SDK takes "not there" for done


def _filter(where: Filter) -> tuple[str, dict[str, Any]]:
    """What is meant, as a filter in OData and its parameters; no text if everything is."""
    terms: list[str] = []
    parameters: dict[str, Any] = {}

    def add(name: str, comparison: str, value: str | bool | datetime) -> None:
        terms.append(f"{name} {comparison} @p{len(terms)}")
        parameters[f"p{len(parameters)}"] = value

    def add_beginning(name: str, beginning: str) -> None:
        add(name, "ge", beginning)
        add(name, "lt", prefix_upper_bound(beginning))

    if where.key:
        if len(where.key) > 1:
            add("PartitionKey", "eq", where.key[:2])
        add_beginning("RowKey", where.key)
    for name, value in where.equal.items():
        add(name, "eq", _pieces(name, value)[name] if isinstance(value, str) else value)
    for name, beginning in where.begins.items():
        add_beginning(name, beginning)
    if where.since is not None:
        add(where.time, "ge", where.since)
    if where.until is not None:
        add(where.time, "lt", where.until)
    return " and ".join(terms), parameters


def _entity(key: str, values: Values) -> dict[str, Any]:
    entity: dict[str, Any] = {"PartitionKey": key[:2], "RowKey": key}
    for name, value in values.items():
        if isinstance(value, str):
            entity |= _pieces(name, value)
        elif isinstance(value, int) and not isinstance(value, bool):
            entity[name] = EntityProperty(value, EdmType.INT64)
        else:
            entity[name] = value
    return entity


def _pieces(name: str, text: str) -> dict[str, str]:
    """A text in pieces that a property can hold; the first says how many there are if it is not alone."""
    text = storable_text(text)
    if len(text) <= PIECE and not text.startswith(_COUNT):
        return {name: text}
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    first = f"{_COUNT}{len(pieces)}{_COUNT}{pieces[0]}"
    return {name: first} | {f"{name}{_MORE}{number}": piece for number, piece in enumerate(pieces[1:], 1)}


def _record(entity: Any) -> Record:
    plain = {name: _value(value) for name, value in entity.items() if name not in {"PartitionKey", "RowKey"}}
    values: dict[str, Value] = {}
    for name, value in plain.items():
        if _MORE in name:
            continue
        values[name] = value
        if isinstance(value, str) and value.startswith(_COUNT):
            # Pieces beyond the count are an earlier, longer text's.
            _, count, first = value.split(_COUNT, 2)
            values[name] = first + "".join(str(plain[f"{name}{_MORE}{number}"]) for number in range(1, int(count)))
    return Record(str(entity["RowKey"]), values, str(entity.metadata["etag"]))


def _value(value: Any) -> Value:
    if isinstance(value, EntityProperty):
        return int(value.value)
    if isinstance(value, datetime):
        # The SDK's own subclass keeps the service's text beside; a plain one compares and prints alike everywhere.
        return datetime.fromisoformat(value.isoformat())
    assert isinstance(value, str | int | bool)
    return value
