"""The indexes of the records, and the SQL of the queries that use them.

The properties of a record are JSON in one column. An index on an expression, such as a receipt's sender, needs the same
expression in a query: so the names of properties are part of the SQL text. Each index has the records of one table, and
each query names its index: without statistics, SQLite would read the whole table by its primary key instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from shared.storage.base import Filter, Table, prefix_upper_bound, storable_text

Parameter = str | int

_NAME = re.compile(r"[a-z][a-z_]*", re.ASCII)


def _text(name: str) -> str:
    """Return the SQL expression of a text property. A name that is not checked here never becomes SQL."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not the name of a property: {name!r}")
    return f"json_extract(properties, '$.{name}')"


def _time(name: str) -> str:
    """Return the SQL expression of a time property: text in UTC, which sorts like the times."""
    return _text(name).replace("')", ".t')")


def _is_true(name: str) -> str:
    # SQLite extracts JSON booleans as numbers; their JSON types are `true` and `false`.
    return f"{_text(name).replace('json_extract', 'json_type')} = 'true'"


_OUTCOME: Final = f"coalesce(nullif({_text('state')}, 'routed'), {_text('outcome')})"
"""The state of a receipt that is not routed, and the outcome of one that is: each has its part of the index."""

_STORED_AT: Final = _time("stored_at")
_KEY: Final = "key"
_ROW: Final = "rowid"
_NOTHING: Final = "''"


@dataclass(frozen=True, slots=True)
class Index:
    """An index of the records of one table.

    Attributes:
        table: the table.
        name: its name in the database.
        columns: the SQL expressions that it has, in their order.
        condition: an SQL condition, beside the table, that its records and its queries meet; empty: none.
    """

    table: Table
    name: str
    columns: tuple[str, ...]
    condition: str = ""

    @property
    def sql(self) -> str:
        """The statement that creates it."""
        return (
            f"CREATE INDEX IF NOT EXISTS {self.name} ON records ({', '.join(self.columns)}) "
            f"WHERE {' AND '.join(self.terms)}"
        )

    @property
    def terms(self) -> tuple[str, ...]:
        """The conditions of the records that it has. Only a query with the same conditions can use it."""
        return (f"kind = '{self.table.value}'", *([self.condition] if self.condition else []))


BY_MESSAGE: Final = Index(Table.RECEIPTS, "receipts_by_message", (_text("message"),))
BY_MESSAGE_ID: Final = Index(Table.RECEIPTS, "receipts_by_message_id", (_text("message_id"),))
BY_SENDER: Final = Index(Table.RECEIPTS, "receipts_by_sender", (_text("sender"),))
BY_SEVERAL_SENDERS: Final = Index(
    Table.RECEIPTS, "receipts_by_several_senders", (_STORED_AT,), condition=_is_true("several_senders")
)
BY_OUTCOME: Final = Index(
    Table.RECEIPTS,
    "receipts_by_outcome",
    # The last three are for counting: the receipts themselves are not read.
    (_OUTCOME, _STORED_AT, _text("mailbox"), _text("state"), _text("outcome")),
)
BY_STORED_AT: Final = Index(Table.RECEIPTS, "receipts_by_stored_at", (_STORED_AT,))
BY_ROUTED_AT: Final = Index(Table.RECEIPTS, "receipts_by_routed_at", (_time("routed_at"),))
BY_OWNER: Final = Index(Table.CLAIMS, "claims_by_owner", (_text("owner"),))

_BY_TEXT: Final = {
    (Table.RECEIPTS, "message"): BY_MESSAGE,
    (Table.RECEIPTS, "message_id"): BY_MESSAGE_ID,
    (Table.RECEIPTS, "sender"): BY_SENDER,
    (Table.CLAIMS, "owner"): BY_OWNER,
}
"""The indexes by one text, the most selective first."""

_BY_TIME: Final = {(Table.RECEIPTS, "stored_at"): BY_STORED_AT, (Table.RECEIPTS, "routed_at"): BY_ROUTED_AT}

INDEXES: Final = (*_BY_TEXT.values(), BY_SEVERAL_SENDERS, BY_OUTCOME, *_BY_TIME.values())
"""The indexes of the database."""

SELECTIVE_DIGITS: Final = 4
"""Digits of a key that select fewer records than an index by time does. Fewer digits name a partition of tables."""

COUNTED: Final = frozenset({"mailbox", "state", "outcome"})
"""The properties by which receipts are counted from an index."""

INDEXED: Final = frozenset({*_BY_TEXT, *_BY_TIME})
"""Tables and properties by which records are looked up: no other record is read."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query for a page of records.

    Attributes:
        sql: the statement; its columns are key, etag, properties, and the two that the rows are ordered by.
        parameters: its parameters: those of the filter, the last row of the page before, and the size of the page.
    """

    sql: str
    parameters: tuple[Parameter, ...]


