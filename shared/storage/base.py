"""What Mailroom asks of a storage, whatever stands behind it.

Two stand behind it: `azure` (Blob, Queue and Table Storage) and `folder` (plain files and one SQLite file). Any method
may raise `TransientError` (or what derives from it) when the service is ill, and nothing else but what it names.
All methods may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, Protocol

Value = str | int | bool | datetime
"""What a record's property may hold: text of any length, whole numbers to 63 bits, truth values, aware UTC times."""

Values = Mapping[str, Value]


class Table(StrEnum):
    """The kinds of record, each a table of its own."""

    RECEIPTS = "receipts"
    CLAIMS = "claims"
    OUTBOX = "outbox"
    MAILBOXES = "mailboxes"
    SUBSCRIPTIONS = "subscriptions"
    CONVERSATIONS = "conversations"


class QueueName(StrEnum):
    """The queues between the functions. The host adds `<name>-poison` to each that it gives up on."""

    POLLS = "polls"
    POLLS_POISON = "polls-poison"
    ROUTE_REQUESTS = "route-requests"
    ROUTE_REQUESTS_POISON = "route-requests-poison"
    LIFECYCLE = "lifecycle"
    LIFECYCLE_POISON = "lifecycle-poison"


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read.

    Attributes:
        key: its key, hex digits.
        values: its properties.
        etag: opaque; changes with every write of the record.
    """

    key: str
    values: dict[str, Value]
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which records of a table are meant: those that fulfil all of it. The storage picks them, not the caller.

    Attributes:
        key: how their keys begin.
        equal: properties that have just this text or truth value. One that a record lacks equals nothing.
        begins: properties whose texts begin so.
        time: the property that `since` and `until` are about.
        since: not before this moment; None: from the beginning.
        until: before this moment; None: to the end.
    """

    key: str = ""
    equal: Mapping[str, str | bool] = field(default_factory=dict)
    begins: Mapping[str, str] = field(default_factory=dict)
    time: str = "stored_at"
    since: datetime | None = None
    until: datetime | None = None


EVERYWHERE: Final = Filter()


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One queue message as received.

    Attributes:
        id: the queue's id of it.
        receipt: proof of having received it; goes stale when another receives it.
        body: the text that was put.
        dequeue_count: how often it was received, this time included.
        inserted: when it was put.
    """

    id: str
    receipt: str
    body: str
    dequeue_count: int
    inserted: datetime


@dataclass(frozen=True, slots=True)
class BlobVersion:
    """A blob as it stood when it was read.

    Attributes:
        data: the whole of it; None if it was asked for unless it is of a known version, and it is.
        etag: opaque; changes with every write of the blob.
    """

    data: bytes | None
    etag: str


class Blobs(Protocol):
    """Mail and results, by path: create-only, but for a record that is marked, and what is to be forgotten."""

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:
        """Write a whole blob if there is none: True if written, False if one was there.

        Args:
            path: relative, with `/`.
            data: the bytes, or a file that holds them and is streamed.
            content_type: as stored with the blob.
            download_name: given, the blob is stored with `Content-Disposition: attachment` and this name.
        """

    def settle(self) -> None:
        """Return once everything created, replaced and removed so far would stay so in a power failure."""

    def read(self, path: str) -> bytes | None:
        """The whole blob, or None if there is none."""

    def download(self, path: str, target: BinaryIO) -> bool:
        """Stream a blob into an open file: False if there is none. Holds a few MB at most."""

    def version(self, path: str, *, unless: str = "", most: int | None = None) -> BlobVersion | None:
        """The whole blob and its etag, or None if there is none.

        Args:
            path: as it was created.
            unless: an etag: as long as the blob has it, the data is not read again.
            most: bytes that are read at most; None: all.
        """

    def replace(self, path: str, data: bytes, *, etag: str, content_type: str) -> None:
        """Write a blob anew, whole, provided that it still is as `etag` knew it.

        Raises:
            WriteConflict: it is not, or is gone.
        """

    def delete_many(self, paths: Iterable[str]) -> None:
        """Remove blobs; one that is not there is fine."""

    def exists(self, path: str) -> bool:
        """Whether there is such a blob."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """The paths that begin with `prefix`, in order."""


class Queue(Protocol):
    """One queue. Messages are text; a message lives for good unless `ttl` says otherwise."""

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        """Put messages, invisible for `delay` seconds, dying after `ttl` seconds (None: never)."""

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        """Up to `count` (32 at most) visible messages, hidden from others for `hidden_for` seconds."""

    def delete(self, item: QueueItem) -> None:
        """Remove a received message. One that another has received since is left alone, silently."""

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        """Make a received message visible again after `delay` seconds."""

    def length(self) -> int:
        """About how many messages there are, hidden ones included."""


class Records(Protocol):
    """Small records by table and key."""

    def get(self, table: Table, key: str) -> Record | None:
        """One record, or None."""

    def get_many(self, table: Table, keys: Sequence[str]) -> dict[str, Record]:
        """Those of `keys` that are there."""

    def create(self, table: Table, key: str, values: Values) -> bool:
        """Create a record if there is none: True if created, False if one was there."""

    def create_many(self, table: Table, rows: Mapping[str, Values]) -> set[str]:
        """Create those that are not there; gives the keys that were there already. Not atomic as a whole."""

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Set the given properties and leave the others; creates the record if `etag` is None and there is none.

        Raises:
            WriteConflict: the record is not as `etag` knew it, or is gone.
        """

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """`merge` without etag, for several. Not atomic as a whole."""

    def replace(self, table: Table, key: str, values: Values, *, etag: str) -> None:
        """Write a record anew: nothing of what it held before stays in the storage but what `values` has.

        Raises:
            WriteConflict: the record is not as `etag` knew it, or is gone.
        """

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Remove records; one that is not there is fine."""

    def scan(self, table: Table, where: Filter = EVERYWHERE) -> Iterator[Record]:
        """Those records of a table that are meant, in no promised order."""


class Leases(Protocol):
    """Exclusive holds by name, that end by themselves unless renewed. The storage's clock counts, not ours."""

    def acquire(self, name: str, seconds: int) -> str | None:
        """A token if nobody holds the name, else None. `seconds` is 15 to 60, as blob leases have it."""

    def renew(self, name: str, token: str) -> None:
        """Begin the seconds anew.

        Raises:
            LeaseLost: it is not ours any more.
        """

    def release(self, name: str, token: str) -> None:
        """Give it up; one that is not ours any more is left alone, silently."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Everything that is stored, wired together."""

    blobs: Blobs
    records: Records
    queues: Mapping[str, Queue]
    leases: Leases
    close: Callable[[], None]
    """Ends connections and threads; nothing may be asked of the storage afterwards."""
    remove_leftover_files: Callable[[], int] = lambda: 0
    """Removes the temporary files that killed processes left; returns how many."""
    release_dead: Callable[[], int] = lambda: 0
    """Releases the messages and leases that killed processes held, where their owner is known; returns how many."""
