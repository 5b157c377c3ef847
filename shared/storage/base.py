"""The storage that Mailroom needs: protocols for blobs, records, queues and leases, and what their data looks like.

Two implementations exist: `azure` (Blob, Queue and Table Storage) and `folder` (plain files and one SQLite database).
Every method may raise `TransientError` or a subclass of it when the service is unavailable. Other errors are listed
with the method. All methods may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import MAXYEAR, datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, Protocol

Value = str | int | bool | datetime
"""A property of a record: text of any length, an integer of up to 63 bits, a boolean, or an aware UTC time."""

Values = Mapping[str, Value]


class Table(StrEnum):
    """The kinds of record. Each has a table of its own in an account, except those in `SHARED_TABLES`."""

    RECEIPTS = "receipts"
    CLAIMS = "claims"
    OUTBOX = "outbox"
    MAILBOXES = "mailboxes"
    SUBSCRIPTIONS = "subscriptions"
    CONVERSATIONS = "conversations"
    INDEX = "index"
    TOMBSTONES = "tombstones"


class QueueName(StrEnum):
    """The queues between the functions. The Functions host moves dead letters to `<name>-poison`."""

    POLLS = "polls"
    POLLS_POISON = "polls-poison"
    ROUTE_REQUESTS = "route-requests"
    ROUTE_REQUESTS_POISON = "route-requests-poison"
    LIFECYCLE = "lifecycle"
    LIFECYCLE_POISON = "lifecycle-poison"


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read.

    Attributes:
        key: the record's key, in hex digits.
        values: the record's properties.
        etag: opaque; changes with every write of the record.
    """

    key: str
    values: dict[str, Value]
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A condition on the records of a table, which the storage evaluates. All parts have to be true.

    Attributes:
        key_prefix: the first characters of the keys.
        key_from: the smallest key, which has at least the characters of the prefix; empty: no limit.
        equal: properties and the text or boolean that each equals. A property that a record lacks equals nothing.
        prefixes: properties and the first characters of each one's text; not empty.
        time_property: the property that `since` and `until` limit.
        since: the earliest time, inclusive; None: no limit.
        until: the latest time, exclusive; None: no limit.
    """

    key_prefix: str = ""
    key_from: str = ""
    equal: Mapping[str, str | bool] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    time_property: str = "stored_at"
    since: datetime | None = None
    until: datetime | None = None


MATCH_ALL: Final = Filter()


PARTITION_DIGITS: Final[Mapping[Table, int]] = {
    Table.RECEIPTS: 1,
    Table.OUTBOX: 1,
    Table.INDEX: 1,
    Table.TOMBSTONES: 1,
    Table.CLAIMS: 0,
    Table.CONVERSATIONS: 0,
}
"""The first digits of a key, by table, that name its partition; two in other tables.

The arrivals of one folder are in one partition. All claims are in one partition, and all conversations: a transaction
takes the claims of a whole batch of messages.
"""

SHARED_TABLES: Final[Mapping[Table, Table]] = dict.fromkeys(
    (Table.OUTBOX, Table.INDEX, Table.TOMBSTONES), Table.RECEIPTS
)
"""Tables whose records are in the partitions of another table, so that a transaction can change both."""


def partition_of(table: Table, key: str) -> str:
    """Return the partition of a record. A transaction changes records of one partition."""
    return key[: PARTITION_DIGITS.get(table, 2)]


@dataclass(frozen=True, slots=True)
class Create:
    """The creation of a record that must not exist."""

    table: Table
    key: str
    values: Values


@dataclass(frozen=True, slots=True)
class Merge:
    """Set the given properties of a record and keep the others.

    Without `etag`, the record is created if it does not exist. With it, the record must have this etag.
    """

    table: Table
    key: str
    values: Values
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Replace:
    """Replace all properties of a record that must have an etag."""

    table: Table
    key: str
    values: Values
    etag: str


@dataclass(frozen=True, slots=True)
class Delete:
    """The deletion of a record that must exist and, if `etag` is given, must have it."""

    table: Table
    key: str
    etag: str | None = None


Change = Create | Merge | Replace | Delete
"""A change of one record, as a part of a transaction."""


class BodyEncoding(StrEnum):
    """How the text of a message on a queue is encoded. The queues use base64 of UTF-8 text."""

    TEXT = "text"
    NOT_UTF8 = "not UTF-8"
    NOT_BASE64 = "not base64"


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A queue message as it was received.

    Attributes:
        id: the queue's id of the message.
        receipt: the pop receipt; it becomes invalid when the message is received again.
        body: the text of the message; what is on the queue if that is not base64 of UTF-8 text.
        dequeue_count: how often the message was received, including this time.
        inserted: when the message was put on the queue.
        encoding: whether `body` was decoded.
        encoded: what is on the queue; None: `body` is not encoded there.
    """

    id: str
    receipt: str
    body: str
    dequeue_count: int
    inserted: datetime
    encoding: BodyEncoding = BodyEncoding.TEXT
    encoded: str | None = None


