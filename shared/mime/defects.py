"""What had to be repaired in order to read a message."""

from __future__ import annotations

from shared.mime.charset_hints import CharsetHints

MOST = 100
"""Defects after which no more are told."""

_LONGEST_QUOTE = 60


class Defects:
    """Collects defects, each once, in the order in which they were met.

    Attributes:
        capped: a cap was passed: something was kept as it is instead of being read.
        charset_hints: what the message says of its charset. They travel with the defects because every reader of text
            needs both. Without a message, undeclared text is Windows-1252.
    """

    __slots__ = ("_seen", "capped", "charset_hints")

    def __init__(self, charset_hints: CharsetHints | None = None) -> None:
        self._seen: dict[str, None] = {}
        self.capped = False
        self.charset_hints = charset_hints or CharsetHints()

    def add(self, text: str) -> None:
        """Note one defect. The same text again, and what comes after the first hundred, is not kept."""
        if len(self._seen) < MOST:
            self._seen[text] = None
        elif len(self._seen) == MOST:
            self._seen["there are more defects than are listed here"] = None

    def cap(self, text: str) -> None:
        """Note that a cap was passed."""
        self.capped = True
        self.add(text)

    def as_tuple(self) -> tuple[str, ...]:
        """What was noted so far."""
        return tuple(self._seen)


def shown(text: str) -> str:
    """A piece of a message, made short and printable, to be named in a defect."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: _LONGEST_QUOTE + 1])
    return f"“{text}”" if len(text) <= _LONGEST_QUOTE else f"“{text[:_LONGEST_QUOTE]}…”"
