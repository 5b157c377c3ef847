"""Batches of arrivals: how many, and how large, one route request may be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby

import pytest

from shared.intake.batches import MAX_BATCH_ARRIVALS, MAX_BATCH_BYTES, assign_batches
from shared.keys import arrival_key, batch_prefix
from shared.mailboxes.spool import MEMORY_LIMIT
from shared.queue_messages import route_requests
from shared.receipts import Receipt

MB = 1024 * 1024


def receipts(sizes: Sequence[int]) -> list[Receipt]:
    return [
        Receipt(
            arrival=arrival_key("support", "INBOX", str(number)),
            mailbox="support",
            protocol="imap",
            folder="INBOX",
            server_key=str(number),
            message="b" * 64,
            size=size,
            reported_size=size,
            received=None,
            stored_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
        for number, size in enumerate(sizes)
    ]


def batches(*sizes: int) -> list[list[int]]:
    """Return the sizes of the messages of each batch, in the order of their first messages."""
    assigned = list(assign_batches(receipts(sizes)))
    assert [receipt.size for receipt in assigned] == list(sizes), "the order stays"
    order = dict.fromkeys(batch_prefix(receipt.outbox) for receipt in assigned)
    position = {prefix: number for number, prefix in enumerate(order)}
    by_batch = sorted(assigned, key=lambda receipt: position[batch_prefix(receipt.outbox)])
    return [
        [receipt.size for receipt in group]
        for _, group in groupby(by_batch, key=lambda receipt: batch_prefix(receipt.outbox))
    ]


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
    requests = {
        request.outbox
        for _ in range(200)
        for request in route_requests(receipt.outbox for receipt in assign_batches(receipts([1, 1])))
    }
    assert len(requests) == 200
