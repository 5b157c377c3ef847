"""A message's bytes, read piece by piece so that a large file never stands in memory as a whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

PIECE = 256 * 1024
"""Bytes that are taken out of the buffer at once, at most."""

_FIRST_WINDOW = 8 * 1024
_RELEASE_EVERY = 32 * PIECE
_MAPPED_AROUND = 64 * 1024
"""Bytes that Linux maps around each page that is read (fault-around): small slices far apart cost as much."""


class Buffer:
    """The bytes of one message: in memory, or a mapped file.

    Pages of a read-only mapping are given back to the system every few megabytes; they come back from the file when
    they are read again. (Pages of a writable one are left alone, since what was written to them could be lost.)

    Attributes:
        size: octets.
    """

    __slots__ = ("_data", "_read", "_releasable", "size")

    def __init__(self, data: bytes | mmap.mmap | memoryview) -> None:
        self._data: bytes | mmap.mmap | memoryview
        self._releasable: mmap.mmap | None = None
        self._read = 0
        if isinstance(data, memoryview):
            data = data.cast("B") if data.c_contiguous and data.nbytes else bytes(data)
        elif isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            with memoryview(data) as view:
                self._releasable = data if view.readonly else None
        self._data = data
        self.size = len(data)

    def slice(self, start: int, end: int) -> bytes:
        """A copy of the bytes from `start` up to `end`."""
        piece = bytes(self._data[start:end])
        if self._releasable is not None:
            self._read += max(len(piece), _MAPPED_AROUND)
            if self._read > _RELEASE_EVERY:
                self._read = 0
                self._releasable.madvise(mmap.MADV_DONTNEED)
        return piece

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to `end`, in copies of at most `PIECE` bytes."""
        for at in range(start, end, PIECE):
            yield self.slice(at, min(at + PIECE, end))

    def find(self, needle: bytes, start: int, end: int) -> int:
        """Where `needle` first stands as a whole between `start` and `end`, or -1."""
        if isinstance(self._data, bytes):
            return self._data.find(needle, start, end)
        window = _FIRST_WINDOW
        while start + len(needle) <= end:
            found = self.slice(start, min(start + window + len(needle) - 1, end)).find(needle)
            if found >= 0:
                return start + found
            start += window
            window = min(window * 2, PIECE)
        return -1


class Finder:
    """Looks for the next of several byte strings, and remembers what it has looked at: linear over a whole message."""

    __slots__ = ("_buffer", "_found", "_needles", "_upto")

    def __init__(self, buffer: Buffer, needles: tuple[bytes, ...]) -> None:
        self._buffer = buffer
        self._needles = needles
        self._found = [-1] * len(needles)
        self._upto = [0] * len(needles)

    def next(self, start: int, end: int) -> tuple[int, int] | None:
        """Where the first of them stands as a whole between `start` and `end`, and its length; or None.

        `start` may go down from one call to the next only to where nothing was found since.
        """
        window, upto = _FIRST_WINDOW, start
        while upto < end:  # in windows, lest one needle is looked for far behind another
            upto = min(upto + window, end)
            window = min(window * 2, PIECE)
            best: tuple[int, int] | None = None
            for index, needle in enumerate(self._needles):
                found = self._found[index]
                if found < start:
                    found = self._search(index, needle, start, upto)
                if found >= 0 and found + len(needle) <= upto and (best is None or found < best[0]):
                    best = (found, len(needle))
            if best is not None:
                return best
        return None

    def _search(self, index: int, needle: bytes, start: int, end: int) -> int:
        start = max(start, self._upto[index])
        found = self._buffer.find(needle, start, end)
        self._found[index] = found
        self._upto[index] = found if found >= 0 else max(start, end - len(needle) + 1)
        return found
