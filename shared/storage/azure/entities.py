"""Records as table entities: their keys, properties and filters.

The records of a table in `SHARED_TABLES` are in another table, under row keys that begin with the record's kind. Keys
are hex digits, which sort before every such prefix: both kinds are contiguous in a partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

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


def to_json(partition: str, row: str, values: Values) -> dict[str, str | bool]:
    """Return an entity's properties as JSON values, those that are not texts or booleans with their type."""
    properties: dict[str, str | bool] = {"PartitionKey": partition, "RowKey": row}
    for name, value in values.items():
        if isinstance(value, str):
            if value.isascii() and len(value) <= MAX_PROPERTY_LENGTH:
                properties[name] = value  # most texts; the others may have to be split or changed
            else:
                properties |= split_text(name, value)
        elif isinstance(value, bool):
            properties[name] = value
        elif isinstance(value, int):
            properties[name] = str(value)
            properties[f"{name}@odata.type"] = "Edm.Int64"
        else:
            properties[name] = format_time(value)
            properties[f"{name}@odata.type"] = "Edm.DateTime"
    return properties


def format_time(time: datetime) -> str:
    """Return a time as the service's JSON and filters have it."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def split_text(name: str, text: str) -> dict[str, str]:
    """Split a text into properties of allowed length. If there are several, the first one contains their number."""
    text = storable_text(text)
    if len(text) <= MAX_PROPERTY_LENGTH and not text.startswith(_COUNT_MARK):
        return {name: text}
    pieces = [text[start : start + MAX_PROPERTY_LENGTH] for start in range(0, len(text), MAX_PROPERTY_LENGTH)]
    first = f"{_COUNT_MARK}{len(pieces)}{_COUNT_MARK}{pieces[0]}"
    return {name: first} | {f"{name}{_PIECE_SEPARATOR}{number}": piece for number, piece in enumerate(pieces[1:], 1)}


def to_record(table: Table, entity: Mapping[str, Any]) -> Record:
    """Return an entity, as JSON values with minimal metadata, as a record."""
    values: dict[str, Value] = {}
    for name, value in entity.items():
        if name in _SYSTEM_PROPERTIES or "odata." in name or _PIECE_SEPARATOR in name:
            continue
        if isinstance(value, str):
            convert = _CONVERSIONS.get(entity.get(f"{name}@odata.type", ""))
            if convert is not None:
                values[name] = convert(value)
            else:
                values[name] = _join_pieces(entity, name) if value.startswith(_COUNT_MARK) else value
        else:
            assert isinstance(value, int)  # a boolean is one, too
            values[name] = value
    key = str(entity["RowKey"]).removeprefix(_PREFIXES.get(table, ""))
    return Record(key, values, str(entity["odata.etag"]))


_SYSTEM_PROPERTIES: Final = frozenset({"PartitionKey", "RowKey", "Timestamp"})

_CONVERSIONS: Final[Mapping[str, Callable[[str], Value]]] = {
    "Edm.Int64": int,
    "Edm.DateTime": datetime.fromisoformat,  # ignores the seventh digit of the seconds, which is a tick
}
"""Types whose values are JSON texts."""


def _join_pieces(entity: Mapping[str, Any], name: str) -> str:
    # Pieces beyond the count belong to an earlier, longer text.
    _, count, first = str(entity[name]).split(_COUNT_MARK, 2)
    return first + "".join(str(entity[f"{name}{_PIECE_SEPARATOR}{number}"]) for number in range(1, int(count)))


Comparison = tuple[str, str, str | bool | datetime]
"""A property's name, an operator of OData, and the value that the property is compared with."""


def to_queries(table: Table, where: Filter) -> list[str]:
    """Return OData filters that select the matching records together.

    Records that share another table's partitions are a range of each partition, and there is a filter for each: the
    other table's records are not read. The filter is empty if all entities of a table match.
    """
    if where.key_prefix and len(where.key_prefix) >= PARTITION_DIGITS.get(table, 2):
        partitions: list[list[Comparison]] = [[("PartitionKey", "eq", partition_key(table, where.key_prefix))]]
    elif table in _SHARING and not where.key_prefix:
        partitions = [[("PartitionKey", "eq", digit)] for digit in _DIGITS]
    else:
        partitions = [[*_starts_with("PartitionKey", where.key_prefix)]]
    conditions = [*_row_range(table, where.key_prefix), *_conditions(where)]
    if where.key_from:
        conditions.append(("RowKey", "ge", row_key(table, where.key_from)))
    return [_to_odata([*partition, *conditions]) for partition in partitions]


_SHARING: Final = {*SHARED_TABLES, *SHARED_TABLES.values()}
"""Tables whose partitions have records of several tables: each partition is read, and of it only a range."""

_DIGITS: Final = "0123456789abcdef"
"""The partitions of tables in `SHARED_TABLES`."""

assert all(PARTITION_DIGITS[table] == 1 for table in SHARED_TABLES)


def _row_range(table: Table, key_prefix: str) -> Iterator[Comparison]:
    prefix = row_key(table, key_prefix)
    if prefix:
        yield from _starts_with("RowKey", prefix)
    elif table in SHARED_TABLES.values():
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


def _to_odata(comparisons: Sequence[Comparison]) -> str:
    return " and ".join(f"{name} {operator} {_to_literal(value)}" for name, operator, value in comparisons)


def _to_literal(value: str | bool | datetime) -> str:
    """Return a value in OData's syntax (Microsoft's page "Querying tables and entities")."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else f"datetime'{format_time(value)}'"
