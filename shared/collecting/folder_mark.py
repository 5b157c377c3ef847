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

    def read(self) -> str | None:
        """The mark up to which all is dealt with; None if there is none that counts."""
        record = self.records.get(Table.MAILBOXES, self._key)
        if record is None or record.values.get("limits") != self._limits:
            return None
        return str(record.values["upto"])

    def advance(self, upto: str | None, before: str | None) -> None:
        """Put down a new mark.

        Args:
            upto: what the mailbox gave for what was dealt with; None leaves the mark where it is.
            before: what `read` gave.
        """
        if upto is not None and upto != before:
            values: Values = {"folder": self.folder, "upto": upto, "limits": self._limits}
            self.records.merge(Table.MAILBOXES, self._key, values)

    @property
    def _key(self) -> str:
        return digest("mark", self.settings.name, self.folder)

    @property
    def _limits(self) -> str:
        again = f" {self.unreadable_before.isoformat()}" if self.unreadable_before is not None else ""
        return f"{self.settings.max_message_bytes} {self.settings.since}{again}"