def index_for(table: Table, where: Filter, *, newest_first: bool = False) -> Index | None:
    """Return the index for a query; None: the primary key."""
    if len(where.key_prefix) >= SELECTIVE_DIGITS:
        return None
    texts = {name for name, value in where.equal.items() if isinstance(value, str)} | {*where.prefixes}
    for (of_table, name), index in _BY_TEXT.items():
        if table is of_table and name in texts:
            return index
    if table is Table.RECEIPTS and where.equal.get("several_senders") is True:
        return BY_SEVERAL_SENDERS
    if table is Table.RECEIPTS and _outcome(where) is not None:
        return BY_OUTCOME
    if newest_first:
        return _BY_TIME.get((table, "stored_at"))
    has_time = where.since is not None or where.until is not None
    return _BY_TIME.get((table, where.time_property)) if has_time else None


def page_query(
    table: Table, where: Filter, last: tuple[Parameter, Parameter] | None, size: int, *, newest_first: bool = False
) -> Query:
    """Return the query for a page of the records of a table that match.

    Args:
        table: the table.
        where: the condition.
        last: the values that the last row of the page before is ordered by; None: the first page.
        size: the number of records on the page.
        newest_first: order by `stored_at`, the latest first, and leave out records that have none. Otherwise the order
            is any that stays the same from page to page.
    """
    index = index_for(table, where, newest_first=newest_first)
    terms, parameters = _conditions(table, where, index)
    if newest_first:
        first, second, direction, comparison = _STORED_AT, _KEY, "DESC", "<"
        terms.append(f"{_STORED_AT} IS NOT NULL")
    elif index is None:
        first, second, direction, comparison = _KEY, _NOTHING, "ASC", ">"
    else:
        first, second, direction, comparison = index.columns[1 if index is BY_OUTCOME else 0], _ROW, "ASC", ">"
    if last is not None:
        # As two conditions, since the index answers the first one.
        terms.append(f"{first} {comparison}= ? AND ({first} {comparison} ? OR {second} {comparison} ?)")
        parameters += [last[0], *last]
    hint = f" INDEXED BY {index.name}" if index is not None else ""
    return Query(
        f"SELECT key, etag, properties, {first}, {second} FROM records{hint} WHERE {' AND '.join(terms)} "  # noqa: S608  names only
        f"ORDER BY {first} {direction}, {second} {direction} LIMIT ?",
        (*parameters, size),
    )


def count_query(table: Table, by: Sequence[str], where: Filter) -> Query:
    """Return the query for the number of matching records by the texts of some properties; a missing one is empty."""
    index = BY_OUTCOME if table is Table.RECEIPTS and COUNTED.issuperset(by) else index_for(table, where)
    terms, parameters = _conditions(table, where, index)
    hint = f" INDEXED BY {index.name}" if index is not None else ""
    columns = ", ".join(f"{_text(name)} AS c{number}" for number, name in enumerate(by))
    groups = ", ".join(f"c{number}" for number in range(len(by)))
    # SQLite takes the columns from the index in the inner query alone. The limit keeps it from merging the two queries.
    inner = f"SELECT {columns} FROM records{hint} WHERE {' AND '.join(terms)} LIMIT -1"  # noqa: S608  names only
    return Query(f"SELECT count(*), {groups} FROM ({inner}) GROUP BY {groups}", tuple(parameters))  # noqa: S608


def format_time(time: datetime) -> str:
    """Return a time as records hold it: in UTC, so that the texts sort like the times."""
    return time.astimezone(UTC).isoformat()


def _outcome(where: Filter) -> str | None:
    """Return the value of the index by outcome that a condition needs; None: it does not name one."""
    state, outcome = where.equal.get("state"), where.equal.get("outcome")
    value = outcome if state == "routed" else state
    return value if isinstance(value, str) else None


def _conditions(table: Table, where: Filter, index: Index | None) -> tuple[list[str], list[Parameter]]:
    """Return SQL conditions and their parameters."""
    # The table is part of the text: SQLite proves from it that the index has all records of the query.
    terms = list(index.terms) if index is not None else [f"kind = '{table.value}'"]
    parameters: list[Parameter] = []

    def add(term: str, *values: Parameter) -> None:
        terms.append(term)
        parameters.extend(values)

    outcome = _outcome(where)
    if index is BY_OUTCOME and outcome is not None:
        add(f"{_OUTCOME} = ?", outcome)
    for limit, comparison in _key_limits(where):
        add(f"key {comparison} ?", limit)
    for name, value in where.equal.items():
        if isinstance(value, str):
            add(f"{_text(name)} = ?", storable_text(value))
        elif value:
            add(_is_true(name))
        else:
            add(f"{_text(name).replace('json_extract', 'json_type')} = ?", json.dumps(value))
    for name, prefix in where.prefixes.items():
        add(f"{_text(name)} >= ? AND {_text(name)} < ?", prefix, prefix_upper_bound(prefix))
    for time, comparison in ((where.since, ">="), (where.until, "<")):
        if time is not None:
            add(f"{_time(where.time_property)} {comparison} ?", format_time(time))
    return terms, parameters


def _key_limits(where: Filter) -> Iterator[tuple[str, str]]:
    """Yield the limits of the keys, each with the comparison."""
    if where.key_prefix:
        yield where.key_prefix, ">="
        yield prefix_upper_bound(where.key_prefix), "<"
    if where.key_from:
        yield where.key_from, ">="
