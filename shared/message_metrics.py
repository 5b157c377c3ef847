"""What the way in and the way out tell of messages, as metrics and in traces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from shared.observability import metrics, tracing
from shared.receipts import Receipt


def requested(receipt: Receipt) -> str:
    """Begin a stored message's trace. Gives what its announcement carries; empty if nobody traces."""
    return tracing.start_message_trace(receipt.mailbox, receipt.arrival, receipt.message, receipt.size)


def stored(receipts: Iterable[Receipt]) -> None:
    """Messages were stored for the first time."""
    for receipt in receipts:
        told = {"mailbox": receipt.mailbox}
        metrics.collected.add(1, told)
        metrics.stored_bytes.add(receipt.size, told)
        if receipt.received is not None:
            metrics.collected_age.record(max(0.0, (receipt.stored_at - receipt.received).total_seconds()), told)


def routed(
    receipt: Receipt,
    fate: str,
    at: datetime | None,
    *,
    routes: Iterable[str],
    duplicates: int,
    unhandled: str | None,
) -> None:
    """A message was routed.

    Args:
        receipt: of its arrival.
        fate: what became of it, in a word.
        at: when; None: by a replay, and how old it was by then says nothing of how the intake fares.
        routes: that got a result now, once for each.
        duplicates: recipients that had it already.
        unhandled: why no route took it, as a code; None if one did.
    """
    told = {"mailbox": receipt.mailbox}
    given = Counter(routes)
    for route, results in given.items():
        metrics.results.add(results, {**told, "route": route})
    if duplicates:
        metrics.duplicates.add(duplicates, told)
    if fate == "blocked":
        metrics.blocked.add(1, told)
    if unhandled is not None:
        metrics.unhandled.add(1, {**told, "reason": unhandled})
    if at is not None:
        metrics.routed_age.record(max(0.0, (at - receipt.stored_at).total_seconds()), told)
    tracing.annotate(fate=fate, route=";".join(sorted(given)))
