"""Divide arrivals into batches, each with one route request (docs/explanation/receipts.md, "Intake")."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator

from shared.keys import BATCH, outbox_key
from shared.mailboxes.spool import MEMORY_LIMIT

MAX_BATCH_ARRIVALS = 16
"""Arrivals that one route request names."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Size in bytes of the messages that one route request names: the router holds them in memory at the same time."""


def assign_batches(sizes: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Yield the key of each arrival's outbox entry, which names its batch, in the order of the arrivals.

    A message that is not held in memory (`MEMORY_LIMIT`) has a batch of its own.

    Args:
        sizes: the key of each arrival of one folder, and the size of its message in bytes.
    """
    batch = ""
    count = total = 0
    for arrival, size in sizes:
        if size > MEMORY_LIMIT:
            yield outbox_key(_new_batch(), arrival)
            continue
        if not batch or count == MAX_BATCH_ARRIVALS or total + size > MAX_BATCH_BYTES:
            batch, count, total = _new_batch(), 0, 0
        count += 1
        total += size
        yield outbox_key(batch, arrival)


def _new_batch() -> str:
    return f"{secrets.randbits(4 * BATCH):0{BATCH}x}"
