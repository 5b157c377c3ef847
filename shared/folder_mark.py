"""How far a folder was taken under `keep`, so that a look does not ask for a hundred thousand receipts.

A mark stands for "everything up to this key was dealt with, by these limits". It saves work and nothing else: without
it every message has its receipt. Only where the server orders its keys (IMAP, within one UIDVALIDITY) is it used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from shared.keys import digest
from shared.mailboxes.protocol import Listed
from shared.settings import MailboxSettings
from shared.storage.protocol import Records, Table, Values


@dataclass(frozen=True, slots=True)
class FolderMark:
    """The mark of one folder of one mailbox.

    Attributes:
        records: where it is.
        settings: the mailbox's: other limits than the mark was made by, and it does not count.
        folder: the folder.
    """

    records: Records
    settings: MailboxSettings
    folder: str

    def read(self) -> str | None:
        """The server's key up to which all is dealt with; None if there is no mark that counts."""
        record = self.records.get(Table.MAILBOXES, self._key)
        if record is None or record.values.get("limits") != self._limits:
            return None
        return str(record.values["upto"])

    def advance(self, listed: Sequence[Listed], dealt_with: Collection[int], before: str | None) -> None:
        """Move the mark behind the last message before the first that was not dealt with.

        Args:
            listed: what was listed above the mark, oldest first.
            dealt_with: numbers of those that need no other look by the same limits.
            before: what `read` gave.
        """
        upto = before
        for one in listed:
            if one.number not in dealt_with or one.key is None:
                break
            upto = one.key
        if upto is not None and upto != before:
            values: Values = {"folder": self.folder, "upto": upto, "limits": self._limits}
            self.records.merge(Table.MAILBOXES, self._key, values)

    @property
    def _key(self) -> str:
        return digest("mark", self.settings.name, self.folder)

    @property
    def _limits(self) -> str:
        return f"{self.settings.max_message_bytes} {self.settings.since}"
