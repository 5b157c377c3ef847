"""A store that does not exist: reading finds nothing, writing is refused. Nothing is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

from shared.errors import ServiceUnavailable
from shared.storage.base import EVERYWHERE, BlobVersion, Filter, QueueItem, Record, Table, Values


class _Absent:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _refuse(self) -> NoReturn:
        raise ServiceUnavailable(f"the store in {self._folder} does not exist yet: nothing was collected into it")


class AbsentBlobs(_Absent):
    """No blobs."""

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:
        """Refuse."""
        del path, data, content_type, download_name
        self._refuse()

    def settle(self) -> None:
        """Return: nothing was written."""

    def read(self, path: str) -> bytes | None:
        """Return None."""
        del path
        return None

    def download(self, path: str, target: BinaryIO) -> bool:
        """Return False."""
        del path, target
        return False

    def version(self, path: str, *, unless: str = "", most: int | None = None) -> BlobVersion | None:
        """Return None."""
        del path, unless, most
        return None

    def replace(self, path: str, data: bytes, *, etag: str, content_type: str) -> None:
        """Refuse."""
        del path, data, etag, content_type
        self._refuse()

    def delete_many(self, paths: Iterable[str]) -> None:
        """Return: there is nothing to remove."""

    def exists(self, path: str) -> bool:
        """Return False."""
        del path
        return False

    def list(self, prefix: str = "") -> Iterator[str]:
        """Return nothing."""
        del prefix
        return iter(())


class AbsentRecords(_Absent):
    """No records."""

    def get(self, table: Table, key: str) -> Record | None:
        """Return None."""
        del table, key
        return None

    def get_many(self, table: Table, keys: Sequence[str]) -> dict[str, Record]:
        """Return nothing."""
        del table, keys
        return {}

    def create(self, table: Table, key: str, values: Values) -> bool:
        """Refuse."""
        del table, key, values
        self._refuse()

    def create_many(self, table: Table, rows: Mapping[str, Values]) -> set[str]:
        """Refuse."""
        del table, rows
        self._refuse()

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Refuse."""
        del table, key, values, etag
        self._refuse()

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """Refuse."""
        del table, rows
        self._refuse()

    def replace(self, table: Table, key: str, values: Values, *, etag: str) -> None:
        """Refuse."""
        del table, key, values, etag
        self._refuse()

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Return: there is nothing to remove."""

    def scan(self, table: Table, where: Filter = EVERYWHERE) -> Iterator[Record]:
        """Return nothing."""
        del table, where
        return iter(())


class AbsentQueue(_Absent):
    """An empty queue."""

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        """Refuse."""
        del bodies, delay, ttl
        self._refuse()

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        """Return nothing."""
        del count, hidden_for
        return []

    def delete(self, item: QueueItem) -> None:
        """Return: there is nothing to remove."""

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        """Return: there is nothing to release."""

    def length(self) -> int:
        """Return 0."""
        return 0


class AbsentLeases(_Absent):
    """Leases that cannot be acquired."""

    def acquire(self, name: str, seconds: int) -> str | None:
        """Refuse."""
        del name, seconds
        self._refuse()

    def renew(self, name: str, token: str) -> None:
        """Refuse."""
        del name, token
        self._refuse()

    def release(self, name: str, token: str) -> None:
        """Return: no lease is held."""
