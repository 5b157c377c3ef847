"""A store that does not exist. It reads as empty, refuses writes, and creates nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

from shared.errors import ServiceUnavailable
from shared.storage.base import MATCH_ALL, BlobVersion, Change, Filter, NewBlob, QueueItem, Record, Table, Values


class _AbsentStore:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _refuse(self) -> NoReturn:
        raise ServiceUnavailable(
            f"the store in {self._folder} does not exist yet; `mailroom run-once` and `mailroom serve` create it"
        )


class AbsentBlobs(_AbsentStore):
    """The blobs of a store that does not exist."""

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:
        """Raise `ServiceUnavailable`."""
        del path, data, content_type, download_name
        self._refuse()

    def create_many(self, blobs: Sequence[NewBlob]) -> list[bool]:
        """Raise `ServiceUnavailable`."""
        del blobs
        self._refuse()

    def flush(self) -> None:
        """Return: nothing was written."""

    def read(self, path: str) -> bytes | None:
        """Return None."""
        del path
        return None

    def download(self, path: str, target: BinaryIO) -> bool:
        """Return False."""
        del path, target
        return False

    def read_version(self, path: str, *, unless_etag: str = "", max_bytes: int | None = None) -> BlobVersion | None:
        """Return None."""
        del path, unless_etag, max_bytes
        return None

    def replace(self, path: str, data: bytes, *, etag: str, content_type: str) -> None:
        """Raise `ServiceUnavailable`."""
        del path, data, etag, content_type
        self._refuse()

    def delete_many(self, paths: Iterable[str]) -> None:
        """Return: there is nothing to delete."""

    def exists(self, path: str) -> bool:
        """Return False."""
        del path
        return False

    def list(self, prefix: str = "") -> Iterator[str]:
        """Return an empty iterator."""
        del prefix
        return iter(())


class AbsentRecords(_AbsentStore):
    """The records of a store that does not exist."""

    def get(self, table: Table, key: str) -> Record | None:
        """Return None."""
        del table, key
        return None

    def get_many(self, table: Table, keys: Sequence[str]) -> dict[str, Record]:
        """Return an empty dictionary."""
        del table, keys
        return {}

    def create(self, table: Table, key: str, values: Values) -> bool:
        """Raise `ServiceUnavailable`."""
        del table, key, values
        self._refuse()

    def create_many(self, table: Table, rows: Mapping[str, Values]) -> set[str]:
        """Raise `ServiceUnavailable`."""
        del table, rows
        self._refuse()

    def commit(self, changes: Sequence[Change]) -> bool:
        """Raise `ServiceUnavailable`."""
        del changes
        self._refuse()

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Raise `ServiceUnavailable`."""
        del table, key, values, etag
        self._refuse()

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """Raise `ServiceUnavailable`."""
        del table, rows
        self._refuse()

    def replace(self, table: Table, key: str, values: Values, *, etag: str) -> None:
        """Raise `ServiceUnavailable`."""
        del table, key, values, etag
        self._refuse()

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Return: there is nothing to delete."""

    def scan(self, table: Table, where: Filter = MATCH_ALL, *, page_size: int | None = None) -> Iterator[Record]:
        """Return an empty iterator."""
        del table, where, page_size
        return iter(())

    def scan_newest(self, table: Table, where: Filter = MATCH_ALL) -> Iterator[Record]:
        """Return an empty iterator."""
        del table, where
        return iter(())

    def count(self, table: Table, by: Sequence[str], where: Filter = MATCH_ALL) -> dict[tuple[str, ...], int]:
        """Return an empty dictionary."""
        del table, by, where
        return {}

    def is_indexed(self, table: Table, name: str) -> bool:
        """Return True: nothing has to be read."""
        del table, name
        return True


class AbsentQueue(_AbsentStore):
    """A queue of a store that does not exist."""

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        """Raise `ServiceUnavailable`."""
        del bodies, delay, ttl
        self._refuse()

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        """Return an empty list."""
        del count, hidden_for
        return []

    def delete(self, item: QueueItem) -> None:
        """Return: there is nothing to delete."""

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        """Return: there is nothing to release."""

    def renew(self, item: QueueItem, *, hidden_for: float) -> QueueItem | None:
        """Return None."""
        del item, hidden_for
        return None

    def forward(self, item: QueueItem, *, ttl: float) -> None:
        """Raise `ServiceUnavailable`."""
        del item, ttl
        self._refuse()

    def length(self) -> int:
        """Return 0."""
        return 0


class AbsentLeases(_AbsentStore):
    """The leases of a store that does not exist."""

    def acquire(self, name: str, seconds: int) -> str | None:
        """Raise `ServiceUnavailable`."""
        del name, seconds
        self._refuse()

    def renew(self, name: str, token: str) -> None:
        """Raise `ServiceUnavailable`."""
        del name, token
        self._refuse()

    def release(self, name: str, token: str) -> None:
        """Return: no lease is held."""
