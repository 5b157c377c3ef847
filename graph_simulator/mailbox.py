"""A mailbox as tests and the demonstration hold it: what other senders and the mailbox's owner do."""

from __future__ import annotations

from datetime import datetime
from threading import RLock

from graph_simulator.fault_plan import FaultPlan
from graph_simulator.items import Folder, Message
from graph_simulator.mailbox_store import Store


class Mailbox:
    """One mailbox; every method may be called from any thread.

    A folder is named by its path of display names (`Inbox/Orders`), by a well-known name or by its id, in any case.

    Attributes:
        address: the mailbox's.
    """

    def __init__(self, store: Store, lock: RLock, trouble: FaultPlan) -> None:
        self.address = store.address
        self.store = store
        self._lock = lock
        self._trouble = trouble

    @property
    def purged(self) -> list[bytes]:
        """What was deleted for good."""
        with self._lock:
            return list(self.store.purged)

    def add_aliases(self, *addresses: str) -> None:
        """Give the mailbox further addresses: aliases, or `TYPE:ADDRESS` for anything else."""
        with self._lock:
            self.store.proxies += [address if ":" in address else f"smtp:{address}" for address in addresses]

    def folder(self, path: str, *, hidden: bool = False) -> str:
        """The id of a folder, which is made, with those above it, if there is none."""
        with self._lock:
            return self._made(path, hidden=hidden).id

    def deliver(
        self,
        content: bytes,
        folder: str = "Inbox",
        *,
        received: datetime | None = None,
        told_size: int | None = None,
        broken: bool = False,
    ) -> str:
        """A message arrives, and those who subscribed are told.

        Args:
            content: raw MIME.
            folder: made if there is none.
            received: now, if not given.
            told_size: what the size property is to say, if not the truth.
            broken: its content can never be converted.

        Returns:
            The immutable id.
        """
        with self._lock:
            place = self._made(folder)
            message = self.store.add(content, place, received, told_size, self._trouble.hidden_for)
            if broken:
                self._trouble.broken.add(message.id)
            return message.id

    def left(self, folder: str = "Inbox") -> list[bytes]:
        """The contents of a folder, oldest first.

        Raises:
            LookupError: no such folder.
        """
        return [each.content for each in self._sorted(folder)]

    def ids(self, folder: str = "Inbox", *, immutable: bool = True) -> list[str]:
        """The ids in a folder, oldest first.

        Raises:
            LookupError: no such folder.
        """
        return [each.called(immutable=immutable) for each in self._sorted(folder)]

    def move(self, message_id: str, folder: str) -> None:
        """The owner moves a message; the folder is made if there is none.

        Raises:
            LookupError: no such message.
        """
        with self._lock:
            self.store.move(self._message(message_id), self._made(folder))

    def delete(self, message_id: str) -> None:
        """The owner deletes a message: into Deleted Items, and from there for good.

        Raises:
            LookupError: no such message.
        """
        with self._lock:
            self.store.delete(self._message(message_id))

    def mark_read(self, message_id: str, *, is_read: bool = True) -> None:
        """The owner reads a message, or marks it as unread.

        Raises:
            LookupError: no such message.
        """
        with self._lock:
            self.store.mark(self._message(message_id), is_read=is_read)

    def renew_id(self, message_id: str) -> str:
        """A message gets another immutable id where it is, which is given.

        Raises:
            LookupError: no such message.
        """
        with self._lock:
            message = self._message(message_id)
            self.store.renew_id(message)
            return message.id

    def reveal(self) -> None:
        """What is hidden for a while after its delivery can be seen now."""
        with self._lock:
            self.store.reveal(now=float("inf"))

    def _sorted(self, folder: str) -> list[Message]:
        with self._lock:
            found = self._found(folder)
            if found is None:
                raise LookupError(f"no folder {folder} in {self.address}")
            return sorted(found.messages.values(), key=lambda each: each.age)

    def _message(self, message_id: str) -> Message:
        found = self.store.messages.get(message_id)
        if found is None:
            raise LookupError(f"no message {message_id} in {self.address}")
        return found

    def _found(self, path: str) -> Folder | None:
        found = self.store.folder(path)
        if found is not None:
            return found
        place: Folder | None = self.store.root
        for name in path.split("/"):
            place = place and self._child(place, name)
        return place

    def _made(self, path: str, *, hidden: bool = False) -> Folder:
        found = self._found(path)
        if found is not None:
            return found
        place = self.store.root
        for name in path.split("/"):
            place = self._child(place, name) or self.store.add_folder(name, place, hidden=hidden)
        return place

    def _child(self, place: Folder, name: str) -> Folder | None:
        wanted = name.casefold()
        children = self.store.children(place, hidden=True)
        by_name = (each for each in children if each.name.casefold() == wanted)
        return next(by_name, None) or next((each for each in children if each.well_known == wanted), None)
