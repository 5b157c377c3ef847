"""Records in the tables of an account."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from typing import TypeVar

from azure.data.tables import TableClient

from shared.errors import WriteConflict
from shared.storage.azure.accounts import StorageAccount
from shared.storage.azure.entities import partition_key, row_key, to_queries, to_record
from shared.storage.azure.errors import Service
from shared.storage.azure.lazy_create import LazyResource
from shared.storage.azure.table_requests import read_entity, read_pages
from shared.storage.azure.transactions import submit
from shared.storage.base import (
    MATCH_ALL,
    SHARED_TABLES,
    Change,
    Create,
    Delete,
    Filter,
    Merge,
    Record,
    Replace,
    Table,
    Values,
    storable_text,
)
from shared.storage.transactions import check_transaction

MAX_PARALLEL_QUERIES = 4
"""Queries of one scan that run in parallel. Each holds a page of up to 1,000 entities, a few MB.

A query by a property returns less and takes longer: the service reads the whole partition. All of them run at once.
"""

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
        clients = {table: account.table(f"{prefix}{table}") for table in Table if table not in SHARED_TABLES}
        resources = {
            table: LazyResource(account.setting, Service.TABLE, client.create_table, is_emulator=account.is_emulator)
            for table, client in clients.items()
        }
        self._tables = {table: clients[SHARED_TABLES.get(table, table)] for table in Table}
        self._resources = {table: resources[SHARED_TABLES.get(table, table)] for table in Table}

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
        created = self._run_each(table, _submit, [Create(table, key, values) for key, values in rows.items()])
        return {key for key, is_new in zip(rows, created, strict=True) if not is_new}

    def commit(self, changes: Sequence[Change]) -> bool:
        """Make all changes in one entity group transaction, or none if a record is not as its change requires."""
        check_transaction(changes)
        table = changes[0].table
        with self._resources[table].used():
            return submit(self._tables[table], changes)

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Set the given properties and keep the others."""
        _check_made(table, [self.commit([Merge(table, key, values, etag)])])

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """Merge several records without etags."""
        changes = [Merge(table, key, values) for key, values in rows.items()]
        _check_made(table, self._run_each(table, _submit, changes))

    def replace(self, table: Table, key: str, values: Values, *, etag: str) -> None:
        """Replace all properties of a record, including the further pieces of long texts."""
        _check_made(table, [self.commit([Replace(table, key, values, etag)])])

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Delete records."""
        self._run_each(table, _submit, [Delete(table, key) for key in keys])

    def scan(self, table: Table, where: Filter = MATCH_ALL, *, page_size: int | None = None) -> Iterator[Record]:
        """Yield the records of a table that match."""
        return self._scan(table, where, page_size=page_size)

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

    def _scan(
        self, table: Table, where: Filter, *, properties: Sequence[str] = (), page_size: int | None = None
    ) -> Iterator[Record]:
        """Yield the records that match, with the named properties; empty: all."""
        equal = {name: storable_text(value) if isinstance(value, str) else value for name, value in where.equal.items()}
        queries = to_queries(table, where)
        select = ["PartitionKey", "RowKey", *properties] if properties else []
        with self._resources[table].used():
            pages = (
                self._read_pages(table, queries[0], select, page_size)
                if len(queries) == 1
                else self._read_all_pages(
                    table,
                    queries,
                    select,
                    page_size,
                    parallel=len(queries) if where.equal or where.prefixes else MAX_PARALLEL_QUERIES,
                )
            )
            for page in pages:
                for record in page:
                    # The service compares only the first piece of a long text.
                    if all(record.values.get(name) == value for name, value in equal.items()):
                        yield record

    def _read_pages(self, table: Table, query: str, select: Sequence[str], size: int | None) -> Iterator[list[Record]]:
        for page in read_pages(self._tables[table], query, select=select, size=size):
            yield [to_record(table, entity) for entity in page]

    def _read_all_pages(
        self, table: Table, queries: Sequence[str], select: Sequence[str], page_size: int | None, *, parallel: int
    ) -> Iterator[list[Record]]:
        """Yield the pages of several queries in any order, some of which are read in parallel."""
        waiting = [self._read_pages(table, query, select, page_size) for query in reversed(queries)]
        reading: dict[Future[list[Record] | None], Iterator[list[Record]]] = {}
        try:
            while waiting or reading:
                while waiting and len(reading) < parallel:
                    pages = waiting.pop()
                    reading[self._pool.submit(next, pages, None)] = pages
                finished, _ = wait(reading, return_when=FIRST_COMPLETED)
                for future in finished:
                    pages = reading.pop(future)
                    page = future.result()
                    if page is not None:
                        waiting.append(pages)
                        yield page
        finally:
            for future in reading:
                future.cancel()

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
    entity = read_entity(client, partition_key(table, key), row_key(table, key))
    return None if entity is None else to_record(table, entity)


def _submit(table: Table, client: TableClient, change: Change) -> bool:
    # Also for a single change: the SDK's own methods take about 40 % more processor time.
    del table
    return submit(client, [change])


def _check_made(table: Table, results: Sequence[bool]) -> None:
    if not all(results):
        raise WriteConflict(f"a record of {table} was changed by another process")
