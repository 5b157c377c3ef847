"""How much the tests do: `make test` uses small sizes, `make test-soak` (MAILROOM_SOAK=1) the full ones."""

from __future__ import annotations

import os

SOAK = bool(os.environ.get("MAILROOM_SOAK"))


def size(usual: int, *, soak: int) -> int:
    """Return the number for `make test`, or the number for `make test-soak`."""
    return soak if SOAK else usual
