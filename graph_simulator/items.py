"""Folders and messages of the simulator, and their ids."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from datetime import datetime

IMMUTABLE, MUTABLE, CONTAINER = "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A_", "AAMkAGRl_TZh", "AAMkAGRl_DUx"


@dataclass(eq=False)
class Folder:
    """A mail folder.

    Attributes:
        id: the same with and without immutable ids, as in Graph.
        name: display name.
        parent: None for the root.
        well_known: well-known name in lower case, or None.
        hidden: whether lists omit the folder unless they ask for hidden folders.
        messages: messages in the folder by immutable id.
    """

    id: str
    name: str
    parent: Folder | None
    well_known: str | None = None
    hidden: bool = False
    messages: dict[str, Message] = field(default_factory=dict, repr=False)


@dataclass(eq=False)
class Message:
    """A message in a mailbox.

    Attributes:
        id: the immutable id.
        mutable_id: the id that changes with every move.
        content: MIME as delivered.
        received: time of delivery in UTC, in whole seconds.
        folder: the current folder.
        size: value of `PidTagMessageSize`.
        order: delivery number, which orders messages of the same second.
        is_read: whether the message is marked as read.
        version: number of its changes.
        content_misses: number of times that its content was answered with 404.
        hidden_until: `time.monotonic()` from which the message is visible.
    """

    id: str
    mutable_id: str
    content: bytes = field(repr=False)
    received: datetime
    folder: Folder
    size: int
    order: int
    is_read: bool = False
    version: int = 1
    content_misses: int = 0
    hidden_until: float = 0.0

    @property
    def age(self) -> tuple[datetime, int]:
        """The sort key for "oldest first"."""
        return self.received, self.order

    def id_as(self, *, immutable: bool) -> str:
        """Return the id of the requested kind."""
        return self.id if immutable else self.mutable_id


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a message in a folder.

    Attributes:
        kind: created, updated or deleted, from the folder's point of view.
        folder: the folder.
        id: the immutable id.
        mutable_id: the mutable id in this folder.
        version: the message's version after the change.
    """

    kind: str
    folder: Folder
    id: str
    mutable_id: str
    version: int

    def id_as(self, *, immutable: bool) -> str:
        """Return the id of the requested kind."""
        return self.id if immutable else self.mutable_id


def new_id(prefix: str) -> str:
    """Return a long id with all special characters that ids may have: `-`, `_`, and `=` at the end."""
    return prefix + base64.urlsafe_b64encode(secrets.token_bytes(65)).decode()


class ImmutableIds:
    """A generator of immutable ids. Every second id differs from its predecessor only in the case of a letter."""

    def __init__(self) -> None:
        self._last: str | None = None

    def next(self) -> str:
        """Return a new id."""
        if self._last is not None:
            last, self._last = self._last, None
            index = max(index for index, letter in enumerate(last) if letter.isalpha())
            return last[:index] + last[index].swapcase() + last[index + 1 :]
        self._last = new_id(IMMUTABLE)
        return self._last
