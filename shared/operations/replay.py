"""Replays, on the side of whoever asks: records found, read, and announced to be routed anew (docs/replay.md)."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from shared.clock import Now
from shared.dispatch.outbox import publish_replays
from shared.documents.blob_paths import RECORD_KINDS, RecordKind, is_first_result
from shared.errors import ConfigurationError, MessageMissing, MessageUnreadable
from shared.queue_messages import ReplayRequest, RouteRequest
from shared.receipts import ROUTABLE_STATES, State
from shared.storage.base import Storage, Table

NOT_REPLAYABLE = {
    "unreadable": "it was never downloaded; `mailroom enable MAILBOX --unreadable` has it tried again",
    "oversized": "it was never downloaded; a larger MAX_MESSAGE_BYTES has it tried again",
}
"""Why a message that stays in its mailbox has nothing to be routed, by kind of record."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record, or a result, as far as a replay needs it.

    Attributes:
        path: where it is.
        kind: the first part of the path: `unhandled`, …, or `routed`.
        mailbox: where its arrival came in.
        arrival: the receipt's key.
        is_open: whether it is not marked as resolved.
    """

    path: str
    kind: str
    mailbox: str
    arrival: str
    is_unresolved: bool


@dataclass(frozen=True, slots=True)
class ReplayRequests:
    """Finds what may be replayed, and asks for it.

    Attributes:
        stores: where everything is.
        now: the time.
    """

    storage: Storage
    now: Now

    def list_records(
        self, kinds: Sequence[RecordKind], mailbox: str | None, since: date | None, until: date | None
    ) -> Iterator[str]:
        """The paths of records by the day on which their messages were stored, in UTC.

        Args:
            kinds: which records.
            mailbox: of this one only; None: of all.
            since: the first day; None: from the beginning.
            until: the last day; None: to the end.
        """
        first, last = (None if day is None else f"{day:%Y/%m/%d}" for day in (since, until))
        for kind in kinds:
            prefix = f"{kind}/" if mailbox is None else f"{kind}/{mailbox}/"
            if mailbox is not None and first is not None:
                prefix += posixpath.commonprefix([first, last or f"{self.now():%Y/%m/%d}"])
            for path in self.storage.blobs.list(prefix):
                day = "/".join(path.split("/")[2:5])
                if (first is None or day >= first) and (last is None or day <= last):
                    yield path

    def resolve_paths(self, record: str, *, reissue: bool) -> list[str]:
        """The paths that somebody means: this one, or all that begin so.

        Args:
            record: a path in the container, or how paths begin.
            reissue: results are meant, not records. Of a beginning, the first ones: what replaced one is the same mail.

        Raises:
            ConfigurationError: it is no path of what can be replayed.
            MessageMissing: nothing is there.
        """
        record = record.strip().lstrip("/")
        kind = record.partition("/")[0]
        if kind in NOT_REPLAYABLE:
            raise ConfigurationError(f"{record}: {NOT_REPLAYABLE[kind]}")
        if reissue and kind != "routed":
            raise ConfigurationError(f"{record} is no result: --reissue writes a result anew, a path under routed/")
        if not reissue and kind == "routed":
            raise ConfigurationError(
                f"{record} is a result: only --reissue writes it anew, and consumers see another event"
            )
        *folders, _ = record.split("/")
        if not folders or {"", ".", ".."} & {*folders} or (not reissue and kind not in RECORD_KINDS):
            raise ConfigurationError(
                f"{record} is no path of a record: they begin with {', '.join(f'{k}/' for k in RECORD_KINDS)}"
            )
        found = list(self.storage.blobs.list(record))
        if record in found:
            return [record]
        found = [path for path in found if not reissue or is_first_result(path)]
        if not found:
            raise MessageMissing(f"there is nothing at {record}")
        return found

    def read_record(self, path: str) -> StoredRecord | None:
        """What a record tells of its arrival; None if it is gone.

        Raises:
            MessageUnreadable: it is no document of Mailroom's.
        """
        data = self.storage.blobs.read(path)
        if data is None:
            return None
        try:
            told = json.loads(data)
            arrival = told["arrival"]
            mailbox, key = str(arrival["mailbox"]), str(arrival["id"])
            is_open = told.get("resolved") is None
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            raise MessageUnreadable(f"{path} is no record of Mailroom's: it names no arrival") from None
        return StoredRecord(path, path.partition("/")[0], mailbox, key, is_open)

    def not_routable(self, many: Sequence[StoredRecord]) -> set[str]:
        """Which of these paths cannot be routed: their arrival's receipt is gone, or its message was forgotten."""
        receipts = self.storage.records.get_many(Table.RECEIPTS, list({one.arrival for one in many}))
        routable = {key for key, one in receipts.items() if State(str(one.values["state"])) in ROUTABLE_STATES}
        return {one.path for one in many if one.arrival not in routable}

    def request(self, many: Iterable[StoredRecord], *, reissue: str = "") -> None:
        """Have arrivals routed anew.

        Args:
            many: a record of each.
            reissue: the id of this request, where new results are to replace those named; empty: results are kept.
        """
        wanted = [(RouteRequest(one.arrival, replay=ReplayRequest(one.path, reissue)), one.mailbox) for one in many]
        publish_replays(self.storage, wanted, self.now())


def parse_kind(kind: str | None) -> tuple[RecordKind, ...]:
    """The kinds of record that somebody asks for; None: all.

    Raises:
        ConfigurationError: there is no such kind.
    """
    if kind is None:
        return RECORD_KINDS
    found = tuple(fate for fate in RECORD_KINDS if fate == kind)
    if not found:
        raise ConfigurationError(f"there is no kind {kind}; there are: {', '.join(RECORD_KINDS)}")
    return found
