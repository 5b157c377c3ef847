"""Temporary files that a killed process leaves, and their removal.

A process locks each of its temporary files while it uses it. flock(2): the lock belongs to the open file and ends with
the process, however the process ends. So a file without a lock is left over. Its age counts too: a new file is not
locked yet.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

OWNER_ONLY = 0o600
"""The mode of a file that only its owner may read and write."""

LEFTOVER_SECONDS = 60.0
"""Seconds after which a file without a lock is removed: the time that a mailbox's lease outlives a killed worker."""


class LockedFile:
    """A new file, locked until it is closed.

    Args:
        create: creates and opens the file; returns its descriptor and its path.
        mode: the file's mode, whatever the umask.

    Attributes:
        path: the path of the file.
        handle: the descriptor of the file, for reading and writing.
        locked: whether the file system has locks and granted one.
    """

    __slots__ = ("handle", "locked", "path")

    def __init__(self, create: Callable[[], tuple[int, str]], mode: int = OWNER_ONLY) -> None:
        self.path = ""
        self.handle = -1
        self.locked = False
        while not self._create_locked(create, mode):
            pass

    @classmethod
    def at(cls, path: str, mode: int = OWNER_ONLY) -> Self:
        """Create a file at a path that does not exist."""
        return cls(lambda: (os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), path), mode)

    @classmethod
    def temporary(cls, prefix: str, suffix: str) -> Self:
        """Create a file in the temporary folder."""
        return cls(lambda: tempfile.mkstemp(prefix=prefix, suffix=suffix))

    def _create_locked(self, create: Callable[[], tuple[int, str]], mode: int) -> bool:
        """Create and lock the file; return False if another process removed it before it was locked."""
        self.locked = False
        self.handle, self.path = create()
        try:
            # Not every file system has locks. Where they fail, `remove_leftover_files` fails too and removes nothing.
            with suppress(OSError):
                fcntl.flock(self.handle, fcntl.LOCK_EX)
                self.locked = True
            status = os.fstat(self.handle)
            if stat.S_IMODE(status.st_mode) != mode:  # The umask removed bits.
                os.fchmod(self.handle, mode)
            created = status.st_nlink > 0
        except BaseException:
            self.close()
            raise
        if not created:
            self.close()
        return created

    def writer(self) -> BinaryIO:
        """Return a buffered writer. Closing it leaves the file locked."""
        return os.fdopen(os.dup(self.handle), "wb")

    def remove(self) -> None:
        """Remove the file and close it. May be called twice."""
        if self.handle >= 0:
            with suppress(FileNotFoundError):
                os.unlink(self.path)  # noqa: PTH108  a text, not a Path: this is done for every blob
        self.close()

    def close(self) -> None:
        """Release the lock and leave the file. May be called twice."""
        handle, self.handle = self.handle, -1
        if handle >= 0:
            os.close(handle)

    def __del__(self) -> None:
        self.close()


@contextmanager
def locked_file(path: str, mode: int = OWNER_ONLY) -> Iterator[LockedFile]:
    """Create a locked file and remove it when the context ends."""
    file = LockedFile.at(path, mode)
    try:
        yield file
    finally:
        file.remove()


def remove_leftover_files(paths: Iterable[Path], now: float | None = None) -> int:
    """Remove the files that no living process uses. What cannot be removed stays.

    Args:
        paths: regular files; others are left alone.
        now: the time; None: the system's time.

    Returns:
        How many were removed.
    """
    now = time.time() if now is None else now
    return sum(_remove_if_unused(path, now) for path in paths)


def _remove_if_unused(path: Path, now: float) -> bool:
    with suppress(OSError):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or now - status.st_mtime <= LEFTOVER_SECONDS:
            return False
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(handle)
        return True
    return False
