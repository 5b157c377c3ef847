"""Detect whether a store in a folder is in use. Each process that opens a store holds a shared lock on a file in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.errors import ServiceUnavailable
from shared.storage.folder.blobs import HIDDEN
from shared.storage.folder.fsync import make_folder
from shared.storage.folder.modes import OWNER_ONLY, FileModes

DATABASE = "state.sqlite3"

LOCK = "in-use.lock"
_MAX_TRIES = 100


class StoreLock:
    """The lock of a store that this process uses, held until it is closed.

    Args:
        root: the store's folder, created if it does not exist.
        modes: the modes of new files and folders, and of the store's folder itself.

    Raises:
        ServiceUnavailable: the lock cannot be acquired.
    """

    def __init__(self, root: Path, modes: FileModes = OWNER_ONLY) -> None:
        path = root / HIDDEN / LOCK
        try:
            self._handle = _lock_shared(path, modes)
            modes.set_root(root)
        except OSError as error:
            raise ServiceUnavailable(f"the storage folder: locking {path} failed: {error.strerror or error}") from error

    def close(self) -> None:
        """Release the lock."""
        os.close(self._handle)


@contextmanager
def exclusive_use(root: Path) -> Iterator[bool]:
    """Keep other processes from opening a store: they wait until the context ends.

    Args:
        root: the store's folder, which contains the folder `HIDDEN`.

    Yields:
        Whether no other process uses the store. If another process uses it, nothing is locked.
    """
    handle = OWNER_ONLY.open_lock(root / HIDDEN / LOCK)
    try:
        is_exclusive = False
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_exclusive = True
        yield is_exclusive
    finally:
        os.close(handle)


def is_store(root: Path) -> bool:
    """Return whether a folder contains a store.

    Raises:
        ServiceUnavailable: the folder cannot be read.
    """
    try:
        return (root / HIDDEN / DATABASE).is_file()
    except OSError as error:
        raise ServiceUnavailable(f"the storage folder: reading {root} failed: {error.strerror or error}") from error


def _lock_shared(path: Path, modes: FileModes) -> int:
    for _ in range(_MAX_TRIES):
        try:
            make_folder(path.parent, modes)
            handle = modes.open_lock(path)
        except FileNotFoundError:
            continue  # the store was removed in the meantime
        try:
            # Not every file system has locks. Without locks, a store never appears to be in use.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise OSError(0, "the file is removed repeatedly")
