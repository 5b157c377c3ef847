"""The modes of a store's files and folders, which do not depend on the process's umask."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class FileModes:
    """The modes of new files and folders.

    Attributes:
        file: the mode of a file.
    """

    file: int = 0o600

    @property
    def folder(self) -> int:
        """The mode of a folder: the mode of a file, with x wherever r is set."""
        return self.file | (self.file & 0o444) >> 2

    def make_folder(self, folder: str | Path) -> bool:
        """Create a folder in an existing folder, and return False if it exists already."""
        try:
            os.mkdir(folder, self.folder)  # noqa: PTH102  a text or a Path
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(folder).st_mode):  # noqa: PTH116  likewise
                raise
            return False
        os.chmod(folder, self.folder)  # noqa: PTH101  likewise
        return True

    def make_file(self, path: Path) -> None:
        """Create an empty file if the file does not exist."""
        with suppress(FileExistsError):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.file)
            try:
                os.fchmod(handle, self.file)
            finally:
                os.close(handle)

    def open_lock(self, path: Path) -> int:
        """Open a lock file, created if it does not exist, and return its descriptor."""
        self.make_file(path)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self.file)

    def set_root(self, root: Path) -> None:
        """Set the mode of a store's folder, which may be older than the setting.

        Some folders are not changed: those of other users, those with the sticky bit such as /tmp, and the root folder.
        """
        status = root.stat()
        is_shared = status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX
        if (
            not is_shared
            and not os.path.samestat(status, Path("/").stat())
            and stat.S_IMODE(status.st_mode) != self.folder
        ):
            with suppress(PermissionError):
                root.chmod(self.folder)


OWNER_ONLY: Final = FileModes()
