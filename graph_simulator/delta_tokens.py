"""The rounds of delta that are under way, and the states that their links stand for."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from graph_simulator.items import Folder


@dataclass(frozen=True, slots=True)
class DeltaEntry:
    """A message that a round has something to say about.

    Attributes:
        id: its immutable id.
        mutable_id: the other one, as it was in this folder.
        removed: whether it was gone from the folder when the round began.
    """

    id: str
    mutable_id: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class DeltaRound:
    """All that a round tells, fixed when it begins.

    Attributes:
        place: the address that its links lead to.
        folder: the folder.
        options: as the first request of all gave them.
        entries: in the order in which they come; some come twice.
        link: the token of the delta link at its end.
    """

    place: str
    folder: Folder
    options: dict[str, str]
    entries: tuple[DeltaEntry, ...] = field(repr=False)
    link: str


@dataclass(frozen=True, slots=True)
class DeltaPosition:
    """What a delta link stands for.

    Attributes:
        place: the address that it leads to.
        folder: the folder.
        options: as the first request of all gave them.
        position: in the log of changes.
    """

    place: str
    folder: Folder
    options: dict[str, str]
    position: int


class DeltaLinks:
    """Tokens and what they stand for. The caller holds the stand-in's lock."""

    def __init__(self) -> None:
        self._rounds: dict[str, tuple[DeltaRound, int]] = {}
        self._since: dict[str, DeltaPosition] = {}
        self._refused = 0

    def keep_since(self, since: DeltaPosition) -> str:
        """The token of a delta link."""
        token = secrets.token_urlsafe(48)
        self._since[token] = since
        return token

    def keep_round(self, found: DeltaRound, start: int) -> str:
        """The token of a link to a round's page."""
        token = secrets.token_urlsafe(48)
        self._rounds[token] = (found, start)
        return token

    def since(self, token: str) -> DeltaPosition | None:
        """What a delta link's token stands for; None: nothing any more."""
        return self._since.get(token)

    def round(self, token: str) -> tuple[DeltaRound, int] | None:
        """What a next link's token stands for; None: nothing any more."""
        return self._rounds.get(token)

    def expire(self) -> None:
        """None of the links so far is good any more."""
        self._rounds.clear()
        self._since.clear()

    def count_refusal(self) -> int:
        """How many links were refused before this one."""
        self._refused += 1
        return self._refused - 1
