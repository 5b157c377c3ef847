"""The processes that hold messages and leases of a store in a folder.

Each process has a locked marker file, whose name is part of its receipts and tokens. The lock ends with the process,
however the process ends (flock(2)). So if a marker file can be locked, its owner is dead, and its messages and leases
can be released at once. Without markers, a message would stay hidden for ten minutes and a lease for one.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.storage.folder.fsync import make_folder
from shared.storage.folder.modes import OWNER_ONLY, FileModes
from shared.temporary_files import LockedFile

FOLDER = "holders"
"""The folder of the marker files, next to the database."""

MARK_LENGTH = 32
"""Characters in a marker's name: a UUID in hex digits."""


class ProcessMarker:
    """This process as the owner of messages and leases, until it is closed.

    Args:
        folder: the folder of the database.
        modes: the modes of new files and folders.

    Attributes:
        mark: the prefix of this owner's receipts and tokens, and the name of its file.
    """

    def __init__(self, folder: Path, modes: FileModes = OWNER_ONLY) -> None:
        self.mark = uuid.uuid4().hex
        self._folder = folder / FOLDER
        make_folder(self._folder, modes)
        self._file = LockedFile.at(str(self._folder / self.mark), modes.file)
        if not self._file.locked:
            # Locks may fail for a while (ENOLCK). Another process could lock the file later and take this one for dead.
            self._file.remove()

    def new_token(self) -> str:
        """Return a new receipt or token of this owner."""
        return f"{self.mark}.{uuid.uuid4().hex}"

    def close(self) -> None:
        """Remove the marker. Messages and leases of this owner stay held until their time ends."""
        self._file.remove()

    @contextmanager
    def dead_marks(self) -> Iterator[list[str]]:
        """Yield the marks of dead owners, and remove their files when the context ends without an error."""
        handles: dict[Path, int] = {}
        try:
            for path in self._folder.iterdir():
                handle = _try_lock(path) if len(path.name) == MARK_LENGTH else None
                if handle is not None:
                    handles[path] = handle
            yield [path.name for path in handles]
            for path in handles:
                with suppress(FileNotFoundError):
                    path.unlink()
        finally:
            for handle in handles.values():
                os.close(handle)


def _try_lock(path: Path) -> int | None:
    """Lock a file and return its descriptor, or None if another process holds the lock or locks fail."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
