"""Whether a process uses a store in a folder: whoever opens it holds a shared lock on one of its files."""

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
_TRIES = 100


class StoreLock:
    """A store that this process uses, until it is closed.

    Args:
        root: the store's folder; made if it is not there.
        modes: those of new files and folders, and of the store's folder itself.

    Raises:
        ServiceUnavailable: the lock cannot be had.
    """

    def __init__(self, root: Path, modes: FileModes = OWNER_ONLY) -> None:
        path = root / HIDDEN / LOCK
        try:
            self._handle = _shared(path, modes)
            modes.set_root(root)
        except OSError as error:
            raise ServiceUnavailable(f"the storage's folder: locking {path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Give up the lock."""
        os.close(self._handle)


@contextmanager
def exclusive_use(root: Path) -> Iterator[bool]:
    """Keep other processes from opening a store while the context lasts. They wait.

    Args:
        root: the store's folder, with the storage's own folder in it.

    Yields:
        Whether no other process uses the store; if one does, nothing is locked.
    """
    handle = OWNER_ONLY.open_lock(root / HIDDEN / LOCK)
    try:
        alone = False
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        yield alone
    finally:
        os.close(handle)


def is_store(root: Path) -> bool:
    """Return whether a folder holds a store.

    Raises:
        ServiceUnavailable: the folder cannot be read.
    """
    try:
        return (root / HIDDEN / DATABASE).is_file()
    except OSError as error:
        raise ServiceUnavailable(f"the storage's folder: reading {root}: {error.strerror or error}") from error


def _shared(path: Path, modes: FileModes) -> int:
    for _ in range(_TRIES):
        try:
            make_folder(path.parent, modes)
            handle = modes.open_lock(path)
        except FileNotFoundError:
            continue  # the store was removed meanwhile
        try:
            # Not every file system has locks; a store on one without is only never known to be in use.
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
    raise OSError(0, "it is removed again and again")