@dataclass(frozen=True, slots=True)
class BlobVersion:
    """A version of a blob.

    Attributes:
        data: the content; None if the caller named this version's etag and so has the content.
        etag: opaque; changes with every write of the blob.
    """

    data: bytes | None
    etag: str


@dataclass(frozen=True, slots=True)
class NewBlob:
    """A blob to create.

    Attributes:
        path: relative, with `/`.
        data: the bytes, or a file with the bytes, which is streamed.
        content_type: the content type to store with the blob.
        download_name: the file name of a `Content-Disposition: attachment` to store with the blob; None: none.
    """

    path: str
    data: bytes | Path
    content_type: str
    download_name: str | None = None


class Blobs(Protocol):
    """Messages, results and records as files, by path.

    Blobs are create-only. Exceptions are records that are marked as resolved, and content that is erased.
    """

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:
        """Create a blob as a whole, and return whether it was created; False means that the path exists already.

        Args:
            path: relative, with `/`.
            data: the bytes, or a file with the bytes, which is streamed.
            content_type: the content type to store with the blob.
            download_name: the file name of a `Content-Disposition: attachment` to store with the blob; None: none.
        """

    def create_many(self, blobs: Sequence[NewBlob]) -> list[bool]:
        """Create blobs, several at once, and return for each whether it was created.

        If one cannot be created, its error is raised when no other is being created any more. Some may exist then.
        """

    def flush(self) -> None:
        """Return after all earlier creations, replacements and deletions are durable in a power failure."""

    def read(self, path: str) -> bytes | None:
        """Return a blob's content, or None if the blob does not exist."""

    def download(self, path: str, target: BinaryIO) -> bool:
        """Stream a blob into an open file, and return whether the blob exists. Buffers a few MB at most."""

    def read_version(self, path: str, *, unless_etag: str = "", max_bytes: int | None = None) -> BlobVersion | None:
        """Return a blob's content and etag, or None if the blob does not exist.

        Args:
            path: the path that the blob was created with.
            unless_etag: the etag of a version whose content the caller has; it is not read again.
            max_bytes: the number of bytes to read at most; None: all.
        """

    def replace(self, path: str, data: bytes, *, etag: str, content_type: str) -> None:
        """Replace a blob's content if the blob still has the given etag.

        Raises:
            WriteConflict: the blob has another etag, or does not exist.
        """

    def delete_many(self, paths: Iterable[str]) -> None:
        """Delete blobs. A blob that does not exist is ignored."""

    def exists(self, path: str) -> bool:
        """Return whether a blob exists."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths that begin with `prefix`, sorted."""


class Queue(Protocol):
    """A queue of text messages. A message does not expire unless `ttl` is given."""

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        """Put messages that become visible after `delay` seconds and expire after `ttl` seconds (None: never)."""

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        """Return up to `count` visible messages (32 at most), and hide them for `hidden_for` seconds."""

    def delete(self, item: QueueItem) -> None:
        """Delete a received message, unless it has been received again since."""

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        """Make a received message visible again after `delay` seconds, unless it has been received again since."""

    def renew(self, item: QueueItem, *, hidden_for: float) -> QueueItem | None:
        """Hide a received message for `hidden_for` seconds from now on.

        Returns:
            The message with its current receipt; None: it has been received again since, or is gone.
        """

    def forward(self, item: QueueItem, *, ttl: float) -> None:
        """Put a message of another queue of this storage on this queue, byte for byte, to expire in `ttl` seconds."""

    def length(self) -> int:
        """Return the approximate number of messages, including hidden ones."""


