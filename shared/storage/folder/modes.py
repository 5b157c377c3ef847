"""The modes of a store's files and folders. They do not depend on the process's umask."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class FileModes:
    """What new files and folders get.

    Attributes:
        file: a file's mode.
    """

    file: int = 0o600

    @property
    def folder(self) -> int:
        """A folder's mode: that of a file, and x wherever r is set."""
        return self.file | (self.file & 0o444) >> 2

    def make_folder(self, folder: str | Path) -> bool:
        """Make a folder in an existing one; return False if there is one already."""
        try:
            os.mkdir(folder, self.folder)  # noqa: PTH102  a text or a Path
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(folder).st_mode):  # noqa: PTH116  likewise
                raise
            return False
        os.chmod(folder, self.folder)  # noqa: PTH101  likewise
        return True

    def make_file(self, path: Path) -> None:
        """Make an empty file where there is none."""
        with suppress(FileExistsError):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.file)
            try:
                os.fchmod(handle, self.file)
            finally:
                os.close(handle)

    def open_lock(self, path: Path) -> int:
        """Return the descriptor of a file that is only locked. It is made where there is none."""
        self.make_file(path)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self.file)

    def set_root(self, root: Path) -> None:
        """Set the mode of a store's own folder, which may be older than the setting.

        Left as they are: a folder of another user, one with the sticky bit (as /tmp), and the root of a file system.
        """
        status = root.stat()
        shared = status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX
        if (
            not shared
            and not os.path.samestat(status, Path("/").stat())
            and stat.S_IMODE(status.st_mode) != self.folder
        ):
            with suppress(PermissionError):
                root.chmod(self.folder)


OWNER_ONLY: Final = FileModes()
