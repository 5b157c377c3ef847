"""A stored message's raw bytes, opened for reading: in memory while small, mapped from a temporary file once large."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from shared.documents.blob_paths import raw_path
from shared.errors import MessageMissing
from shared.mailboxes.spool import BUDGET, MEMORY_LIMIT, PREFIX
from shared.storage.base import Blobs


@contextmanager
def open_raw(blobs: Blobs, message: str, *, size: int) -> Iterator[bytes | mmap.mmap]:
    """A message's bytes, for as long as the context lasts.

    Args:
        blobs: where it is.
        message: its id.
        size: its octets: decides between memory and disk.

    Raises:
        MessageMissing: it is not there.
    """
    path = raw_path(message)
    if size <= MEMORY_LIMIT:
        data = blobs.read(path)
        if data is None:
            raise MessageMissing(f"message {message} has a receipt and no raw bytes at {path}")
        yield data
        return
    # Twice: for the bytes, and for the attachment that is decoded from them. Taken at once, since two who each held one
    # half and waited for the other would wait for ever.
    BUDGET.reserve(2 * size)
    try:
        with tempfile.TemporaryFile(prefix=PREFIX) as file:
            if not blobs.download(path, file):
                raise MessageMissing(f"message {message} has a receipt and no raw bytes at {path}")
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield mapped
    finally:
        BUDGET.release(2 * size)
