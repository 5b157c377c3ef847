"""Buffers for messages between the connection and the storage: memory for small ones, temporary files for large ones.

Memory use does not grow with a message's size. The disk space that all spools of a process use together is bounded
(rule 1.7): a function's temporary disk is under 1 GB, and one process drains several mailboxes.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO, Self

from shared import temporary_files
from shared.errors import ServiceUnavailable
from shared.temporary_files import LockedFile

MEMORY_LIMIT = 4 * 1024 * 1024
"""Size in bytes up to which a message stays in memory."""

BUDGET_STEP = 16 * 1024 * 1024
"""Bytes by which a file's share of the budget grows when the message is larger than reported."""

SPOOL_BUDGET = 400 * 1024 * 1024
"""Bytes that all spooled messages of the process may use on disk together."""

BUDGET_TIMEOUT = 600.0
"""Seconds that a message waits for disk space. Other spools release theirs long before, unless they hang."""

PREFIX = "mailroom-"
"""Prefix of the names of all temporary files."""

SUFFIX = ".eml"
"""Suffix of the names of spool files, by which those of killed processes are found."""


def temporary_file() -> LockedFile:
    """Create a file in the temporary folder. The caller removes it."""
    return LockedFile.temporary(PREFIX, SUFFIX)


def remove_leftover_files(now: float | None = None) -> int:
    """Remove the temporary files of killed processes: the disk is small and outlives a process.

    Args:
        now: the current time; None: the system's.

    Returns:
        Number of removed files.
    """
    return temporary_files.remove_leftover_files(Path(tempfile.gettempdir()).glob(f"{PREFIX}*{SUFFIX}"), now)


class DiskBudget:
    """A limit on the bytes that spools use on disk. A spool waits while the budget is used up."""

    def __init__(self, limit: int = SPOOL_BUDGET) -> None:
        self._limit = limit
        self._used = 0
        self._freed = threading.Condition()

    def reserve(self, size: int) -> None:
        """Wait until `size` bytes are available. A message larger than the whole budget waits until it is alone.

        Raises:
            ServiceUnavailable: no disk space was released for ten minutes.
        """
        with self._freed:
            if not self._freed.wait_for(lambda: self._used == 0 or self._used + size <= self._limit, BUDGET_TIMEOUT):
                raise ServiceUnavailable(
                    f"temporary disk: no space for {size} bytes within the budget of {self._limit} bytes"
                )
            self._used += size

    def grow(self, size: int) -> None:
        """Reserve more bytes without waiting, for a message that is larger than its server reported."""
        with self._freed:
            self._used += size

    def release(self, size: int) -> None:
        """Release bytes."""
        with self._freed:
            self._used -= size
            self._freed.notify_all()


BUDGET = DiskBudget()


class Content:
    """The complete bytes of a message, with their digest.

    Attributes:
        data: the bytes, or the temporary file that holds them.
        size: size in bytes.
        sha256: hex digest; the message's id.
    """

    __slots__ = ("_budget", "_file", "_held", "data", "sha256", "size")

    def __init__(
        self,
        data: bytes | Path,
        size: int,
        sha256: str,
        *,
        held: int = 0,
        budget: DiskBudget = BUDGET,
        file: LockedFile | None = None,
    ) -> None:
        self.data = data
        self.size = size
        self.sha256 = sha256
        self._held = held
        self._budget = budget
        # Kept open, since other processes remove temporary files that are not locked.
        self._file = file

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return content that is held in memory."""
        return cls(data, len(data), hashlib.sha256(data).hexdigest())

    def close(self) -> None:
        """Remove the temporary file, if any. May be called twice."""
        if self._file is not None:
            self._file.remove()
            self._file = None
        if self._held:
            self._budget.release(self._held)
            self._held = 0


class Spool:
    """Collects one message as it is received.

    Args:
        expected: size in bytes as reported by the server. It decides between memory and disk, and is reserved in the
            budget.
        limit: size in bytes above which the content is dropped (`overflowed`). Further writes are ignored.
        budget: the disk budget.

    Attributes:
        size: bytes received so far.
        overflowed: the message exceeded `limit`.
    """

    def __init__(self, expected: int, limit: int, *, budget: DiskBudget = BUDGET) -> None:
        self._limit = limit
        self._budget = budget
        self._digest = hashlib.sha256()
        self._parts: list[bytes] = []
        self._file: LockedFile | None = None
        self._writer: BinaryIO | None = None
        self._path: Path | None = None
        self._held = 0
        self.size = 0
        self.overflowed = False
        if expected > MEMORY_LIMIT:
            self._to_disk(min(expected, limit))

    @property
    def on_disk(self) -> bool:
        """Whether the content is in a temporary file."""
        return self._file is not None

    def write(self, data: bytes | memoryview) -> None:
        """Append the next bytes."""
        if self.overflowed:
            return
        self.size += len(data)
        if self.size > self._limit:
            self.overflowed = True
            self.discard()
            return
        self._digest.update(data)
        if self._writer is None and self.size > MEMORY_LIMIT:
            self._to_disk(self.size)
            for part in self._parts:
                assert self._writer is not None
                self._writer.write(part)
            self._parts.clear()
        if self._writer is not None:
            self._writer.write(data)
            if self.size > self._held:
                self._budget.grow(BUDGET_STEP)
                self._held += BUDGET_STEP
        else:
            self._parts.append(bytes(data))

    def finish(self) -> Content | None:
        """Return the complete message, or None if it overflowed."""
        if self.overflowed:
            return None
        if self._writer is None:
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts = []
            return Content(data, self.size, self._digest.hexdigest())
        self._writer.close()
        assert self._path is not None
        digest = self._digest.hexdigest()
        return Content(self._path, self.size, digest, held=self._held, budget=self._budget, file=self._file)

    def discard(self) -> None:
        """Drop the content. May be called twice."""
        self._parts.clear()
        if self._writer is not None and self._file is not None:
            # Removed first: closing flushes the buffer, which fails where the disk is full.
            self._file.remove()
            try:
                self._writer.close()
            finally:
                self._file = self._writer = None
        if self._held:
            self._budget.release(self._held)
            self._held = 0

    def _to_disk(self, size: int) -> None:
        self._budget.reserve(size)
        try:
            self._file = temporary_file()
        except OSError:
            self._budget.release(size)  # the constructor raises, so no caller can discard this spool
            raise
        self._held = size
        self._writer = self._file.writer()
        self._path = Path(self._file.path)
