"""The delta rounds in progress, and the positions of delta links."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from graph_simulator.items import Folder


@dataclass(frozen=True, slots=True)
class DeltaEntry:
    """A message that a round reports.

    Attributes:
        id: the immutable id.
        mutable_id: the mutable id that the message had in this folder.
        removed: whether the message was gone from the folder when the round began.
    """

    id: str
    mutable_id: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class DeltaRound:
    """The content of a round, fixed when the round begins.

    Attributes:
        url: the URL of its links, without the query.
        folder: the folder.
        options: the query options of the first round's first request.
        entries: the entries in the order in which they are returned; some are returned twice.
        delta_token: the token of the delta link at the end.
    """

    url: str
    folder: Folder
    options: dict[str, str]
    entries: tuple[DeltaEntry, ...] = field(repr=False)
    delta_token: str


@dataclass(frozen=True, slots=True)
class DeltaPosition:
    """The position of a delta link in the change log.

    Attributes:
        url: the link's URL, without the query.
        folder: the folder.
        options: the query options of the first round's first request.
        position: index in the mailbox's change log.
    """

    url: str
    folder: Folder
    options: dict[str, str]
    position: int


class DeltaLinks:
    """The rounds and positions of all links by token. The caller holds the simulator's lock."""

    def __init__(self) -> None:
        self._rounds: dict[str, tuple[DeltaRound, int]] = {}
        self._positions: dict[str, DeltaPosition] = {}
        self._refused = 0

    def add_position(self, position: DeltaPosition) -> str:
        """Store a position and return the token of its delta link."""
        token = secrets.token_urlsafe(48)
        self._positions[token] = position
        return token

    def add_round(self, delta_round: DeltaRound, start: int) -> str:
        """Store a page's start and return the token of its link."""
        token = secrets.token_urlsafe(48)
        self._rounds[token] = (delta_round, start)
        return token

    def find_position(self, token: str) -> DeltaPosition | None:
        """Return the position of a delta link's token; None if the token is unknown or has expired."""
        return self._positions.get(token)

    def find_round(self, token: str) -> tuple[DeltaRound, int] | None:
        """Return the round and start of a next link's token; None if the token is unknown or has expired."""
        return self._rounds.get(token)

    def expire(self) -> None:
        """Forget all links."""
        self._rounds.clear()
        self._positions.clear()

    def count_refusal(self) -> int:
        """Count a refused link, and return how many were refused before it."""
        self._refused += 1
        return self._refused - 1
