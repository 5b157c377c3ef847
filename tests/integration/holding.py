"""Reading a storage in tests."""

from __future__ import annotations

import json
from typing import Any

from shared.receipt_index import ReceiptIndex
from shared.receipts import Receipt
from shared.storage.base import Create, Record, Storage, Table, Values
from tests.servers.whole_table import whole_table


class Holding:
    """The content of a storage; the fixtures of tests derive from it.

    Args:
        stores: the storage.
    """

    def __init__(self, stores: Storage) -> None:
        self.stores = stores

    def paths(self, *prefixes: str) -> list[str]:
        return [path for prefix in prefixes for path in self.stores.blobs.list(prefix)]

    def read(self, path: str) -> dict[str, Any]:
        data = self.stores.blobs.read(path)
        assert data is not None, path
        read = json.loads(data)
        assert isinstance(read, dict)
        return read

    def create_receipt(self, key: str, values: Values) -> None:
        """Create a receipt as intake does, with its entry in the index."""
        receipt = Receipt.from_record(Record(key, dict(values), ""))
        changes = ReceiptIndex(self.stores.records).changes(None, receipt, receipt.stored_at)
        assert self.stores.records.commit([Create(Table.RECEIPTS, key, values), *changes])

    def receipts(self) -> list[Receipt]:
        return [Receipt.from_record(record) for record in whole_table(self.stores.records, Table.RECEIPTS)]
