"""Blobs as plain files, whose names appear when they are complete and durable (docs/explanation/receipts.md, "In a
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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from shared import temporary_files
from shared.errors import ServiceUnavailable, WriteConflict
from shared.storage.base import BlobVersion, NewBlob, checked_path
from shared.storage.folder.fsync import begin_sync, file_system_of, make_folder, sync_file, sync_folders
from shared.storage.folder.modes import OWNER_ONLY, FileModes
from shared.temporary_files import locked_file

HIDDEN = ".mailroom"
"""The folder under the root with temporary files and the database, without mail."""

MAX_CACHED_FOLDERS = 4096
"""Folders to remember as existing, 0.5 KB each. A routed message has a folder that no other message uses, and one more
if it has attachments.
"""

OPEN_FILES = 32
"""Files that are written together at most. Six mailboxes that are polled at once write twelve times as many, and a
process may have 1,024 files open, as most systems are set (getrlimit(2))."""

SYNCING_UNNAMED_FILES = frozenset({"ext4", "tmpfs", "xfs"})
"""File systems that sync a file without a name. Btrfs does not in some versions (4.17 to 6.14; "btrfs: fix fsync of
files with no hard links not persisting deletion"): after a power failure, the linked file would be empty."""

COPY_SIZE = 1024 * 1024
"""Bytes that are held at a time while a file is copied."""


class FolderBlobs:
    """Blobs as files under a root folder. Several threads and processes may write at the same time.

    Args:
        root: the root folder, created if it does not exist.
        modes: the modes of new files and folders.
    """

    def __init__(self, root: Path, modes: FileModes = OWNER_ONLY) -> None:
        self._root_name = os.path.abspath(root)  # noqa: PTH100  a text
        self._root = Path(self._root_name)
        self._modes = modes
        # New files are on the mail's file system, because link(2) does not cross file systems. They have a folder of
        # their own, so that programs which watch the mail's folders never see an incomplete file.
        self._writing = self._root / HIDDEN / "writing"
        # No process ever reuses a name: the temporary file of a killed process may be a link to a complete blob.
        self._name_prefix = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._unsynced: set[str] = set()
        self._existing: set[str] = set()
        with self._mapped_errors("creating", root):
            make_folder(self._writing, modes)
        self._umask_removes_bits = False  # checked once: a process does not change its umask
        self._has_unnamed_files = self._can_link_unnamed_files()
        self.remove_leftover_files()

    def create(self, path: str, data: bytes | Path, *, content_type: str, download_name: str | None = None) -> bool:
        """Create a file as a whole, and return whether it was created."""
        return self.create_many([NewBlob(path, data, content_type, download_name)])[0]

    def create_many(self, blobs: Sequence[NewBlob]) -> list[bool]:
        """Create files, and return for each whether it was created.

        All files of a group are written before the first is synced, and synced before the first gets its name. So one
        commit of the file system's journal covers many files, and the disk writes them at the same time.

        Paths are texts here: `Path` needs a third of the time of a create in Python.
        """
        return [
            created
            for start in range(0, len(blobs), OPEN_FILES)
            for created in self._create_group(blobs[start : start + OPEN_FILES])
        ]

    def _create_group(self, blobs: Sequence[NewBlob]) -> list[bool]:
        created = [False] * len(blobs)
        name = ""
        try:
            with ExitStack() as files:
                new: list[tuple[int, str, _NewFile]] = []
                for number, blob in enumerate(blobs):
                    name = self._file_name(blob.path)
                    if isinstance(blob.data, Path) and _is_file(name):  # before many MB are copied for nothing
                        self._note_existing(name)
                        continue
                    file = files.enter_context(self._new_file())
                    _write(file.handle, blob.data)
                    begin_sync(file.handle)
                    new.append((number, name, file))
                for _, name, file in new:  # noqa: B007  an error names it
                    sync_file(file.handle)
                for number, name, file in new:
                    created[number] = self._link(file.path, name)
        except OSError as error:
            raise _unavailable("writing", name, error) from error
        return created

    def _note_existing(self, name: str) -> None:
        """Sync the folders of a file that exists, at the next flush: its writer may have been killed before it did."""
        self._ensure_folder(_parent(name))
        self._note_changed_entries(_parent(name))

    def flush(self) -> None:
        """Sync the folders whose entries changed since the last flush."""
        # One thread at a time: a second one must not return while the first still syncs folders for both.
        with self._flushing:
            with self._lock:
                folders, self._unsynced = self._unsynced, set()
            try:
                with self._mapped_errors("syncing", self._root):
                    sync_folders(folders)
            except ServiceUnavailable:
                with self._lock:
                    self._unsynced |= folders
                raise

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None if the file does not exist."""
        final = self._file_path(path)
        with self._mapped_errors("reading", final):
            try:
                return final.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def download(self, path: str, target: BinaryIO) -> bool:
        """Copy a file into an open file, and return whether the file exists."""
        final = self._file_path(path)
        with self._mapped_errors("reading", final):
            try:
                source = final.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return False
            with source:
                shutil.copyfileobj(source, target, COPY_SIZE)
        return True

    def read_version(self, path: str, *, unless_etag: str = "", max_bytes: int | None = None) -> BlobVersion | None:
        """Return a file's content and etag, or None if the file does not exist."""
        final = self._file_path(path)
        with self._mapped_errors("reading", final):
            try:
                with final.open("rb") as file:
                    etag = _etag(os.fstat(file.fileno()))
                    return BlobVersion(None if etag == unless_etag else file.read(max_bytes), etag)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def replace(self, path: str, data: bytes, *, etag: str, content_type: str) -> None:  # noqa: ARG002  as in create
        """Replace a file's content if the file still has the given etag."""
        final = self._file_path(path)
        with self._mapped_errors("writing", final), self._replacing():
            if not _is_file(str(final)) or _etag(final.stat()) != etag:
                raise WriteConflict(f"{path} was changed by another process")
            with locked_file(self._temporary_path(), self._modes.file) as file:
                _write(file.handle, data)
                sync_file(file.handle)
                os.replace(file.path, final)  # noqa: PTH105  as in create
        self._note_changed_entries(str(final.parent))

    def delete_many(self, paths: Iterable[str]) -> None:
        """Delete files, and the folders that become empty."""
        for path in paths:
            final = self._file_path(path)
            with self._mapped_errors("deleting", final):
                with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    final.unlink()
                    self._note_changed_entries(str(final.parent))
                with suppress(OSError):  # usually the folder is not empty; a remaining empty folder does no harm
                    for folder in final.parents:
                        if folder == self._root:
                            break
                        folder.rmdir()
                        self._note_changed_entries(str(folder.parent))
        with self._lock:
            self._existing.clear()

    def exists(self, path: str) -> bool:
        """Return whether a file exists."""
        final = self._file_path(path)
        with self._mapped_errors("checking", final):
            try:
                return stat.S_ISREG(final.stat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths that begin with `prefix`, sorted, without temporary files."""
        folder = prefix.rpartition("/")[0]
        top = self._file_path(folder) if folder else self._root
        paths: list[str] = []
        with self._mapped_errors("listing", top):
            for parent, folders, files in os.walk(top, onerror=_raise_unless_missing):
                if Path(parent) == self._root and HIDDEN in folders:
                    folders.remove(HIDDEN)
                paths += [(Path(parent) / name).relative_to(self._root).as_posix() for name in files]
        yield from sorted(path for path in paths if path.startswith(prefix))

    def remove_leftover_files(self, now: float | None = None) -> int:
        """Remove the temporary files of killed processes, and return their number.

        Args:
            now: the time; None: the system's time.
        """
        with self._mapped_errors("listing", self._writing):
            return temporary_files.remove_leftover_files(list(self._writing.iterdir()), now)

    @contextmanager
    def _replacing(self) -> Iterator[None]:
        """Admit one process at a time: comparing the etag and replacing the file are two steps."""
        lock = self._modes.open_lock(self._writing.parent / "replacing.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _new_file(self) -> Iterator[_NewFile]:
        """Create a file to be linked to its final name when it is complete."""
        if not self._has_unnamed_files:
            # Locked until it has its final name: other processes remove old temporary files that are not locked.
            with locked_file(self._temporary_path(), self._modes.file) as file:
                yield _NewFile(file.handle, file.path)
            return
        handle = _create_unnamed(self._writing, self._modes.file)
        try:
            if self._umask_removes_bits:
                os.fchmod(handle, self._modes.file)
            yield _NewFile(handle, _DESCRIPTORS + str(handle))
        finally:
            os.close(handle)

    def _can_link_unnamed_files(self) -> bool:
        """Return whether files may be written without names, and linked through /proc: try it."""
        if file_system_of(self._writing) not in SYNCING_UNNAMED_FILES:
            return False
        name = self._temporary_path()
        try:
            handle = _create_unnamed(self._writing, self._modes.file)
            try:
                self._umask_removes_bits = stat.S_IMODE(os.fstat(handle).st_mode) != self._modes.file
                _link_new(_DESCRIPTORS + str(handle), name)
                os.unlink(name)  # noqa: PTH108  a text
            finally:
                os.close(handle)
        except (AttributeError, OSError):  # Only Linux has O_TMPFILE.
            return False
        return True

    def _temporary_path(self) -> str:
        return f"{self._writing}/{self._name_prefix}-{next(self._numbers)}"

    def _link(self, temporary: str, final: str) -> bool:
        folder = _parent(final)
        for is_last_try in (False, True):
            try:
                self._ensure_folder(folder)
                created = _link_new(temporary, final)
            except FileNotFoundError:
                # A folder that existed was deleted by another program. Create it again.
                if is_last_try:
                    raise
                with self._lock:
                    self._existing.clear()
                continue
            break
        self._note_changed_entries(folder)
        return created

    def _ensure_folder(self, folder: str) -> None:
        """Create a folder and its parents if they do not exist, and note the changed parents for the next flush."""
        if folder in self._existing or folder == self._root_name:
            return
        parent = _parent(folder)
        self._ensure_folder(parent)
        self._modes.make_folder(folder)
        # Even if the folder existed: its creator may have been killed before the flush. Each process does this once.
        self._note_changed_entries(parent)
        with self._lock:
            if len(self._existing) >= MAX_CACHED_FOLDERS:
                self._existing.clear()
            self._existing.add(folder)

    def _note_changed_entries(self, folder: str) -> None:
        with self._lock:
            self._unsynced.add(folder)

    def _file_path(self, path: str) -> Path:
        return Path(self._file_name(path))

    def _file_name(self, path: str) -> str:
        if checked_path(path).partition("/")[0] == HIDDEN:
            raise ValueError(f"not a valid blob path: {path!r} is reserved for the storage")
        return f"{self._root_name}/{path}"

    @contextmanager
    def _mapped_errors(self, action: str, path: Path | str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _unavailable(action, path, error) from error


class _NewFile(NamedTuple):
    """A new file that does not have its final name yet.

    Attributes:
        handle: its descriptor.
        path: a path to link from.
    """

    handle: int
    path: str


_DESCRIPTORS = "/proc/self/fd/"
"""The paths of this process's open files (proc(5))."""


def _create_unnamed(folder: Path, mode: int) -> int:
    """Create a file without a name in a folder, and return its descriptor (open(2), O_TMPFILE)."""
    return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)


def _unavailable(action: str, path: Path | str, error: OSError) -> ServiceUnavailable:
    """Return the error of an operation on a file or folder."""
    return ServiceUnavailable(
        f"the storage folder: {action} {_display_path(Path(path))} failed: {error.strerror or error}"
    )


def _display_path(path: Path) -> str:
    """Return a path for an error message. The name of an attachment is message content, so only its number is shown."""
    if path.parent.name != "attachments":
        return str(path)
    return f"{path.parent}/{path.name.partition('-')[0]}-…"


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _write(handle: int, data: bytes | Path) -> None:
    """Write the content of a new file."""
    if isinstance(data, bytes):
        _write_all(handle, data)
    else:
        with data.open("rb") as source:
            while piece := source.read(COPY_SIZE):
                _write_all(handle, piece)


def _write_all(handle: int, data: bytes) -> None:
    """Write bytes. A single write may be incomplete (write(2))."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _is_file(path: str) -> bool:
    """Return whether a path is a regular file. A dangling link or a folder with a blob's name is not the blob."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116  a text, as in create
    except FileNotFoundError:
        return False


def _link_new(temporary: str, final: str) -> bool:
    """Give a complete file its final name, and return False if a file has it already."""
    try:
        # With a descriptor, Python calls linkat(2), which follows a link under /proc. The paths are absolute.
        os.link(temporary, final, src_dir_fd=0, follow_symlinks=True)
    except FileExistsError:
        if not _is_file(final):
            raise  # the name belongs to something that is not a file, so the mail is not stored
        return False
    return True
