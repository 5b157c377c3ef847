"""A mailbox as its senders and its owner use it: deliver, move, delete and mark messages."""

from __future__ import annotations

from datetime import datetime
from threading import RLock

from graph_simulator.fault_plan import FaultPlan
from graph_simulator.items import Folder, Message
from graph_simulator.mailbox_store import MailboxStore


class Mailbox:
    """A mailbox of the simulator. Thread-safe.

    A folder is named by its path of display names (`Inbox/Orders`), by a well-known name or by its id, in any case.

    Attributes:
        address: the mailbox's address.
        store: the mailbox's content.
    """

    def __init__(self, store: MailboxStore, lock: RLock, fault_plan: FaultPlan) -> None:
        self.address = store.address
        self.store = store
        self._lock = lock
        self._fault_plan = fault_plan

    @property
    def purged(self) -> list[bytes]:
        """The contents of the messages that were deleted permanently."""
        with self._lock:
            return list(self.store.purged)

    def add_aliases(self, *addresses: str) -> None:
        """Add proxy addresses: e-mail aliases, or `TYPE:ADDRESS` for other types."""
        with self._lock:
            self.store.proxies += [address if ":" in address else f"smtp:{address}" for address in addresses]

    def folder(self, path: str, *, hidden: bool = False) -> str:
        """Return the id of a folder, which is created with its parents if it does not exist."""
        with self._lock:
            return self._find_or_create(path, hidden=hidden).id

    def deliver(
        self,
        content: bytes,
        folder: str = "Inbox",
        *,
        received: datetime | None = None,
        reported_size: int | None = None,
        unconvertible: bool = False,
    ) -> str:
        """Deliver a message and notify the subscribers.

        Args:
            content: raw MIME.
            folder: the folder, which is created if it does not exist.
            received: time of delivery; None: now.
            reported_size: value of the size property; None: the real size.
            unconvertible: whether the content can never be converted to MIME.

        Returns:
            The immutable id.
        """
        with self._lock:
            target = self._find_or_create(folder)
            message = self.store.add(content, target, received, reported_size, self._fault_plan.hidden_for)
            if unconvertible:
                self._fault_plan.unconvertible.add(message.id)
            return message.id

    def contents(self, folder: str = "Inbox") -> list[bytes]:
        """Return the contents of the messages in a folder, oldest first.

        Raises:
            LookupError: the folder does not exist.
        """
        return [message.content for message in self._sorted_messages(folder)]

    def ids(self, folder: str = "Inbox", *, immutable: bool = True) -> list[str]:
        """Return the ids of the messages in a folder, oldest first.

        Raises:
            LookupError: the folder does not exist.
        """
        return [message.id_as(immutable=immutable) for message in self._sorted_messages(folder)]

    def move(self, message_id: str, folder: str) -> None:
        """Move a message as the owner; the folder is created if it does not exist.

        Raises:
            LookupError: the message does not exist.
        """
        with self._lock:
            self.store.move(self._message(message_id), self._find_or_create(folder))

    def delete(self, message_id: str) -> None:
        """Delete a message as the owner: move it to Deleted Items, or delete it from there permanently.

        Raises:
            LookupError: the message does not exist.
        """
        with self._lock:
            self.store.delete(self._message(message_id))

    def mark_read(self, message_id: str, *, is_read: bool = True) -> None:
        """Mark a message as read or unread, as the owner.

        Raises:
            LookupError: the message does not exist.
        """
        with self._lock:
            self.store.mark(self._message(message_id), is_read=is_read)

    def renew_id(self, message_id: str) -> str:
        """Give a message another immutable id in the same folder, and return it.

        Raises:
            LookupError: the message does not exist.
        """
        with self._lock:
            message = self._message(message_id)
            self.store.renew_id(message)
            return message.id

    def reveal(self) -> None:
        """Make all messages visible that `FaultPlan.hidden_for` hides."""
        with self._lock:
            self.store.reveal(now=float("inf"))

    def _sorted_messages(self, path: str) -> list[Message]:
        with self._lock:
            folder = self._find(path)
            if folder is None:
                raise LookupError(f"the mailbox {self.address} has no folder {path}")
            return sorted(folder.messages.values(), key=lambda message: message.age)

    def _message(self, message_id: str) -> Message:
        message = self.store.messages.get(message_id)
        if message is None:
            raise LookupError(f"the mailbox {self.address} has no message {message_id}")
        return message

    def _find(self, path: str) -> Folder | None:
        folder = self.store.folder(path)
        if folder is not None:
            return folder
        folder = self.store.root
        for name in path.split("/"):
            folder = None if folder is None else self._child(folder, name)
        return folder

    def _find_or_create(self, path: str, *, hidden: bool = False) -> Folder:
        folder = self._find(path)
        if folder is not None:
            return folder
        folder = self.store.root
        for name in path.split("/"):
            folder = self._child(folder, name) or self.store.add_folder(name, folder, hidden=hidden)
        return folder

    def _child(self, parent: Folder, name: str) -> Folder | None:
        name = name.casefold()
        children = self.store.children(parent, hidden=True)
        by_name = (child for child in children if child.name.casefold() == name)
        return next(by_name, None) or next((child for child in children if child.well_known == name), None)
