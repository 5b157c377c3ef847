"""Groups of changes are packed into transactions that the service accepts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shared.keys import digest
from shared.storage.base import Change, Create, Delete, Merge, Table
from shared.storage.transactions import MAX_TRANSACTION, MAX_TRANSACTION_BYTES, check_transaction, pack_transactions

SERVICE_LIMIT = 4 * 1024 * 1024


def arrival(number: int, text: str = "", partition: str = "a") -> list[Change]:
    """Return the changes that conclude an arrival."""
    key = partition + digest(str(number))[1:]
    return [Merge(Table.RECEIPTS, key, {"outcomes": text}), Delete(Table.OUTBOX, key)]


def sizes(groups: Sequence[Sequence[Change]]) -> list[int]:
    return [len(packed) for packed in pack_transactions(groups)]


def test_no_groups() -> None:
    assert list(pack_transactions([])) == []


def test_groups_are_packed_in_order_up_to_100_changes() -> None:
    groups = [arrival(number) for number in range(120)]
    packed = list(pack_transactions(groups))
    assert [len(some) for some in packed] == [50, 50, 20]
    assert [group for some in packed for group in some] == groups
    for some in packed:
        check_transaction([change for group in some for change in group])


def test_a_group_is_not_split() -> None:
    claims = [[Create(Table.CLAIMS, digest(f"{n} {m}"), {}) for m in range(40)] for n in range(5)]
    assert sizes(claims) == [2, 2, 1]


def test_groups_of_different_partitions_are_apart() -> None:
    groups = [arrival(number, partition="0123456789abcdef"[number % 16]) for number in range(64)]
    packed = list(pack_transactions(groups))
    assert [len(some) for some in packed] == [4] * 16
    assert [some[0] for some in packed] == groups[:16]
    for some in packed:
        check_transaction([change for group in some for change in group])


def test_tables_that_do_not_share_partitions_are_apart() -> None:
    key = digest("x")
    groups = [[Create(table, key, {})] for table in Table]
    assert sizes(groups) == [4, *[1] * (len(Table) - 4)], "receipts, outbox, index and tombstones"


def test_a_record_is_changed_once_in_a_transaction() -> None:
    groups = [arrival(1, "first"), arrival(2), arrival(1, "second"), arrival(3)]
    assert list(pack_transactions(groups)) == [groups[:2], groups[2:]]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("x" * 10_000, 1), ('"' * 40_000, 2), ("\u00fc" * 10_000, 6), ("\U0001fa91" * 10_000, 12), ("\0" * 10_000, 6)],
)
def test_the_json_of_a_transaction_is_limited(text: str, escaped: int) -> None:
    groups = [arrival(number, text) for number in range(400)]
    size = len(text) * escaped
    for some in pack_transactions(groups):
        assert len(some) * size <= MAX_TRANSACTION_BYTES < SERVICE_LIMIT
        assert len(some) == 50 or some[-1] is groups[-1] or (len(some) + 1.1) * size > MAX_TRANSACTION_BYTES


def test_a_group_above_a_limit_is_alone() -> None:
    large = arrival(1, "x" * (MAX_TRANSACTION_BYTES + 1))
    groups = [arrival(0), large, arrival(2), arrival(3)]
    assert list(pack_transactions(groups)) == [groups[:1], [large], groups[2:]]
    many = [Create(Table.CLAIMS, digest(str(n)), {}) for n in range(MAX_TRANSACTION + 1)]
    few = [Create(Table.CLAIMS, digest("x"), {})]
    assert list(pack_transactions([many, few])) == [[many], [few]]
