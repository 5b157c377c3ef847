"""Which changes one transaction can make: the limits of an entity group transaction of Azure Table Storage."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from shared.storage.base import SHARED_TABLES, Change, Delete, Table, partition_of

MAX_TRANSACTION: Final = 100
"""Records in a transaction of Azure Table Storage."""

MAX_TRANSACTION_BYTES: Final = 3 * 1024 * 1024
"""Bytes of JSON in a transaction of several groups of changes. The service's limit, with all headers, is 4 MiB."""


def check_transaction(changes: Collection[Change]) -> None:
    """Raise `ValueError` unless these changes can be made in one transaction."""
    records = {(change.table, change.key) for change in changes}
    partitions = {(SHARED_TABLES.get(table, table), partition_of(table, key)) for table, key in records}
    if not 1 <= len(changes) <= MAX_TRANSACTION or len(partitions) > 1 or len(records) < len(changes):
        raise ValueError(f"a transaction changes 1 to {MAX_TRANSACTION} different records of one partition")


def pack_transactions(groups: Iterable[Sequence[Change]]) -> Iterator[list[Sequence[Change]]]:
    """Yield groups of changes that one transaction can make together, in the order of the groups in each partition.

    A list has groups of one partition, at most `MAX_TRANSACTION` changes and `MAX_TRANSACTION_BYTES`. A group that
    exceeds a limit is in a list of its own.

    Args:
        groups: changes of one partition that have to be in one transaction, at least one in each group.
    """
    lists: dict[tuple[Table, str], _Transaction] = {}
    for group in groups:
        table, key = group[0].table, group[0].key
        partition = (SHARED_TABLES.get(table, table), partition_of(table, key))
        transaction = lists.setdefault(partition, _Transaction())
        if not transaction.add(group):
            yield transaction.groups
            lists[partition] = _Transaction()
            lists[partition].add(group)
    for transaction in lists.values():
        yield transaction.groups


class _Transaction:
    """Groups of changes that one transaction can make."""

    def __init__(self) -> None:
        self.groups: list[Sequence[Change]] = []
        self._records: set[tuple[Table, str]] = set()
        self._bytes = 0

    def add(self, group: Sequence[Change]) -> bool:
        """Add a group, and return whether it was added. The first group always is."""
        size = sum(map(_most_bytes, group))
        records = {(change.table, change.key) for change in group}
        if self.groups and (
            len(self._records) + len(group) > MAX_TRANSACTION
            or self._bytes + size > MAX_TRANSACTION_BYTES
            or self._records & records
        ):
            return False
        self.groups.append(group)
        self._records |= records
        self._bytes += size
        return True


_PROPERTY_BYTES: Final = 80
"""Bytes of a property's JSON without its name and text: quotation marks, its type, and a value that is not a text."""


def _most_bytes(change: Change) -> int:
    """Return about the number of bytes that a change's values have as JSON in ASCII, or more."""
    if isinstance(change, Delete):
        return 0
    size = 0
    for name, value in change.values.items():
        size += len(name) + _PROPERTY_BYTES
        if isinstance(value, str):
            size += _most_text_bytes(value)
    return size


@lru_cache(maxsize=16)  # The claims of a message have most of their texts in common.
def _most_text_bytes(text: str) -> int:
    # Of printable ASCII, only quotation marks and backslashes are escaped, with another character.
    return 2 * len(text) if text.isascii() and text.isprintable() else len(json.dumps(text))
