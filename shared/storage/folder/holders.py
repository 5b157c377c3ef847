"""Who holds messages and leases of a store in a folder: each process has a locked file, named in what it holds.

flock(2): the lock ends with the process, however the process ends. So the owner of a file that can be locked is dead,
and what it held is free at once, and not only when ten minutes of invisibility, or a lease's minute, are over.
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
"""The folder of the files, beside the database."""

MARK_LENGTH = 32
"""Characters of a mark: a UUID in hex digits."""


class ProcessMarker:
    """This process as the owner of what it holds, until it is closed.

    Args:
        folder: the folder of the database.
        modes: those of new files and folders.

    Attributes:
        mark: how receipts and tokens of this owner begin.
    """

    def __init__(self, folder: Path, modes: FileModes = OWNER_ONLY) -> None:
        self.mark = uuid.uuid4().hex
        self._folder = folder / FOLDER
        make_folder(self._folder, modes)
        self._file = LockedFile.at(str(self._folder / self.mark), modes.file)
        if not self._file.locked:
            # ENOLCK ends: another process might lock the file later, and take this one for dead.
            self._file.remove()

    def proof(self) -> str:
        """Return a new receipt or token of this owner."""
        return f"{self.mark}.{uuid.uuid4().hex}"

    def close(self) -> None:
        """Give up the mark. What is held under it stays held for its time."""
        self._file.remove()

    @contextmanager
    def dead(self) -> Iterator[list[str]]:
        """Find the marks of dead owners, and remove their files when the context ends well."""
        handles: dict[Path, int] = {}
        try:
            for path in self._folder.iterdir():
                handle = _locked(path) if len(path.name) == MARK_LENGTH else None
                if handle is not None:
                    handles[path] = handle
            yield [path.name for path in handles]
            for path in handles:
                with suppress(FileNotFoundError):
                    path.unlink()
        finally:
            for handle in handles.values():
                os.close(handle)


def _locked(path: Path) -> int | None:
    """Return the descriptor of a file that no process has locked; None for others, and where there are no locks."""
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
