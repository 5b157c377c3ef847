"""Where a message's bytes are between the wire and the store: in memory while small, in a temporary file once large.

Memory does not grow with a message's size, and the disk that all spools of one process use together is bounded (rule
1.7): a function's temporary disk is under 1 GB, and several mailboxes are drained in one process.
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
"""Bytes up to which a message stays in memory."""

STEP = 16 * 1024 * 1024
"""Bytes by which a file's part of the budget grows when it is larger than was told."""

SPOOL_BUDGET = 400 * 1024 * 1024
"""Bytes that all spooled messages of the process may take on disk together."""


PATIENCE = 600.0
"""Seconds that a message waits for room: others give back what they hold long before, or hang."""


PREFIX = "mailroom-"
"""How the names of all temporary files begin."""

SUFFIX = ".eml"
"""How the names of those temporary files end that a killed process leaves."""


def temporary_file() -> LockedFile:
    """Create a file in the temporary folder. It is the caller's to remove."""
    return LockedFile.temporary(PREFIX, SUFFIX)


def remove_leftover_files(now: float | None = None) -> int:
    """Remove the temporary files of killed processes: the disk is small, and outlives them.

    Args:
        now: the time; None: the system's.

    Returns:
        How many were removed.
    """
    return temporary_files.remove_leftover_files(Path(tempfile.gettempdir()).glob(f"{PREFIX}*{SUFFIX}"), now)


class MemoryBudget:
    """A count of bytes on disk that is waited for when it is used up."""

    def __init__(self, limit: int = SPOOL_BUDGET) -> None:
        self._limit = limit
        self._used = 0
        self._freed = threading.Condition()

    def reserve(self, size: int) -> None:
        """Wait until `size` bytes may be used. One message larger than the whole budget waits until it is alone.

        Raises:
            ServiceUnavailable: there was no room for ten minutes.
        """
        with self._freed:
            if not self._freed.wait_for(lambda: self._used == 0 or self._used + size <= self._limit, PATIENCE):
                raise ServiceUnavailable(f"no room for {size} octets in the temporary disk's budget of {self._limit}")
            self._used += size

    def grow(self, size: int) -> None:
        """Count more bytes without waiting: of a message that turns out larger than its server told."""
        with self._freed:
            self._used += size

    def release(self, size: int) -> None:
        """Give bytes back."""
        with self._freed:
            self._used -= size
            self._freed.notify_all()


BUDGET = MemoryBudget()


class Content:
    """A message's bytes, whole, with their digest.

    Attributes:
        data: the bytes, or the temporary file that holds them.
        size: octets.
        sha256: hex digest; the message's id.
    """

    __slots__ = ("_file", "_held", "_spool_budget", "data", "sha256", "size")

    def __init__(
        self,
        data: bytes | Path,
        size: int,
        sha256: str,
        *,
        held: int = 0,
        budget: MemoryBudget = BUDGET,
        file: LockedFile | None = None,
    ) -> None:
        self.data = data
        self.size = size
        self.sha256 = sha256
        self._held = held
        self._spool_budget = budget
        # Kept open: another process removes a temporary file that is not locked.
        self._file = file

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Content that is in memory."""
        return cls(data, len(data), hashlib.sha256(data).hexdigest())

    def close(self) -> None:
        """Remove the temporary file, if there is one. May be called twice."""
        if self._file is not None:
            self._file.remove()
            self._file = None
        if self._held:
            self._spool_budget.release(self._held)
            self._held = 0


class Spool:
    """Collects one message as it comes off the wire.

    Args:
        expected: octets as the server told them: decides between memory and disk, and what is taken of the budget.
        limit: octets after which nothing is kept any more (`overflowed`); reading may go on.
    """

    def __init__(self, expected: int, limit: int, *, budget: MemoryBudget = BUDGET) -> None:
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

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
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
                self._budget.grow(STEP)
                self._held += STEP
        else:
            self._parts.append(bytes(data))

    def finish(self) -> Content | None:
        """The whole message, or None if it overflowed."""
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
        """Drop what was taken."""
        self._parts.clear()
        if self._writer is not None and self._file is not None:
            # Removed first: closing writes what is buffered, which fails where the disk is full.
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
            self._budget.release(size)  # nobody else will: a spool that was not made is not discarded either
            raise
        self._held = size
        self._writer = self._file.writer()
        self._path = Path(self._file.path)
