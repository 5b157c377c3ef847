"""Records as table entities, spread over 256 partitions by the first two digits of their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, TableClient, UpdateMode

from shared.errors import RecordChanged
from shared.storage.azure.accounts import Account
from shared.storage.azure.errors import mapped
from shared.storage.azure.making import make_once
from shared.storage.protocol import Record, Table, Value, Values

PIECE = 15_000
"""Characters in one property: it holds 32 Ki units of UTF-16, of which a character may take two."""

_MORE = "__"
"""Between a property's name and the number of a further piece."""

_COUNT = "\x1e"
"""Around the number of pieces, at the beginning of the first: no value of ours begins so."""


class AzureRecords:
    """The tables.

    Args:
        account: where they are.
        container: the mail's container; the tables are named for it, so that two intakes may share an account.
    """

    def __init__(self, account: Account, container: str) -> None:
        self._account = account
        self._prefix = "".join(c for c in container if c.isalnum())

    def get(self, table: Table, key: str) -> Record | None:
        """One record, or None."""
        with mapped(self._account.setting):
            return _get(self._table(table), key)

    def get_many(self, table: Table, keys: Sequence[str]) -> dict[str, Record]:
        """Those of `keys` that are there."""
        with mapped(self._account.setting):
            client = self._table(table)
            found = self._account.pool.map(lambda key: _get(client, key), keys)
            return {record.key: record for record in found if record is not None}

    def create(self, table: Table, key: str, values: Values) -> bool:
        """Create a record if there is none."""
        with mapped(self._account.setting):
            return _create(self._table(table), key, values)

    def create_many(self, table: Table, rows: Mapping[str, Values]) -> set[str]:
        """Create those that are not there; gives the keys that were."""
        with mapped(self._account.setting):
            client = self._table(table)
            created = self._account.pool.map(lambda row: _create(client, *row), rows.items())
            return {key for key, new in zip(rows, created, strict=True) if not new}

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Set some properties."""
        with mapped(self._account.setting):
            client = self._table(table)
            if etag is None:
                client.upsert_entity(_entity(key, values), mode=UpdateMode.MERGE)
                return
            try:
                client.update_entity(
                    _entity(key, values),
                    mode=UpdateMode.MERGE,
                    etag=etag,
                    match_condition=MatchConditions.IfNotModified,
                )
            except (ResourceModifiedError, ResourceNotFoundError):
                raise RecordChanged(f"a record of {table} was changed by another in between") from None

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """Set some properties of several."""
        self._each(table, lambda client, row: client.upsert_entity(_entity(*row), mode=UpdateMode.MERGE), rows.items())

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Remove records."""
        self._each(table, lambda client, key: client.delete_entity(key[:2], key), keys)

    def scan(self, table: Table) -> Iterator[Record]:
        """All records of a table."""
        with mapped(self._account.setting):
            yield from map(_record, self._table(table).list_entities())

    def _each(self, table: Table, do: Callable[[TableClient, Any], object], these: Iterable[object]) -> None:
        with mapped(self._account.setting):
            client = self._table(table)
            list(self._account.pool.map(lambda one: do(client, one), these))

    def _table(self, table: Table) -> TableClient:
        name = f"{self._prefix}{table}"
        make_once(self._account, f"table {name}", lambda: self._account.tables.create_table(name))
        return self._account.tables.get_table_client(name)


def _get(client: TableClient, key: str) -> Record | None:
    try:
        return _record(client.get_entity(key[:2], key))
    except ResourceNotFoundError:
        return None


def _create(client: TableClient, key: str, values: Values) -> bool:
    try:
        client.create_entity(_entity(key, values))
    except ResourceExistsError:
        return False
    return True


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
    if len(text) <= PIECE:
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
