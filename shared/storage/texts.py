"""Texts as every storage can hold and be asked for them."""

from __future__ import annotations


def storable_text(text: str) -> str:
    """A text without halves of characters: a header may hold such a lone surrogate, and it has no octets."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def prefix_upper_bound(beginning: str) -> str:
    """The first text that comes after all that begin so.

    Args:
        beginning: not empty.
    """
    return beginning[:-1] + chr(ord(beginning[-1]) + 1)
