"""The watermark of a folder under `keep`, so that a poll does not read a hundred thousand receipts.

A watermark is a position up to which everything was processed, by certain limits. It only saves work: each message
below it has its receipt. Its value depends on the protocol: a UID over IMAP, a link to later changes over Graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.clock import Now
from shared.config import MailboxSettings, MailProtocol
from shared.keys import digest
from shared.storage.base import Records, Table, Values

FULL_LISTING_AFTER = timedelta(days=1)
"""How often everything is listed: if messages were skipped, to request them again; and over IMAP, since some servers
reuse UIDs below the watermark, to find new messages there."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """The part of a folder that need not be listed again.

    Attributes:
        upto: the position, in the protocol's format; None: the beginning.
        skipped: messages in that part that were skipped, so that `status` still counts them.
        listed_at: when that part was last listed; None: never.
    """

    upto: str | None = None
    skipped: int = 0
    listed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WatermarkStore:
    """The stored watermark of one folder of one mailbox.

    Attributes:
        records: where it is stored.
        settings: the mailbox's: a watermark made under other limits does not count.
        folder: the folder.
        now: returns the current time.
        unreadable_before: the time before which unreadable messages are tried again; one of the limits.
    """

    records: Records
    settings: MailboxSettings
    folder: str
    now: Now
    unreadable_before: datetime | None = None

    def read(self) -> Watermark:
        """Return the stored watermark; an empty one if there is none, its limits differ, or a full listing is due."""
        record = self.records.get(Table.MAILBOXES, self._key)
        if record is None or record.values.get("limits") != self._limits:
            return Watermark()
        skipped, listed_at = int(str(record.values["skipped"])), record.values["listed_at"]
        assert isinstance(listed_at, datetime)
        lists_daily = skipped > 0 or self.settings.protocol is MailProtocol.IMAP
        if lists_daily and self.now() - listed_at >= FULL_LISTING_AFTER:
            return Watermark()
        return Watermark(str(record.values["upto"]), skipped, listed_at)

    def advance(self, before: Watermark, upto: str, skipped: int) -> None:
        """Store a new watermark.

        Args:
            before: the watermark that `read` returned.
            upto: the new position.
            skipped: messages below it that were skipped.
        """
        values: Values = {
            "folder": self.folder,
            "upto": upto,
            "skipped": skipped,
            "listed_at": before.listed_at or self.now(),
            "limits": self._limits,
        }
        self.records.merge(Table.MAILBOXES, self._key, values)

    @property
    def _key(self) -> str:
        return digest("mark", self.settings.name, self.folder)

    @property
    def _limits(self) -> str:
        unreadable = f" {self.unreadable_before.isoformat()}" if self.unreadable_before is not None else ""
        return f"{self.settings.max_message_bytes} {self.settings.since}{unreadable}"
