"""Records found by any of several texts in one of their properties: no filter of a storage asks for many at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from shared.storage.base import Filter, Record, Records, Table

FEW: Final = 4
"""Values that the storage is asked for one by one; for more, the whole table is read once."""


def scan_by_values(records: Records, table: Table, name: str, values: Iterable[str]) -> Iterator[Record]:
    """The records of a table whose property has one of these texts.

    Args:
        records: where they are.
        table: which.
        name: the property's.
        values: the texts; an empty one is not looked for.
    """
    wanted = {value for value in values if value}
    if len(wanted) <= FEW:
        for value in wanted:
            yield from records.scan(table, Filter(equal={name: value}))
        return
    for record in records.scan(table):
        if record.values.get(name) in wanted:
            yield record
