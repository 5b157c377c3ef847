"""Records as table entities: their keys, properties and filters.

The records of a table in `SHARED_TABLES` are in another table, under row keys that begin with the record's kind. Keys
are hex digits, which sort before every such prefix: both kinds are contiguous in a partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from azure.data.tables import EdmType, EntityProperty

from shared.storage.base import (
    PARTITION_DIGITS,
    SHARED_TABLES,
    Filter,
    Record,
    Table,
    Value,
    Values,
    partition_of,
    prefix_upper_bound,
    storable_text,
)

MAX_PROPERTY_LENGTH = 15_000
"""Characters in a property. The service's limit is 32 Ki UTF-16 code units, and a character has up to two."""

ONLY_PARTITION: Final = "all"
"""The partition key of tables that have a single partition."""

_PREFIXES: Final[Mapping[Table, str]] = {table: f"{table}-" for table in SHARED_TABLES}
"""The beginnings of row keys, by table, of records that share the partitions of another table."""

_END_OF_KEYS: Final = "g"
"""Sorts after all hex digits, and before all prefixes."""

_PIECE_SEPARATOR = "__"
"""Separates a property's name and the number of a further piece of a long text. No property's name contains it."""

_COUNT_MARK = "\u241e"
"""Encloses the number of pieces, before the first piece. A text that begins with it is stored as one counted piece."""


def partition_key(table: Table, key: str) -> str:
    """Return the partition key of a record's entity."""
    return partition_of(table, key) or ONLY_PARTITION


def row_key(table: Table, key: str) -> str:
    """Return the row key of a record's entity."""
    return _PREFIXES.get(table, "") + key


def to_entity(table: Table, key: str, values: Values) -> dict[str, Any]:
    """Return a record as an entity for the SDK."""
    entity: dict[str, Any] = {"PartitionKey": partition_key(table, key), "RowKey": row_key(table, key)}
    for name, value in values.items():
        if isinstance(value, str):
            entity |= split_text(name, value)
        elif isinstance(value, int) and not isinstance(value, bool):
            entity[name] = EntityProperty(value, EdmType.INT64)
        else:
            entity[name] = value
    return entity


def split_text(name: str, text: str) -> dict[str, str]:
    """Split a text into properties of allowed length. If there are several, the first one contains their number."""
    text = storable_text(text)
    if len(text) <= MAX_PROPERTY_LENGTH and not text.startswith(_COUNT_MARK):
        return {name: text}
    pieces = [text[start : start + MAX_PROPERTY_LENGTH] for start in range(0, len(text), MAX_PROPERTY_LENGTH)]
    first = f"{_COUNT_MARK}{len(pieces)}{_COUNT_MARK}{pieces[0]}"
    return {name: first} | {f"{name}{_PIECE_SEPARATOR}{number}": piece for number, piece in enumerate(pieces[1:], 1)}


def to_record(table: Table, entity: Any) -> Record:
    """Return an entity of the SDK as a record."""
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
    key = str(entity["RowKey"]).removeprefix(_PREFIXES.get(table, ""))
    return Record(key, values, str(entity.metadata["etag"]))


def _to_value(value: Any) -> Value:
    if isinstance(value, EntityProperty):
        return int(value.value)
    if isinstance(value, datetime):
        # The SDK returns a subclass that also has the service's text. A plain datetime prints the same everywhere.
        return datetime.fromisoformat(value.isoformat())
    assert isinstance(value, str | int | bool)
    return value


Comparison = tuple[str, str, str | bool | datetime]
"""A property's name, an operator of OData, and the value that the property is compared with."""


def to_queries(table: Table, where: Filter) -> list[tuple[str, dict[str, Any]]]:
    """Return OData filters that select the matching records together, each with its parameters.

    There is one filter for each partition that is shared with another table: a range of row keys omits the other
    table's records in a partition, but not in a table. The filter is empty if all entities of a table match.
    """
    conditions = [*_conditions(where)]
    if where.key_prefix and len(where.key_prefix) >= PARTITION_DIGITS.get(table, 2):
        partitions = [partition_key(table, where.key_prefix)]
    elif table in _SHARING and not where.key_prefix:
        partitions = [*"0123456789abcdef"]
    else:
        partitions = []
        conditions = [*_starts_with("PartitionKey", where.key_prefix), *conditions]
    rows = [*_row_range(table, where.key_prefix)]
    if where.key_from:
        rows.append(("RowKey", "ge", row_key(table, where.key_from)))
    if not partitions:
        return [_to_odata([*rows, *conditions])]
    return [_to_odata([("PartitionKey", "eq", partition), *rows, *conditions]) for partition in partitions]


_SHARING: Final = {*SHARED_TABLES, *SHARED_TABLES.values()}
"""Tables whose partitions have records of two tables. Their partitions are named by one digit."""

assert all(PARTITION_DIGITS[table] == 1 for table in _SHARING)


def _row_range(table: Table, key_prefix: str) -> Iterator[Comparison]:
    prefix = row_key(table, key_prefix)
    if prefix:
        yield from _starts_with("RowKey", prefix)
    elif table in _SHARING:
        yield "RowKey", "lt", _END_OF_KEYS


def _conditions(where: Filter) -> Iterator[Comparison]:
    for name, value in where.equal.items():
        yield name, "eq", split_text(name, value)[name] if isinstance(value, str) else value
    for name, prefix in where.prefixes.items():
        yield from _starts_with(name, prefix)
    if where.since is not None:
        yield where.time_property, "ge", where.since
    if where.until is not None:
        yield where.time_property, "lt", where.until


def _starts_with(name: str, prefix: str) -> Iterator[Comparison]:
    if prefix:
        yield name, "ge", prefix
        yield name, "lt", prefix_upper_bound(prefix)


def _to_odata(comparisons: Iterable[Comparison]) -> tuple[str, dict[str, Any]]:
    comparisons = list(comparisons)
    terms = [f"{name} {operator} @p{number}" for number, (name, operator, _) in enumerate(comparisons)]
    return " and ".join(terms), {f"p{number}": value for number, (_, _, value) in enumerate(comparisons)}
