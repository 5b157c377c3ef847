"""Divide arrivals into batches, each with one route request (docs/explanation/receipts.md, "Intake")."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import replace

from shared.keys import BATCH, outbox_key
from shared.mailboxes.spool import MEMORY_LIMIT
from shared.receipts import Receipt

MAX_BATCH_ARRIVALS = 16
"""Arrivals that one route request names."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Size in bytes of the messages that one route request names: the router holds them in memory at the same time."""


def assign_batches(receipts: Iterable[Receipt]) -> Iterator[Receipt]:
    """Yield receipts in their order, each with the key of its outbox entry, which names its batch.

    A message that is not held in memory (`MEMORY_LIMIT`) has a batch of its own.

    Args:
        receipts: the receipts of arrivals of one folder.
    """
    batch = ""
    count = size = 0
    for receipt in receipts:
        if receipt.size > MEMORY_LIMIT:
            yield replace(receipt, outbox=outbox_key(_new_batch(), receipt.arrival))
            continue
        if not batch or count == MAX_BATCH_ARRIVALS or size + receipt.size > MAX_BATCH_BYTES:
            batch, count, size = _new_batch(), 0, 0
        count += 1
        size += receipt.size
        yield replace(receipt, outbox=outbox_key(batch, receipt.arrival))


def _new_batch() -> str:
    return f"{secrets.randbits(4 * BATCH):0{BATCH}x}"
