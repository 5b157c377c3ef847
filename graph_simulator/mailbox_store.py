"""The content of one mailbox: folders, messages, and the change log that delta queries read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from graph_simulator.items import CONTAINER, MUTABLE, Change, Folder, ImmutableIds, Message, new_id

WELL_KNOWN = {
    "inbox": "Inbox",
    "archive": "Archive",
    "deleteditems": "Deleted Items",
    "junkemail": "Junk Email",
    "sentitems": "Sent Items",
    "drafts": "Drafts",
    "outbox": "Outbox",
}
ROOT = "msgfolderroot"
HIDDEN = "Conversation Action Settings"


class MailboxStore:
    """The content of one mailbox. The caller holds the simulator's lock.

    Args:
        address: the mailbox's address.
        shared: whether it is a shared mailbox.
        on_change: called with every change at once, including those of messages that are not visible yet.

    Attributes:
        id: the user's GUID.
        folders: folders by id.
        messages: messages by immutable id.
        log: the visible changes.
        purged: contents that were deleted permanently.
        proxies: the mailbox's addresses with their types; `SMTP:` marks the primary address.
    """

    def __init__(self, address: str, *, shared: bool, on_change: Callable[[MailboxStore, Change], None]) -> None:
        self.address = address
        self.shared = shared
        self.id = str(uuid.uuid4())
        self.folders: dict[str, Folder] = {}
        self.messages: dict[str, Message] = {}
        self.log: list[Change] = []
        self.purged: list[bytes] = []
        self.proxies = [f"SMTP:{address}"]
        self._on_change = on_change
        self._by_mutable_id: dict[str, Message] = {}
        self._hidden: dict[str, Message] = {}
        self._immutable_ids = ImmutableIds()
        self._delivered = 0
        self.root = self.add_folder("Top of Information Store", None, well_known=ROOT)
        for well_known, name in WELL_KNOWN.items():
            self.add_folder(name, self.root, well_known=well_known)
        self.add_folder(HIDDEN, self.root, hidden=True)

    def add_folder(
        self, name: str, parent: Folder | None, *, well_known: str | None = None, hidden: bool = False
    ) -> Folder:
        """Create a folder."""
        folder = Folder(new_id(CONTAINER), name, parent, well_known, hidden)
        self.folders[folder.id] = folder
        return folder

    def children(self, parent: Folder, *, hidden: bool = False) -> list[Folder]:
        """Return the folders in a folder, optionally with hidden folders."""
        return [folder for folder in self.folders.values() if folder.parent is parent and (hidden or not folder.hidden)]

    def folder(self, key: str) -> Folder | None:
        """Return the folder with an id or well-known name."""
        folder = self.folders.get(key)
        if folder is None:
            folder = next((folder for folder in self.folders.values() if folder.well_known == key.lower()), None)
        return folder

    def message(self, key: str) -> Message | None:
        """Return the visible message with an id of either kind."""
        self.reveal()
        message = self.messages.get(key) or self._by_mutable_id.get(key)
        return None if message is None or message.id in self._hidden else message

    def messages_in(self, folder: Folder) -> Iterator[Message]:
        """Return the visible messages in a folder."""
        self.reveal()
        return (message for message in folder.messages.values() if message.id not in self._hidden)

    def add(
        self, content: bytes, folder: Folder, received: datetime | None, size: int | None, hidden_for: float
    ) -> Message:
        """Add a message, which is not visible for `hidden_for` seconds."""
        self._delivered += 1
        received = (received or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
        size = len(content) if size is None else size
        message = Message(self._immutable_ids.next(), new_id(MUTABLE), content, received, folder, size, self._delivered)
        self.messages[message.id] = message
        if hidden_for > 0:
            message.hidden_until = time.monotonic() + hidden_for
            self._hidden[message.id] = message
        self._insert(message, folder)
        return message

    def move(self, message: Message, folder: Folder) -> None:
        """Move a message. Its mutable id changes, even within a folder."""
        self._remove(message)
        message.mutable_id = new_id(MUTABLE)
        message.version += 1
        self._insert(message, folder)

    def delete(self, message: Message) -> None:
        """Move a message to Deleted Items, or delete it from there permanently."""
        if message.folder.well_known == "deleteditems":
            self.purge(message)
        else:
            deleted_items = self.folder("deleteditems")
            assert deleted_items is not None
            self.move(message, deleted_items)

    def purge(self, message: Message) -> None:
        """Delete a message permanently."""
        self._remove(message)
        del self.messages[message.id]
        self.purged.append(message.content)

    def renew_id(self, message: Message) -> None:
        """Give a message other ids in the same folder, as some moves in desktop Outlook do."""
        self._remove(message)
        del self.messages[message.id]
        message.id, message.mutable_id = self._immutable_ids.next(), new_id(MUTABLE)
        self.messages[message.id] = message
        self._insert(message, message.folder)

    def mark(self, message: Message, *, is_read: bool) -> None:
        """Mark a message as read or unread."""
        if message.is_read != is_read:
            message.is_read = is_read
            message.version += 1
            self._report("updated", message)

    def reveal(self, *, now: float | None = None) -> None:
        """Make messages visible whose `hidden_until` has passed."""
        now = time.monotonic() if now is None else now
        for message in [message for message in self._hidden.values() if message.hidden_until <= now]:
            del self._hidden[message.id]
            self.log.append(_change("created", message))

    def _insert(self, message: Message, folder: Folder) -> None:
        message.folder = folder
        folder.messages[message.id] = message
        self._by_mutable_id[message.mutable_id] = message
        self._report("created", message)

    def _remove(self, message: Message) -> None:
        # The client that moves or deletes a message has seen it, so the message becomes visible.
        if self._hidden.pop(message.id, None) is not None:
            self.log.append(_change("created", message))
        del message.folder.messages[message.id]
        del self._by_mutable_id[message.mutable_id]
        self._report("deleted", message)

    def _report(self, kind: str, message: Message) -> None:
        change = _change(kind, message)
        if message.id not in self._hidden:
            self.log.append(change)
        self._on_change(self, change)


def _change(kind: str, message: Message) -> Change:
    return Change(kind, message.folder, message.id, message.mutable_id, message.version)
