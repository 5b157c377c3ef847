"""Names of the demonstration that others need, without what it imports."""

from __future__ import annotations

from typing import Final

DEMONSTRATION: Final = "mailroom-demo"
"""The folder that a demonstration fills unless another is named; it is in .gitignore and .funcignore."""
