"""What one mailbox holds: folders, messages, and the log of changes that delta reads."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from graph_simulator.items import CONTAINER, MUTABLE, Change, DuplicateKeys, Folder, Message, new_id

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


class Store:
    """The content of one mailbox. Its caller holds the stand-in's lock.

    Args:
        address: the mailbox.
        shared: whether it is a shared one.
        announce: is told of every change at once, those of messages that cannot be seen yet included.

    Attributes:
        id: the user's GUID.
        folders: by id.
        messages: by immutable id.
        log: the changes that can be seen.
        purged: contents that were deleted for good.
        proxies: the mailbox's addresses with their types; `SMTP:` marks the primary one.
    """

    def __init__(self, address: str, *, shared: bool, announce: Callable[[Store, Change], None]) -> None:
        self.address = address
        self.shared = shared
        self.id = str(uuid.uuid4())
        self.folders: dict[str, Folder] = {}
        self.messages: dict[str, Message] = {}
        self.log: list[Change] = []
        self.purged: list[bytes] = []
        self.proxies = [f"SMTP:{address}"]
        self._announce = announce
        self._mutable: dict[str, Message] = {}
        self._hidden: dict[str, Message] = {}
        self._twins = DuplicateKeys()
        self._delivered = 0
        self.root = self.add_folder("Top of Information Store", None, well_known=ROOT)
        for well_known, name in WELL_KNOWN.items():
            self.add_folder(name, self.root, well_known=well_known)
        self.add_folder(HIDDEN, self.root, hidden=True)

    def add_folder(
        self, name: str, parent: Folder | None, *, well_known: str | None = None, hidden: bool = False
    ) -> Folder:
        """A new folder."""
        folder = Folder(new_id(CONTAINER), name, parent, well_known, hidden)
        self.folders[folder.id] = folder
        return folder

    def children(self, parent: Folder, *, hidden: bool = False) -> list[Folder]:
        """The folders in a folder, hidden ones if they are asked for."""
        return [each for each in self.folders.values() if each.parent is parent and (hidden or not each.hidden)]

    def folder(self, key: str) -> Folder | None:
        """The folder with that id or well-known name."""
        found = self.folders.get(key)
        if found is None:
            found = next((each for each in self.folders.values() if each.well_known == key.lower()), None)
        return found

    def message(self, key: str) -> Message | None:
        """The message with that id of either kind, if it can be seen yet."""
        self.reveal()
        found = self.messages.get(key) or self._mutable.get(key)
        return None if found is None or found.id in self._hidden else found

    def in_folder(self, folder: Folder) -> Iterator[Message]:
        """The messages in a folder that can be seen."""
        self.reveal()
        return (each for each in folder.messages.values() if each.id not in self._hidden)

    def add(self, content: bytes, folder: Folder, received: datetime | None, size: int | None, hide: float) -> Message:
        """A message arrives; it cannot be seen for `hide` seconds."""
        self._delivered += 1
        when = (received or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
        told = len(content) if size is None else size
        message = Message(self._twins.next(), new_id(MUTABLE), content, when, folder, told, self._delivered)
        self.messages[message.id] = message
        if hide > 0:
            message.hidden_until = time.monotonic() + hide
            self._hidden[message.id] = message
        self._put(message, folder)
        return message

    def move(self, message: Message, folder: Folder) -> None:
        """Move a message: its mutable id changes, even within a folder."""
        self._take(message)
        message.mutable_id = new_id(MUTABLE)
        message.version += 1
        self._put(message, folder)

    def delete(self, message: Message) -> None:
        """Delete a message as people do: into Deleted Items, and from there for good."""
        if message.folder.well_known == "deleteditems":
            self.purge(message)
        else:
            bin_ = self.folder("deleteditems")
            assert bin_ is not None
            self.move(message, bin_)

    def purge(self, message: Message) -> None:
        """Delete a message for good."""
        self._take(message)
        del self.messages[message.id]
        self.purged.append(message.content)

    def renew_id(self, message: Message) -> None:
        """Give a message other ids where it is, as some moves on the desktop do."""
        self._take(message)
        del self.messages[message.id]
        message.id, message.mutable_id = self._twins.next(), new_id(MUTABLE)
        self.messages[message.id] = message
        self._put(message, message.folder)

    def mark(self, message: Message, *, is_read: bool) -> None:
        """Mark a message as read or unread."""
        if message.is_read != is_read:
            message.is_read = is_read
            message.version += 1
            self._changed("updated", message)

    def reveal(self, *, now: float | None = None) -> None:
        """Let be seen what has been hidden for long enough."""
        moment = time.monotonic() if now is None else now
        for message in [each for each in self._hidden.values() if each.hidden_until <= moment]:
            del self._hidden[message.id]
            self.log.append(_change("created", message))

    def _put(self, message: Message, folder: Folder) -> None:
        message.folder = folder
        folder.messages[message.id] = message
        self._mutable[message.mutable_id] = message
        self._changed("created", message)

    def _take(self, message: Message) -> None:
        self._uncover(message)
        del message.folder.messages[message.id]
        del self._mutable[message.mutable_id]
        self._changed("deleted", message)

    def _uncover(self, message: Message) -> None:
        # Whoever moves it has seen it.
        if self._hidden.pop(message.id, None) is not None:
            self.log.append(_change("created", message))

    def _changed(self, kind: str, message: Message) -> None:
        change = _change(kind, message)
        if message.id not in self._hidden:
            self.log.append(change)
        self._announce(self, change)


def _change(kind: str, message: Message) -> Change:
    return Change(kind, message.folder, message.id, message.mutable_id, message.version)
