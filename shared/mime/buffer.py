"""The bytes of a message, read in pieces so that large files are never held in memory as a whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

PIECE_SIZE = 256 * 1024
"""Maximum number of bytes taken out of the buffer at once."""

_MIN_WINDOW = 8 * 1024
_RELEASE_EVERY = 32 * PIECE_SIZE
_FAULT_AROUND = 64 * 1024
"""Bytes that Linux maps around each page that is read (`fault_around_bytes`). Small distant slices map as much."""


class Buffer:
    """The bytes of a message, in memory or in a mapped file.

    Pages of a read-only mapping are released every few megabytes; the system loads them again when needed. Pages of a
    writable mapping are never released, since writes to them could be lost.

    Attributes:
        size: size in bytes.
        in_memory: whether all bytes are in memory, so that as many more may be.
    """

    __slots__ = ("_data", "_read_bytes", "_releasable", "in_memory", "size")

    def __init__(self, data: bytes | mmap.mmap | memoryview) -> None:
        self._data: bytes | mmap.mmap | memoryview
        self._releasable: mmap.mmap | None = None
        self._read_bytes = 0
        if isinstance(data, memoryview):
            data = data.cast("B") if data.c_contiguous and data.nbytes else bytes(data)
        elif isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            with memoryview(data) as view:
                self._releasable = data if view.readonly else None
        self._data = data
        self.size = len(data)
        self.in_memory = isinstance(data, bytes)

    def slice(self, start: int, end: int) -> bytes:
        """Return a copy of the bytes from `start` up to `end`."""
        piece = bytes(self._data[start:end])
        if self._releasable is not None:
            self._read_bytes += max(len(piece), _FAULT_AROUND)
            if self._read_bytes > _RELEASE_EVERY:
                self._read_bytes = 0
                self._releasable.madvise(mmap.MADV_DONTNEED)
        return piece

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Return the bytes from `start` up to `end`, in copies of at most `PIECE_SIZE` bytes."""
        for offset in range(start, end, PIECE_SIZE):
            yield self.slice(offset, min(offset + PIECE_SIZE, end))

    def find(self, needle: bytes, start: int, end: int) -> int:
        """Return the index of the first complete `needle` between `start` and `end`, or -1."""
        if isinstance(self._data, bytes):
            return self._data.find(needle, start, end)
        window = _MIN_WINDOW
        while start + len(needle) <= end:
            index = self.slice(start, min(start + window + len(needle) - 1, end)).find(needle)
            if index >= 0:
                return start + index
            start += window
            window = min(window * 2, PIECE_SIZE)
        return -1


class Finder:
    """A search for several byte strings that remembers its progress: linear over a whole message."""

    __slots__ = ("_buffer", "_matches", "_needles", "_searched_to")

    def __init__(self, buffer: Buffer, needles: tuple[bytes, ...]) -> None:
        self._buffer = buffer
        self._needles = needles
        self._matches = [-1] * len(needles)
        self._searched_to = [0] * len(needles)

    def find_next(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the index and length of the first complete needle between `start` and `end`, or None.

        `start` may decrease from one call to the next only within a range where nothing has been found since.
        """
        window, limit = _MIN_WINDOW, start
        while limit < end:  # in windows, so that no needle is searched for far beyond another one
            limit = min(limit + window, end)
            window = min(window * 2, PIECE_SIZE)
            best: tuple[int, int] | None = None
            for number, needle in enumerate(self._needles):
                index = self._matches[number]
                if index < start:
                    index = self._search(number, needle, start, limit)
                if index >= 0 and index + len(needle) <= limit and (best is None or index < best[0]):
                    best = (index, len(needle))
            if best is not None:
                return best
        return None

    def _search(self, number: int, needle: bytes, start: int, end: int) -> int:
        start = max(start, self._searched_to[number])
        index = self._buffer.find(needle, start, end)
        self._matches[number] = index
        self._searched_to[number] = index if index >= 0 else max(start, end - len(needle) + 1)
        return index
