"""What Mailroom asks of a mailbox, whatever protocol stands behind it.

One session, one thread: open it (`shared.mailboxes.factory`), list a folder, fetch in batches, remove what was stored,
commit, close. Messages are known by the server's own key and never by sequence number. Every method may raise
`MailboxError` and what derives from it, or `MailboxBusy`.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from shared.mailboxes.spool import Content


@dataclass(frozen=True, slots=True)
class ListedMessage:
    """One message as the server lists it, before any download.

    Attributes:
        key: the server's key for it: `UIDVALIDITY.UID`, the UIDL, or Graph's immutable id; None if the server has none
            (POP3 without UIDL, or two messages under one UIDL), and then the digest of its bytes serves.
        number: tells the messages of a listing apart, and is what the protocol's commands take in this session: the
            UID, or the POP3 message number.
        size: octets, as the server tells them; Graph's are those of the item, and near the message's.
        received: when the server received it (IMAP INTERNALDATE), if it was asked and told.
    """

    key: str | None
    number: int
    size: int
    received: datetime | None = None


@dataclass(frozen=True, slots=True)
class FetchResult:
    """One message as downloaded. `content` is closed by whoever stores it.

    Attributes:
        content: its bytes; None if it was gone when asked for, or was cut because it passed `max_bytes`.
        oversized: it passed `max_bytes` although the server had told a smaller size.
        refused: why the server did not give it out although it has it; it stays in the mailbox. None: it did, or it is
            gone.
        unreadable: the server will never give it out, and this is what it tells of it instead. None: it may next time.
        postponed: it was not taken although the server delivered it: the next listing in this session asks for it.
    """

    listed: ListedMessage
    content: Content | None
    oversized: bool = False
    refused: str | None = None
    unreadable: Mapping[str, object] | None = None
    postponed: bool = False


Batch = list[FetchResult]
"""One batch's answers. Named here: inside a class with a method `list`, type checkers take `list` for that."""


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """What `mailroom check` tells of a folder, found without changing anything.

    Attributes:
        messages: how many there are.
        problems: why messages could not be removed as configured; empty if they could.
        notes: what the operator should know, and not a failure, such as a `delete` that ends in Deleted Items.
    """

    folder: str
    messages: int
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailboxAddresses:
    """The addresses at which a mailbox receives mail, normalised.

    Attributes:
        primary: the address that the server writes into To in place of an alias.
        aliases: all other addresses.
    """

    primary: str
    aliases: tuple[str, ...] = ()


@runtime_checkable
class HasAddresses(Protocol):
    """A session whose server can list the mailbox's addresses."""

    def addresses(self) -> MailboxAddresses:
        """Return the mailbox's addresses.

        Raises:
            AccessRefused: the sign-in may not read them.
        """


class Mailbox(Protocol):
    """An open session with a mailbox.

    Attributes:
        folders: the folders to collect, in order. POP3 has one, `INBOX`.
        commit_every: after how many removals the session wants `commit` and a new listing; None: never of itself.
    """

    @property
    def folders(self) -> Sequence[str]:
        """The folders to collect, in order."""

    @property
    def commit_every(self) -> int | None:
        """After how many removals to commit and to list anew."""

    def list(
        self, folder: str, *, received: bool = False, above: str | None = None, since: datetime | None = None
    ) -> Sequence[ListedMessage]:
        """The messages in a folder, oldest first.

        Args:
            folder: one of `folders`.
            received: fill in `ListedMessage.received` (costs a little; POP3 reads each message's topmost headers).
            above: only what is behind this mark, which `mark` gave; a protocol without marks, a mark that it no longer
                knows, or one that the folder contradicts, lists everything.
            since: what was received before may be left out, where that saves requests (Graph).
        """

    @property
    def key_prefix(self) -> str | None:
        """How the keys of all messages in the folder listed last begin; None if the listing may lack some of them."""

    def watermark(self, dealt_with: Collection[int]) -> str | None:
        """What stands for the part of the last listing that need not be listed again, if anything does.

        Args:
            dealt_with: numbers of the listed messages that need no other look.

        Returns:
            An opaque mark. IMAP's begins with `UIDVALIDITY.` and the UID of the last message before the first that was
            not dealt with, and holds that message's size and date. Graph's is a link to the changes from here on. None:
            nothing was dealt with, the listing was incomplete, or the protocol has no marks.
        """

    def fetch(self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches of the folder listed last, in order, a finished batch at a time.

        Takes batches from the iterable ahead of what it yields, so that several are on the wire at once. `remove` may
        be called between two batches. Every message asked for is in its batch's answer.
        """

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        """Delete or move messages of the folder listed last, as the mailbox is configured. Gone ones are fine.

        Raises:
            RemovalRefused: the server would not. What it did remove is removed.
        """

    def commit(self) -> None:
        """Make removals final. Afterwards `list` must be called before anything else.

        Raises:
            RemovalRefused: nothing since the last commit was removed for certain (POP3, `-ERR` to QUIT).
            CommitUncertain: the answer was lost (POP3, QUIT). Not a failure of the mailbox: the next listing shows
                which messages are still there.
        """

    def check_folder(self, folder: str) -> FolderCheck:
        """Look at a folder without changing anything."""

    def close(self) -> None:
        """End the session without committing what is not committed. Never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
