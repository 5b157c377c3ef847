"""How far a folder was taken under `keep`, so that a look does not ask for a hundred thousand receipts.

A mark stands for "what is listed up to here was dealt with, by these limits". It saves work and nothing else: without
it every message has its receipt. What a mark is the protocol says: IMAP's a key, Graph's a link to the changes since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.keys import digest
from shared.settings import MailboxSettings
from shared.storage.protocol import Records, Table, Values


@dataclass(frozen=True, slots=True)
class Watermark:
    """The part of a folder that need not be listed again.

    Attributes:
        upto: what the mailbox gave for it; None: nothing.
        skipped: messages in that part that were skipped, so that `status` goes on counting them.
    """

    upto: str | None = None
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class FolderMark:
    """The mark of one folder of one mailbox.

    Attributes:
        records: where it is.
        settings: the mailbox's: other limits than the mark was made by, and it does not count.
        folder: the folder.
        unreadable_before: what is tried again is another limit.
    """

    records: Records
    settings: MailboxSettings
    folder: str
    unreadable_before: datetime | None = None

    def read(self) -> Watermark:
        """Return the watermark, an empty one if there is none that counts."""
        record = self.records.get(Table.MAILBOXES, self._key)
        if record is None or record.values.get("limits") != self._limits:
            return Watermark()
        return Watermark(str(record.values["upto"]), int(str(record.values.get("skipped", 0))))

    def advance(self, watermark: Watermark) -> None:
        """Store a new watermark."""
        values: Values = {
            "folder": self.folder,
            "upto": watermark.upto or "",
            "skipped": watermark.skipped,
            "limits": self._limits,
        }
        self.records.merge(Table.MAILBOXES, self._key, values)

    @property
    def _key(self) -> str:
        return digest("mark", self.settings.name, self.folder)

    @property
    def _limits(self) -> str:
        again = f" {self.unreadable_before.isoformat()}" if self.unreadable_before is not None else ""
        return f"{self.settings.max_message_bytes} {self.settings.since}{again}"
