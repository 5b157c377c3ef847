"""Which paths a blob may have, whatever storage it is in."""

from __future__ import annotations


def checked_path(path: str) -> str:
    """The path itself, if every storage takes it for the same place.

    Raises:
        ValueError: it is empty or absolute, or has a part that is empty, `.` or `..`, or holds a NUL.
    """
    if "\0" in path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError(f"not a blob's path: {path!r}")
    return path
