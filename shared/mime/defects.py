"""Defects: the repairs that reading a message needed."""

from __future__ import annotations

from shared.mime.charset_hints import CharsetHints

MAX_DEFECTS = 100
"""Maximum number of defects. A last entry says that there are more."""

_MAX_EXCERPT = 60


class Defects:
    """The defects of a message in the order of discovery, without repetitions.

    Attributes:
        limit_exceeded: whether a limit was exceeded, so that something was kept unparsed.
        charset_hints: the message's hints at its charset. They are kept here because every reader of text needs both.
            Without a message, undeclared text is Windows-1252.
    """

    __slots__ = ("_defects", "charset_hints", "limit_exceeded")

    def __init__(self, charset_hints: CharsetHints | None = None) -> None:
        self._defects: dict[str, None] = {}
        self.limit_exceeded = False
        self.charset_hints = charset_hints or CharsetHints()

    def add(self, text: str) -> None:
        """Add a defect, unless it is a repetition or exceeds the limit."""
        if len(self._defects) < MAX_DEFECTS:
            self._defects[text] = None
        elif len(self._defects) == MAX_DEFECTS:
            self._defects["there are more defects than are listed here"] = None

    def add_exceeded_limit(self, text: str) -> None:
        """Add a defect for an exceeded limit."""
        self.limit_exceeded = True
        self.add(text)

    def as_tuple(self) -> tuple[str, ...]:
        """Return the defects so far."""
        return tuple(self._defects)


def quote_excerpt(text: str) -> str:
    """Return an excerpt of a message, shortened, printable and in quotation marks, for use in a defect."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: _MAX_EXCERPT + 1])
    return f"“{text}”" if len(text) <= _MAX_EXCERPT else f"“{text[:_MAX_EXCERPT]}…”"
