"""Request replays: find records, read them, and publish route requests for their arrivals (docs/how-to/replay.md)."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from shared.clock import Now
from shared.dispatch.outbox import Replay, publish_replays
from shared.dispatch.record_resolution import resolved_record_path
from shared.documents.blob_paths import RECORD_KINDS, RecordKind, is_first_result
from shared.errors import ConfigurationError, MessageMissing, MessageUnreadable
from shared.operations.search import MIN_ID_DIGITS, find_by_id, outcome_of
from shared.receipts import ROUTABLE_STATES, Receipt
from shared.storage.base import Storage, Table

NOT_REPLAYABLE = {
    "unreadable": "the message was never downloaded; `mailroom enable MAILBOX --unreadable` requests it again",
    "oversized": "the message was never downloaded; a larger MAX_MESSAGE_BYTES lets it be downloaded",
}
"""Why a skipped message cannot be replayed, by kind of record."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """The part of a record, or of a result, that a replay uses.

    Attributes:
        path: its path.
        kind: the first part of the path: `unhandled`, …, or `routed`.
        mailbox: the arrival's mailbox.
        arrival: the receipt's key.
        is_unresolved: whether it is not marked as resolved.
    """

    path: str
    kind: str
    mailbox: str
    arrival: str
    is_unresolved: bool


@dataclass(frozen=True, slots=True)
class ReplayRequests:
    """Finds records that can be replayed, and requests their replay.

    Attributes:
        storage: where they are stored.
        now: returns the current time.
    """

    storage: Storage
    now: Now

    def list_records(
        self, kinds: Sequence[RecordKind], mailbox: str | None, since: date | None, until: date | None
    ) -> Iterator[str]:
        """Yield the paths of records by the day on which their messages were stored, in UTC.

        Args:
            kinds: the kinds of record.
            mailbox: the mailbox's name; None: all mailboxes.
            since: the first day; None: from the beginning.
            until: the last day; None: to the end.
        """
        first, last = (None if day is None else f"{day:%Y/%m/%d}" for day in (since, until))
        for kind in kinds:
            prefix = f"{kind}/" if mailbox is None else f"{kind}/{mailbox}/"
            if mailbox is not None and first is not None:
                prefix += posixpath.commonprefix([first, last or f"{self.now():%Y/%m/%d}"])
            for path in self.storage.blobs.list(prefix):
                day = day_of_record(path)
                if (first is None or day >= first) and (last is None or day <= last):
                    yield path

    def resolve_paths(self, record: str, *, reissue: bool) -> list[str]:
        """Return the paths that an operator's argument names: one path, or all paths with this prefix.

        Args:
            record: a path in the container, or a prefix of paths.
            reissue: whether it names results instead of records. A prefix selects first results only: a reissued result
                is of the same mail.

        Raises:
            ConfigurationError: it is not a path of a document that can be replayed.
            MessageMissing: there is no document with this path or prefix.
        """
        record = record.strip().lstrip("/")
        kind = record.partition("/")[0]
        if kind in NOT_REPLAYABLE:
            raise ConfigurationError(f"{record}: {NOT_REPLAYABLE[kind]}")
        if reissue and kind != "routed":
            raise ConfigurationError(f"{record} is not a result: --reissue needs a path under routed/")
        if not reissue and kind == "routed":
            raise ConfigurationError(
                f"{record} is a result: only --reissue writes it again, and consumers then see another event"
            )
        *folders, _ = record.split("/")
        if not folders or {"", ".", ".."} & {*folders} or (not reissue and kind not in RECORD_KINDS):
            prefixes = ", ".join(f"{kind}/" for kind in RECORD_KINDS)
            raise ConfigurationError(
                f"{record!r} is neither an id ({MIN_ID_DIGITS} to 64 hex digits, as `find` shows it) nor the path of a "
                f"record, which begins with {prefixes}"
            )
        paths = list(self.storage.blobs.list(record))
        if record in paths:
            return [record]
        paths = [path for path in paths if not reissue or is_first_result(path)]
        if not paths:
            raise MessageMissing(f"there is nothing at {record}")
        return paths

    def read_record(self, path: str) -> StoredRecord | None:
        """Read a record. Return None if it is gone.

        Raises:
            MessageUnreadable: the blob is not a document that Mailroom wrote.
        """
        data = self.storage.blobs.read(path)
        if data is None:
            return None
        try:
            document = json.loads(data)
            arrival = document["arrival"]
            mailbox, key = str(arrival["mailbox"]), str(arrival["id"])
            is_unresolved = document.get("resolved") is None
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            raise MessageUnreadable(f"{path} is not a record that Mailroom wrote: it names no arrival") from None
        return StoredRecord(path, path.partition("/")[0], mailbox, key, is_unresolved)

    def paths_by_id(self, prefix: str, *, reissue: bool) -> list[str]:
        """Return the paths of a message's records, or of its results.

        Args:
            prefix: a message's id, an arrival's key, or the beginning of one.
            reissue: whether results are replayed instead of records.

        Raises:
            MessageMissing: there is no such message, or it has no records or results.
            ConfigurationError: several messages have such an id, or the message was never downloaded.
        """
        receipts = find_by_id(self.storage.records, prefix)
        for receipt in receipts:
            if not receipt.was_downloaded:
                raise ConfigurationError(f"{prefix}: {NOT_REPLAYABLE[receipt.state]}")
        paths = [path for receipt in receipts for path in self._paths_of(receipt, reissue=reissue)]
        if not paths:
            outcomes = ", ".join(sorted({outcome_of(receipt) for receipt in receipts}))
            kind = "result to write again" if reissue else "record to replay"
            raise MessageMissing(f"message {prefix} has no {kind}; its outcome is: {outcomes}")
        return paths

    def _paths_of(self, receipt: Receipt, *, reissue: bool) -> list[str]:
        if not receipt.message:
            return []
        paths = (
            receipt.results().values() if reissue else [resolved_record_path(kind, receipt) for kind in RECORD_KINDS]
        )
        return [path for path in paths if self.storage.blobs.exists(path)]

    def routable_receipts(self, records: Sequence[StoredRecord]) -> dict[str, Receipt]:
        """Return the receipts of records, by arrival, without those that cannot be routed: they are gone or erased."""
        found = self.storage.records.get_many(Table.RECEIPTS, list({record.arrival for record in records}))
        receipts = {key: Receipt.from_record(record) for key, record in found.items()}
        return {key: receipt for key, receipt in receipts.items() if receipt.state in ROUTABLE_STATES}

    def request(self, records: Iterable[StoredRecord], *, reissue: str = "") -> None:
        """Publish a replay for each record's arrival.

        Args:
            records: one record of each arrival.
            reissue: the id of this request if new results are to replace the named ones; empty: results are kept.
        """
        replays = [Replay(record.arrival, record.mailbox, record.path, reissue) for record in records]
        publish_replays(self.storage, replays, self.now())


def day_of_record(path: str) -> str:
    """Return the day in the path of a record or result, as `2026/11/24`: results have a route in place of a mailbox."""
    return "/".join(path.split("/")[2:5])


def parse_kind(kind: str | None) -> tuple[RecordKind, ...]:
    """Return the kinds of record that an operator's argument names; None: all.

    Raises:
        ConfigurationError: there is no such kind.
    """
    if kind is None:
        return RECORD_KINDS
    kinds = tuple(record_kind for record_kind in RECORD_KINDS if record_kind == kind)
    if not kinds:
        raise ConfigurationError(f"there is no kind {kind}; the kinds are {', '.join(RECORD_KINDS)}")
    return kinds
