"""The protocol-independent interface of a mailbox session.

A session belongs to one thread. Its life: open it (`shared.mailboxes.factory`), list a folder, fetch in batches, remove
the stored messages, commit, close. Messages are identified by the server's own key, never by sequence number. Every
method may raise `MailboxError`, a subclass of it, or `MailboxBusy`.
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
    """A message as the server lists it, before any download.

    Attributes:
        key: the server's key: `UIDVALIDITY.UID`, the UIDL, or Graph's immutable id. None if the server has no unique
            key (POP3 without UIDL, or two messages with one UIDL); then the digest of the content is the key.
        number: identifies the message within one listing, and is the argument of the protocol's commands in this
            session: the UID, or the POP3 message number.
        size: size in bytes as reported by the server. Graph reports the size of the item, which is close to the
            message's.
        received: when the server received the message (IMAP INTERNALDATE); None if not requested or not reported.
    """

    key: str | None
    number: int
    size: int
    received: datetime | None = None


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of downloading one message. Whoever stores `content` closes it.

    Attributes:
        content: the message's bytes; None if the message was gone, was refused, or exceeded `max_bytes`.
        oversized: the message exceeded `max_bytes` although the server had reported a smaller size.
        refused: why the server did not deliver the message, which stays in the mailbox. None: it was delivered or gone.
        unreadable: the server's metadata of a message that it will never deliver. None: it may deliver it next time.
        postponed: the message was not kept although the server delivered it; the next listing in this session requests
            it again.
    """

    listed: ListedMessage
    content: Content | None
    oversized: bool = False
    refused: str | None = None
    unreadable: Mapping[str, object] | None = None
    postponed: bool = False


Batch = list[FetchResult]
"""The results of one batch. Named here: inside a class with a method `list`, type checkers take `list` for that."""


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """The findings of `mailroom check` in one folder, collected without changing anything.

    Attributes:
        messages: number of messages.
        problems: why messages could not be removed as configured; empty if they could.
        notes: facts that the operator should know and that are not failures, such as a `delete` that ends in Deleted
            Items.
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
            AccessRefused: the sign-in has no permission to read them.
        """


@runtime_checkable
class HasFolders(Protocol):
    """A session whose server can list the mailbox's folders."""

    def folder_names(self, limit: int) -> Sequence[str]:
        """Return the names of at most `limit` folders, as FOLDERS takes them."""


class Mailbox(Protocol):
    """An open session with a mailbox.

    Attributes:
        folders: the folders to drain, in order. POP3 has one, `INBOX`.
        commit_every: number of removals after which the session needs `commit` and a new listing; None: no limit.
    """

    @property
    def folders(self) -> Sequence[str]:
        """The folders to drain, in order."""

    @property
    def commit_every(self) -> int | None:
        """Number of removals after which `commit` and a new listing are due; None: no limit."""

    def list(
        self, folder: str, *, received: bool = False, above: str | None = None, since: datetime | None = None
    ) -> Sequence[ListedMessage]:
        """Return the messages in a folder, oldest first.

        Args:
            folder: one of `folders`.
            received: fill in `ListedMessage.received` (costs a little; POP3 reads each message's topmost headers).
            above: list only messages after this watermark, which `watermark` returned. Everything is listed if the
                protocol has no watermarks, if the watermark is unknown by now, or if the folder contradicts it.
            since: messages received earlier may be omitted where that saves requests (Graph).
        """

    @property
    def key_prefix(self) -> str | None:
        """Return the prefix of all keys in the last listed folder, or None if the listing may be incomplete."""

    def watermark(self, processed: Collection[int]) -> str | None:
        """Return the position in the folder up to which everything has been processed, if there is one.

        Args:
            processed: numbers of the listed messages that are processed.

        Returns:
            An opaque watermark. IMAP's begins with `UIDVALIDITY.` and the UID of the last message before the first
            unprocessed one, and contains that message's size and date. Graph's is a link to the changes from here on.
            None: nothing was processed, the listing was incomplete, or the protocol has no watermarks.
        """

    def fetch(self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches of the folder listed last, in order, and yield each finished batch.

        Takes batches from the iterable ahead of the batch that it yields, so that several are in flight. `remove` may
        be called between two batches. Every requested message is in its batch's result.
        """

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        """Delete or move messages of the folder listed last, as the mailbox is configured. Missing ones are ignored.

        Raises:
            RemovalRefused: the server refused. Messages that it did remove are removed.
        """

    def commit(self) -> None:
        """Make removals final. Afterwards `list` must be called before anything else.

        Raises:
            RemovalRefused: no removal since the last commit is certain (POP3, `-ERR` to QUIT).
            CommitUncertain: the response was lost (POP3, QUIT). This is not a failure of the mailbox: the next listing
                shows which messages still exist.
        """

    def check_folder(self, folder: str) -> FolderCheck:
        """Check a folder without changing anything."""

    def close(self) -> None:
        """End the session without committing pending removals. Never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
