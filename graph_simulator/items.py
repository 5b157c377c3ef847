"""Folders and messages as the stand-in keeps them, and the ids that they get."""

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
        id: the same with and without immutable ids, as Graph has it for folders.
        name: what people see.
        parent: None for the root.
        well_known: its lower-case name, if it has one.
        hidden: left out of lists unless they ask for hidden ones.
        messages: what is in it, by immutable id.
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
        mutable_id: the one that changes with every move.
        content: as delivered.
        received: when, to the second, in UTC.
        folder: where it is.
        size: what `PidTagMessageSize` says.
        order: counts deliveries, for messages of one second.
        is_read: whether somebody has read it.
        version: counts its changes.
        late: how many times its content has answered 404 so far.
        hidden_until: on the monotonic clock.
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
    late: int = 0
    hidden_until: float = 0.0

    @property
    def age(self) -> tuple[datetime, int]:
        """What "oldest first" sorts by."""
        return self.received, self.order

    def called(self, *, immutable: bool) -> str:
        """The id of the kind that was asked for."""
        return self.id if immutable else self.mutable_id


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a message in a folder.

    Attributes:
        kind: created, updated or deleted, from the folder's point of view.
        folder: which.
        id: the immutable id.
        mutable_id: the other one, as it is in this folder.
        version: of the message, then.
    """

    kind: str
    folder: Folder
    id: str
    mutable_id: str
    version: int

    def called(self, *, immutable: bool) -> str:
        """The id of the kind that was asked for."""
        return self.id if immutable else self.mutable_id


def new_id(prefix: str) -> str:
    """A long id with everything in it that ids may hold: `-`, `_`, and `=` at the end."""
    return prefix + base64.urlsafe_b64encode(secrets.token_bytes(65)).decode()


class DuplicateKeys:
    """Makes immutable ids, every second of which differs from the one before in the case of one letter alone."""

    def __init__(self) -> None:
        self._last: str | None = None

    def next(self) -> str:
        """A new id."""
        if self._last is not None:
            last, self._last = self._last, None
            place = max(index for index, letter in enumerate(last) if letter.isalpha())
            return last[:place] + last[place].swapcase() + last[place + 1 :]
        self._last = new_id(IMMUTABLE)
        return self._last
