"""Blobs as plain files, each with its final name only when whole and durable (docs/explanation/receipts.md, "In a
folder").
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import stat
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shared import temporary_files
from shared.errors import ServiceUnavailable, WriteConflict
from shared.storage.base import BlobVersion
from shared.storage.folder.fsync import make_folder, sync_file, sync_folders
from shared.storage.folder.modes import OWNER_ONLY, FileModes
from shared.storage.paths import checked_path
from shared.temporary_files import locked_file

HIDDEN = ".mailroom"
"""The folder under the root that is no mail's: temporary files and the database."""

MOST_KNOWN = 4096
"""Folders that are remembered, half a kilobyte each: a message has two of its own, which are never met again."""

PIECE = 1024 * 1024
"""Octets that are held at a time while a file is copied."""


class FolderBlobs:
    """Files under a root folder. Several threads and several processes may write at once.

    Args:
        root: made if it is not there.
        modes: those of new files and folders.
    """

    def __init__(self, root: Path, modes: FileModes = OWNER_ONLY) -> None:
        self._root = root
        self._modes = modes
        # On the same file system as the mail, since link(2) does not cross one; apart from it, so that who watches or
        # reads the folders of the mail never meets half a file.
        self._writing = root / HIDDEN / "writing"
        # Never a name that was used before, by any process: what a kill left behind may be linked to a whole file.
        self._mark = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self._unsettled: set[str] = set()
        self._known: set[str] = set()
        with self._mapped("making", root):
            make_folder(self._writing, modes)
        self.remove_leftover_files()

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:  # noqa: ARG002  a folder keeps no types
        """Write a whole file if there is none."""
        final = self._at(path)
        with self._mapped("writing", final):
            if _is_file(final):
                # Its writer may have died before the folders were settled: then that is ours to do.
                self._make(final.parent)
                self._entry_changed_in(final.parent)
                return False
            # Locked until it has its name: another process removes an old file that is not locked.
            with locked_file(self._temporary(), self._modes.file) as file:
                _write(file.handle, data)
                return self._link(file.path, final)

    def settle(self) -> None:
        """Fsync the folders that got or lost entries since they were last settled."""
        # One at a time: who comes second must not return while the first still syncs what both have written.
        with self._settling:
            with self._lock:
                folders, self._unsettled = self._unsettled, set()
            try:
                with self._mapped("settling", self._root):
                    sync_folders(folders)
            except ServiceUnavailable:
                with self._lock:
                    self._unsettled |= folders
                raise

    def read(self, path: str) -> bytes | None:
        """The whole file, or None."""
        final = self._at(path)
        with self._mapped("reading", final):
            try:
                return final.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def download(self, path: str, target: BinaryIO) -> bool:
        """Copy a file into an open one."""
        final = self._at(path)
        with self._mapped("reading", final):
            try:
                source = final.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return False
            with source:
                shutil.copyfileobj(source, target, PIECE)
        return True

    def version(self, path: str, *, unless: str = "", most: int | None = None) -> BlobVersion | None:
        """The whole file and what tells its versions apart."""
        final = self._at(path)
        with self._mapped("reading", final):
            try:
                with final.open("rb") as file:
                    etag = _etag(os.fstat(file.fileno()))
                    return BlobVersion(None if etag == unless else file.read(most), etag)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def replace(self, path: str, data: bytes, *, etag: str, content_type: str) -> None:  # noqa: ARG002  as in create
        """Write a file anew."""
        final = self._at(path)
        with self._mapped("writing", final), self._replacing():
            if not _is_file(final) or _etag(final.stat()) != etag:
                raise WriteConflict(f"{path} was changed by another in between")
            with locked_file(self._temporary(), self._modes.file) as file:
                _write(file.handle, data)
                os.replace(file.path, final)  # noqa: PTH105  as in create
        self._entry_changed_in(final.parent)

    def delete_many(self, paths: Iterable[str]) -> None:
        """Remove files, and the folders that are empty then."""
        for path in paths:
            final = self._at(path)
            with self._mapped("removing", final):
                with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    final.unlink()
                    self._entry_changed_in(final.parent)
                with suppress(OSError):  # not empty, mostly; and an empty folder harms nobody
                    for folder in final.parents:
                        if folder == self._root:
                            break
                        folder.rmdir()
                        self._entry_changed_in(folder.parent)
        with self._lock:
            self._known.clear()

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        final = self._at(path)
        with self._mapped("looking at", final):
            try:
                return stat.S_ISREG(final.stat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def list(self, prefix: str = "") -> Iterator[str]:
        """Paths in order; what is being written is not among them."""
        folder = prefix.rpartition("/")[0]
        top = self._at(folder) if folder else self._root
        found: list[str] = []
        with self._mapped("listing", top):
            for parent, folders, files in os.walk(top, onerror=_unless_gone):
                place = Path(parent)
                if place == self._root and HIDDEN in folders:
                    folders.remove(HIDDEN)
                found += [(place / name).relative_to(self._root).as_posix() for name in files]
        yield from sorted(path for path in found if path.startswith(prefix))

    def remove_leftover_files(self, now: float | None = None) -> int:
        """Remove what killed writers left; return how many files that were.

        Args:
            now: the time; None: the system's.
        """
        with self._mapped("listing", self._writing):
            return temporary_files.remove_leftover_files(list(self._writing.iterdir()), now)

    @contextmanager
    def _replacing(self) -> Iterator[None]:
        """One process at a time: to look at a file and to replace it are two steps."""
        lock = self._modes.open_lock(self._writing.parent / "replacing.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _temporary(self) -> str:
        return f"{self._writing}/{self._mark}-{next(self._numbers)}"

    def _link(self, temporary: str, final: Path) -> bool:
        for last in (False, True):
            try:
                self._make(final.parent)
                made = _linked(temporary, final)
            except FileNotFoundError:
                # A folder that we know of is gone: somebody tidied up. Make it anew.
                if last:
                    raise
                with self._lock:
                    self._known.clear()
                continue
            break
        self._entry_changed_in(final.parent)
        return made

    def _make(self, folder: Path) -> None:
        """Make a folder and its parents, and remember whose entries are new."""
        if str(folder) in self._known or folder == self._root:
            return
        self._make(folder.parent)
        self._modes.make_folder(folder)
        # Whether we made it or one who died before it was settled: once a process.
        self._entry_changed_in(folder.parent)
        with self._lock:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known.add(str(folder))

    def _entry_changed_in(self, folder: Path) -> None:
        with self._lock:
            self._unsettled.add(str(folder))

    def _at(self, path: str) -> Path:
        if checked_path(path).partition("/")[0] == HIDDEN:
            raise ValueError(f"no blob's path: {path!r} is the storage's own")
        return self._root / path

    @contextmanager
    def _mapped(self, doing: str, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ServiceUnavailable(
                f"the storage's folder: {doing} {_shown(path)}: {error.strerror or error}"
            ) from error


def _shown(path: Path) -> str:
    """A path as errors tell it: an attachment's name is content, its number is not."""
    if path.parent.name != "attachments":
        return str(path)
    return f"{path.parent}/{path.name.partition('-')[0]}-…"


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _write(handle: int, data: bytes | Path) -> None:
    """Write a new file, whole and durable."""
    with open(handle, "wb", buffering=0, closefd=False) as file:
        if isinstance(data, bytes):
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
        else:
            with data.open("rb") as source:
                while piece := source.read(PIECE):
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[file.write(rest) :]
        sync_file(handle)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _is_file(path: Path) -> bool:
    """Whether the blob is there: a dangling link, or whatever else has its name, is not it."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _linked(temporary: str, final: Path) -> bool:
    """Give a whole file its name; False if a file has it already."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        if not _is_file(final):
            raise  # taken by something that is no blob: never a reason to believe that the mail is stored
        return False
    return True
