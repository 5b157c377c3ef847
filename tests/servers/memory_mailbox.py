"""A mail server in memory, and sessions with it, for tests that need every step in hand."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from shared.errors import ConnectionLost
from shared.mailboxes.protocol import Fetched, Listed, Rights
from shared.mailboxes.spool import Content


@dataclass(slots=True)
class MemoryServer:
    """One mailbox on a server: what it holds survives every session."""

    messages: dict[int, bytes] = field(default_factory=dict)
    uidvalidity: int = 1
    commits: bool = False
    """Removals take effect with `commit` alone, as POP3's do with QUIT."""
    has_keys: bool = True
    before_removal: Callable[[bytes], None] = lambda _data: None
    downloads: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def deliver(self, *messages: bytes) -> None:
        """New mail."""
        for message in messages:
            self.messages[next(self._numbers)] = message

    def open(self) -> MemoryMailbox:
        """A session."""
        return MemoryMailbox(self)


class MemoryMailbox:
    """A session with a `MemoryServer`."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._marked: deque[int] = deque()

    @property
    def folders(self) -> Sequence[str]:
        return ("INBOX",)

    @property
    def commit_every(self) -> int | None:
        return 3 if self._server.commits else None

    def fetch(self, batches: Iterable[Sequence[Listed]], *, max_bytes: int) -> Generator[list[Fetched], None, None]:
        for batch in batches:
            for small in _pairs(batch):
                self._server.downloads += len(small)
                yield [Fetched(one, Content.of(self._server.messages[one.number])) for one in small]

    def remove(self, messages: Sequence[Listed]) -> None:
        for one in messages:
            if self._server.commits:
                self._marked.append(one.number)
            else:
                self._remove(one.number)

    def commit(self) -> None:
        for number in self._marked:
            self._remove(number)
        self._marked.clear()

    def rights(self, folder: str) -> Rights:
        return Rights(folder, len(self._server.messages))

    def close(self) -> None:
        self._marked.clear()

    def list(self, folder: str, *, received: bool = False, above: str | None = None) -> Sequence[Listed]:
        lowest = 0
        if above is not None and above.startswith(f"{self._server.uidvalidity}."):
            lowest = int(above.partition(".")[2])
        return [
            Listed(f"{self._server.uidvalidity}.{number}" if self._server.has_keys else None, number, len(data))
            for number, data in sorted(self._server.messages.items())
            if number > lowest
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _remove(self, number: int) -> None:
        data = self._server.messages.get(number)
        if data is not None:
            self._server.before_removal(data)
            del self._server.messages[number]


class DeadMailbox(MemoryMailbox):
    """A session that breaks at its first listing."""

    def list(self, folder: str, *, received: bool = False, above: str | None = None) -> Sequence[Listed]:
        raise ConnectionLost("mailbox support: the connection broke")


def _pairs(batch: Sequence[Listed]) -> Iterable[Sequence[Listed]]:
    for start in range(0, len(batch), 2):
        yield batch[start : start + 2]
