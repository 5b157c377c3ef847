"""What makes files and their names survive a power failure (fsync(2): a new name is its folder's to keep)."""

from __future__ import annotations

import os
from pathlib import Path


def sync_file(handle: int) -> None:
    """Return once an open file's bytes, and its length, are on the disk."""
    # fdatasync leaves the times out, which spares a write; not every system has it.
    getattr(os, "fdatasync", os.fsync)(handle)


def sync_folder(folder: str | Path) -> None:
    """Return once a folder's entries are on the disk. One that is gone has none."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder, and its parents, so that they stay."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
