"""Keys of arrivals and outbox entries: their partitions, and what they have in common."""

from __future__ import annotations

import pytest

from shared.keys import (
    BATCH,
    arrival_key,
    batch_prefix,
    outbox_key,
    replay_outbox_key,
    reused_arrival_key,
)
from shared.storage.base import Table, partition_of

FOLDERS = [("support", "INBOX"), ("support", "Archive"), ("office", "INBOX"), ("office", "")]


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_the_arrivals_of_a_folder_and_their_entries_are_in_one_partition(folder: tuple[str, str]) -> None:
    arrivals = [arrival_key(*folder, f"1.{uid}") for uid in range(200)]
    keys = [
        *arrivals,
        *(reused_arrival_key(arrival, 7, "") for arrival in arrivals),
        *(outbox_key("0" * BATCH, arrival) for arrival in arrivals),
        *(replay_outbox_key(arrival, "failed/x", "") for arrival in arrivals),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {64}
    assert len({partition_of(table, key) for key in keys for table in (Table.RECEIPTS, Table.OUTBOX)}) == 1


def test_folders_are_spread_over_the_partitions() -> None:
    assert len({arrival_key("support", f"Folder {number}", "1.1")[0] for number in range(200)}) == 16


def test_the_entries_of_a_batch_have_a_prefix_in_common_that_no_other_batch_has() -> None:
    arrivals = [arrival_key("support", "INBOX", f"1.{uid}") for uid in range(50)]
    first, second = ({batch_prefix(outbox_key(digit * BATCH, arrival)) for arrival in arrivals} for digit in "ab")
    assert len(first) == len(second) == 1
    assert not first & second


def test_a_reused_server_key_is_an_arrival_of_its_own_for_each_size_and_time() -> None:
    arrival = arrival_key("support", "INBOX", "uidl")
    keys = {reused_arrival_key(arrival, size, received) for size in (1, 12) for received in ("", "2026-11-23")}
    assert len(keys | {arrival}) == 5


def test_the_same_replay_has_one_entry() -> None:
    arrival = arrival_key("support", "INBOX", "1.1")
    requests = [("failed/x", ""), ("failed/y", ""), ("failed/x", "id")]
    assert len({replay_outbox_key(arrival, *request) for request in [*requests, *requests]}) == 3
