"""Blobs as plain files: a file has its final name only when it is whole and durable (receipts.md, "In a folder")."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shared.errors import ServiceUnavailable

HIDDEN = ".mailroom"
"""The folder under the root that is no mail's: temporary files and the database."""


class FolderBlobs:
    """Files under a root folder. Several threads and several processes may write at once.

    Args:
        root: made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # Beside the mail, on the same file system: link(2) does not cross one.
        self._temporary = root / HIDDEN / "writing"
        self._numbers = itertools.count()
        self._unsettled: set[str] = set()
        self._known: set[str] = set()
        self._lock = threading.Lock()
        with self._mapped("making", root):
            self._temporary.mkdir(parents=True, exist_ok=True)

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:  # noqa: ARG002  a folder keeps no types
        """Write a whole file if there is none."""
        final = self._at(path)
        if os.path.lexists(final):
            # Its writer may have died before its folders were fsynced: that is ours to do then.
            self._make(final.parent)
            with self._lock:
                self._unsettled.add(str(final.parent))
            return False
        temporary = self._temporary / f"{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
        with self._mapped("writing", final):
            try:
                with temporary.open("wb") as file:
                    if isinstance(data, bytes):
                        file.write(data)
                    else:
                        with data.open("rb") as source:
                            shutil.copyfileobj(source, file, 1024 * 1024)
                    file.flush()
                    os.fdatasync(file.fileno())
                return self._link(temporary, final)
            finally:
                temporary.unlink(missing_ok=True)

    def settle(self) -> None:
        """Fsync the folders that got new entries since they were last settled."""
        with self._lock:
            folders, self._unsettled = self._unsettled, set()
        with self._mapped("settling", self._root):
            for folder in folders:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)

    def read(self, path: str) -> bytes | None:
        """The whole file, or None."""
        final = self._at(path)
        with self._mapped("reading", final):
            try:
                return final.read_bytes()
            except FileNotFoundError:
                return None

    def download(self, path: str, target: BinaryIO) -> bool:
        """Copy a file into an open one."""
        final = self._at(path)
        with self._mapped("reading", final):
            try:
                with final.open("rb") as source:
                    shutil.copyfileobj(source, target, 1024 * 1024)
            except FileNotFoundError:
                return False
        return True

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return self._at(path).is_file()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Paths in order; what is being written is not among them."""
        folder = prefix.rpartition("/")[0]
        top = self._at(folder) if folder else self._root
        found = []
        for parent, folders, files in os.walk(top):
            if Path(parent) == self._root and HIDDEN in folders:
                folders.remove(HIDDEN)
            found += [str((Path(parent) / name).relative_to(self._root)) for name in files]
        yield from sorted(path for path in found if path.startswith(prefix))

    def _link(self, temporary: Path, final: Path) -> bool:
        self._make(final.parent)
        try:
            os.link(temporary, final)
        except FileExistsError:
            with self._lock:
                self._unsettled.add(str(final.parent))
            return False
        except FileNotFoundError:
            # The folder was known to us and is gone: somebody tidied up. Make it anew.
            self._known.clear()
            self._make(final.parent)
            os.link(temporary, final)
        with self._lock:
            self._unsettled.add(str(final.parent))
        return True

    def _make(self, folder: Path) -> None:
        """Make a folder and its parents, and remember whose entries are new."""
        if str(folder) in self._known or folder == self._root:
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        with self._lock:
            # Whether we made it or one who died before its fsync: once a process.
            self._unsettled.add(str(folder.parent))
            self._known.add(str(folder))

    def _at(self, path: str) -> Path:
        parts = path.split("/")
        if not path or any(part in {"", ".", "..", HIDDEN} or "\0" in part for part in parts):
            raise ValueError(f"not a path below the storage's folder: {path!r}")
        return self._root.joinpath(*parts)

    @contextmanager
    def _mapped(self, doing: str, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ServiceUnavailable(f"the storage's folder: {doing} {path}: {error.strerror or error}") from error