class Records(Protocol):
    """Small records, by table and key."""

    def get(self, table: Table, key: str) -> Record | None:
        """Return a record, or None if it does not exist."""

    def get_many(self, table: Table, keys: Sequence[str]) -> dict[str, Record]:
        """Return the existing records of `keys`, by key."""

    def create(self, table: Table, key: str, values: Values) -> bool:
        """Create a record, and return whether it was created; False means that the key exists already."""

    def create_many(self, table: Table, rows: Mapping[str, Values]) -> set[str]:
        """Create the records that do not exist, and return the keys that existed already. Not atomic as a whole."""

    def commit(self, changes: Sequence[Change]) -> bool:
        """Make all changes in one transaction, or none. Return whether they were made.

        False means that a record is not as its change requires: a record to create exists, or another record does not
        exist or has another etag. After a lost reply it may also mean that this very transaction was made.

        Args:
            changes: up to `MAX_TRANSACTION` changes of different records in one partition (`partition_of`), of one
                table or of tables that share their partitions (`SHARED_TABLES`).
        """

    def merge(self, table: Table, key: str, values: Values, *, etag: str | None = None) -> None:
        """Set the given properties and keep the others. Without `etag`, create the record if it does not exist.

        Raises:
            WriteConflict: the record has another etag, or does not exist.
        """

    def merge_many(self, table: Table, rows: Mapping[str, Values]) -> None:
        """Merge several records without etags. Not atomic as a whole."""

    def replace(self, table: Table, key: str, values: Values, *, etag: str) -> None:
        """Replace all properties of a record. No earlier property stays in the storage.

        Raises:
            WriteConflict: the record has another etag, or does not exist.
        """

    def delete_many(self, table: Table, keys: Iterable[str]) -> None:
        """Delete records. A record that does not exist is ignored."""

    def scan(self, table: Table, where: Filter = MATCH_ALL, *, page_size: int | None = None) -> Iterator[Record]:
        """Yield the records of a table that match: in the order of their keys if `key_prefix` names a partition.

        Args:
            table: the table.
            where: the condition.
            page_size: the number of records that a request returns at most; None: as many as the storage allows.
        """

    def scan_newest(self, table: Table, where: Filter = MATCH_ALL) -> Iterator[Record]:
        """Yield the records of a table that match and have the property `stored_at`, by it and the key, descending.

        Where the storage has an index, records are read in pages, as far as the caller reads.
        """

    def count(self, table: Table, by: Sequence[str], where: Filter = MATCH_ALL) -> dict[tuple[str, ...], int]:
        """Return the number of records that match, by the texts of the properties `by`; a missing one is empty."""

    def is_indexed(self, table: Table, name: str) -> bool:
        """Return whether an index finds the records by a property. Otherwise a scan reads the whole table."""


class Leases(Protocol):
    """Exclusive leases by name, which end unless they are renewed. The storage measures the time."""

    def acquire(self, name: str, seconds: int) -> str | None:
        """Return a token, or None if the lease is held. `seconds` is 15 to 60, as for blob leases."""

    def renew(self, name: str, token: str) -> None:
        """Extend a lease by its full duration.

        Raises:
            LeaseLost: the token does not hold the lease any more.
        """

    def release(self, name: str, token: str) -> None:
        """End a lease, unless the token does not hold it any more."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The open storage: blobs, records, queues and leases."""

    blobs: Blobs
    records: Records
    queues: Mapping[str, Queue]
    leases: Leases
    close: Callable[[], None]
    """Ends connections and threads. The storage must not be used afterwards."""
    remove_leftover_files: Callable[[], int] = lambda: 0
    """Removes the temporary files that killed processes left; returns their number."""
    release_dead: Callable[[], int] = lambda: 0
    """Releases the messages and leases of killed processes, where the owner is known; returns their number."""
    parallel: int = 16
    """Operations at once with which one client of the storage does best."""


MAX_FILTERED_SCANS: Final = 4
"""Values that are looked up with a filter each. For more values, one scan of the whole table is cheaper."""


def scan_by_values(records: Records, table: Table, name: str, values: Iterable[str]) -> Iterator[Record]:
    """Yield the records whose property has one of several texts. No `Filter` can name alternatives.

    Without an index on the property, many texts are one scan of the table.

    Args:
        records: the records to scan.
        table: the table to scan.
        name: the name of the property.
        values: the texts; empty ones are ignored.
    """
    distinct = {value for value in values if value}
    if len(distinct) <= MAX_FILTERED_SCANS or records.is_indexed(table, name):
        for value in distinct:
            yield from records.scan(table, Filter(equal={name: value}))
        return
    for record in records.scan(table):
        if record.values.get(name) in distinct:
            yield record


def checked_path(path: str) -> str:
    """Return a blob's path if every storage takes it for the same blob.

    Raises:
        ValueError: the path is empty or absolute, has a part that is empty, `.` or `..`, or contains a NUL.
    """
    if "\0" in path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError(f"not a valid blob path: {path!r}")
    return path


def storable_text(text: str) -> str:
    """Return a text with lone surrogates replaced. A mail header may contain them, and UTF-8 cannot encode them."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


FIRST_YEAR: Final = 1601
"""The first year that a table can store (Understanding the Table service data model: DateTime)."""


def storable_time(time: datetime | None) -> datetime | None:
    """Return a time from outside, or None if it is implausible, such as year 1 as "never".

    Table Storage stores times from 1601 on. Years at either limit are excluded, because another time zone may move
    a time past the limit.
    """
    return time if time is not None and FIRST_YEAR < time.year < MAXYEAR else None


def prefix_upper_bound(prefix: str) -> str:
    """Return the smallest text that is greater than all texts that begin with `prefix`, which is not empty."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
