"""Batches of arrivals: how many, and how large, one route request may be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shared.intake.batches import MAX_BATCH_ARRIVALS, MAX_BATCH_BYTES, assign_batches
from shared.keys import arrival_key, batch_prefix
from shared.mailboxes.spool import MEMORY_LIMIT
from shared.queue_messages import route_requests

MB = 1024 * 1024


def keys(sizes: Sequence[int]) -> list[str]:
    """Return the keys of the outbox entries of messages with these sizes in bytes."""
    return list(assign_batches((arrival_key("support", "INBOX", str(n)), size) for n, size in enumerate(sizes)))


def batches(*sizes: int) -> list[list[int]]:
    """Return the sizes of the messages of each batch, in the order of their first messages."""
    by_batch: dict[str, list[int]] = {}
    for key, size in zip(keys(sizes), sizes, strict=True):
        by_batch.setdefault(batch_prefix(key), []).append(size)
    return list(by_batch.values())


def test_the_limits_are_those_of_the_documentation() -> None:
    assert (MAX_BATCH_ARRIVALS, MAX_BATCH_BYTES, MEMORY_LIMIT) == (16, 8 * MB, 4 * MB)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([0], [[0]]),
        ([1] * 16, [[1] * 16]),
        ([1] * 17, [[1] * 16, [1]]),
        ([1] * 50, [[1] * 16, [1] * 16, [1] * 16, [1, 1]]),
        ([4 * MB, 4 * MB], [[4 * MB, 4 * MB]]),
        ([4 * MB, 4 * MB, 1], [[4 * MB, 4 * MB], [1]]),
        ([3 * MB, 3 * MB, 3 * MB], [[3 * MB, 3 * MB], [3 * MB]]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_batch_has_16_arrivals_and_8_mb_at_most(sizes: list[int], expected: list[list[int]]) -> None:
    assert batches(*sizes) == expected


def test_a_large_message_is_alone_and_does_not_end_the_batch_around_it() -> None:
    large = 4 * MB + 1
    assert batches(1, large, 2, large, 3) == [[1, 2, 3], [large], [large]]
    assert batches(100 * MB) == [[100 * MB]]


def test_no_two_batches_have_the_same_id() -> None:
    requests = {request.outbox for _ in range(200) for request in route_requests(keys([1, 1]))}
    assert len(requests) == 200
