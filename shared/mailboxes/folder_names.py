"""Name the folders of a mailbox in the error about a missing one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from shared.errors import printable

MAX_FOLDERS: Final = 20
"""Folders that an error lists."""

_LONGEST_NAME: Final = 60


def existing_folders(names: Sequence[str], missing: str, *, more: bool = False) -> str:
    """Return the end of an error's text: the folders that exist, the most similar ones first if there are many.

    Args:
        names: the names of the folders.
        missing: the name of the missing folder.
        more: whether there are further folders, whose names are unknown.

    Returns:
        A text that begins with a semicolon; empty if there are no names.
    """
    if not names:
        return ""
    if len(names) > MAX_FOLDERS:
        names = sorted(names, key=lambda name: -difflib.SequenceMatcher(None, missing.lower(), name.lower()).ratio())
    listed = ", ".join(repr(printable(name, _LONGEST_NAME)) for name in names[:MAX_FOLDERS])
    count = len(names) - MAX_FOLDERS
    rest = f" and {count} more" if count > 0 else " and more" if more else ""
    return f"; the folders there are {listed}{rest}"
