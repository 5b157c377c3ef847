"""A mail server in memory and sessions with it, for tests that control every step."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Self

from shared.errors import MailroomError
from shared.mailboxes.base import FetchResult, FolderCheck, ListedMessage
from shared.mailboxes.spool import Content


@dataclass(slots=True)
class MemoryServer:
    """A mailbox on a server. Its messages outlive the sessions."""

    messages: dict[int, bytes] = field(default_factory=dict)
    uidvalidity: int = 1
    commits: bool = False
    """Removals take effect only with `commit`, as with QUIT in POP3."""
    has_keys: bool = True
    before_removal: Callable[[bytes], None] = lambda _data: None
    downloads: int = 0
    downloaded: list[int] = field(default_factory=list)
    """The numbers of the messages whose download began."""
    listings: list[str | None] = field(default_factory=list)
    """The argument `above` of each listing."""
    reported_sizes: dict[int, int] = field(default_factory=dict)
    """Sizes that the server reports in place of the real ones."""
    keys: dict[int, str] = field(default_factory=dict)
    """Keys that the server reports in place of numbers."""
    received: dict[int, datetime] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    """Messages that the server does not deliver although it has them, with the reason."""
    unreadable: dict[int, dict[str, object]] = field(default_factory=dict)
    """Messages that the server never delivers, with the metadata that it reports instead."""
    gone: set[int] = field(default_factory=set)
    """Messages that are listed but deleted before they are fetched."""
    undelivered: set[int] = field(default_factory=set)
    """Messages that are listed at every poll but never delivered."""
    postponed: set[int] = field(default_factory=set)
    """Messages that are not delivered at the first attempt."""
    unlisted: set[int] = field(default_factory=set)
    """Messages that are missing in a listing, which the session knows to be incomplete."""
    incomplete: bool = False
    """The session takes its listings for incomplete."""
    refuses_removal: MailroomError | None = None
    before_batch: Callable[[], None] = lambda: None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def deliver(self, *messages: bytes) -> None:
        """Add messages."""
        for message in messages:
            self.messages[next(self._numbers)] = message

    def open(self) -> MemoryMailbox:
        """Open a session."""
        return MemoryMailbox(self)


class MemoryMailbox:
    """A session with a `MemoryServer`."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._marked: deque[int] = deque()
        self._listed: Sequence[ListedMessage] = ()

    @property
    def folders(self) -> Sequence[str]:
        return ("INBOX",)

    @property
    def commit_every(self) -> int | None:
        return 3 if self._server.commits else None

    @property
    def key_prefix(self) -> str | None:
        if self._server.unlisted or self._server.incomplete:
            return None
        return "" if self._server.keys or not self._server.has_keys else f"{self._server.uidvalidity}."

    def fetch(
        self, batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int
    ) -> Generator[list[FetchResult], None, None]:
        for batch in batches:
            for pair in _pairs(batch):
                self._server.before_batch()
                self._server.downloads += len(pair)
                self._server.downloaded += [message.number for message in pair]
                yield [self._fetched(message, max_bytes) for message in pair]

    def remove(self, messages: Sequence[ListedMessage]) -> None:
        if self._server.refuses_removal is not None:
            raise self._server.refuses_removal
        for message in messages:
            if self._server.commits:
                self._marked.append(message.number)
            else:
                self._remove(message.number)

    def commit(self) -> None:
        for number in self._marked:
            self._remove(number)
        self._marked.clear()

    def check_folder(self, folder: str) -> FolderCheck:
        return FolderCheck(folder, len(self._server.messages))

    def close(self) -> None:
        self._marked.clear()

    def watermark(self, processed: Collection[int]) -> str | None:
        first = takewhile(lambda item: item.number in processed, self._listed)
        *_, last = (None, *(item.key for item in first))
        return last

    def list(
        self, folder: str, *, received: bool = False, above: str | None = None, since: datetime | None = None
    ) -> Sequence[ListedMessage]:
        lowest = 0
        if above is not None and above.startswith(f"{self._server.uidvalidity}."):
            lowest = int(above.partition(".")[2])
        self._server.listings.append(above)
        self._listed = [
            ListedMessage(
                self._key(number),
                number,
                self._server.reported_sizes.get(number, len(data)),
                self._server.received.get(number) if received else None,
            )
            for number, data in sorted(self._server.messages.items())
            if number > lowest and number not in self._server.unlisted
        ]
        return self._listed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _key(self, number: int) -> str | None:
        if not self._server.has_keys:
            return None
        return self._server.keys.get(number, f"{self._server.uidvalidity}.{number}")

    def _fetched(self, listed: ListedMessage, max_bytes: int) -> FetchResult:
        refused = self._server.refused.get(listed.number)
        if refused is not None:
            return FetchResult(listed, None, refused=refused, unreadable=self._server.unreadable.get(listed.number))
        if listed.number in self._server.postponed:
            self._server.postponed.remove(listed.number)
            return FetchResult(listed, None, postponed=True)
        if listed.number in self._server.undelivered:
            return FetchResult(listed, None)
        if listed.number in self._server.gone:
            del self._server.messages[listed.number]
            return FetchResult(listed, None)
        data = self._server.messages[listed.number]
        if len(data) > max_bytes:
            return FetchResult(listed, None, oversized=True)
        return FetchResult(listed, Content.from_bytes(data))

    def _remove(self, number: int) -> None:
        data = self._server.messages.get(number)
        if data is not None:
            self._server.before_removal(data)
            del self._server.messages[number]


def _pairs(batch: Sequence[ListedMessage]) -> Iterable[Sequence[ListedMessage]]:
    for start in range(0, len(batch), 2):
        yield batch[start : start + 2]
