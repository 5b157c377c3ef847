"""The outbox: replays that are requested, and route requests that are published again (rule 8.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.dispatch.outbox import Replay, publish_replays, republish_overdue
from shared.keys import arrival_key, batch_prefix
from shared.queue_messages import RouteRequest
from shared.storage.base import Change, Storage, Table
from tests.integration.arrival_fixture import NOW, ArrivalFixture, changed_tables, letter, listed, store
from tests.integration.routing_fixture import InterceptedCalls

HOUR = timedelta(hours=1)


@pytest.fixture
def world(storage: str) -> Iterator[ArrivalFixture]:
    fixture = ArrivalFixture(storage)
    try:
        yield fixture
    finally:
        fixture.closing()


def stored(world: ArrivalFixture, count: int, first: int = 1) -> None:
    """Store arrivals whose route requests are lost."""
    store(world.arrivals(), [(listed(n, letter(n)), letter(n)) for n in range(first, first + count)])
    world.requests.clear()


def replays(count: int) -> list[Replay]:
    folders = ("INBOX", "Archive")
    return [
        Replay(arrival_key("support", folders[number % 2], str(number)), "support", f"unhandled/{number}")
        for number in range(count)
    ]


def noted(stores: Storage, transactions: list[list[str]], before: Any = None) -> Storage:
    """Return the storage, whose transactions are noted."""

    def note(changes: Sequence[Change]) -> None:
        transactions.append(changed_tables(changes))
        if before is not None:
            before(changes)

    records: Any = InterceptedCalls(stores.records, commit=note)
    return replace(stores, records=records)


def test_replays_are_created_in_transactions_and_have_a_request_each(world: ArrivalFixture) -> None:
    transactions: list[list[str]] = []
    requested = replays(250)
    publish_replays(noted(world.stores, transactions), requested, NOW)
    assert sorted(map(len, transactions)) == [25, 25, 100, 100], "of two folders, which are in two partitions"
    assert world.requests == [RouteRequest(replay.outbox) for replay in requested]
    entries = {entry.key: entry.values for entry in world.entries()}
    assert entries == {
        replay.outbox: {
            "mailbox": "support",
            "stored_at": NOW,
            "arrival": replay.arrival,
            "replay": replay.record,
            "reissue": "",
        }
        for replay in requested
    }
    publish_replays(world.stores, [], NOW)
    assert len(world.requests) == 250


def test_the_same_replay_requested_twice_keeps_its_entry_and_is_published_again(world: ArrivalFixture) -> None:
    publish_replays(world.stores, replays(3), NOW)
    publish_replays(world.stores, [*replays(5), *replays(5)], NOW + HOUR)
    times = {entry.values["replay"]: entry.values["stored_at"] for entry in world.entries()}
    assert times == {f"unhandled/{number}": NOW if number < 3 else NOW + HOUR for number in range(5)}
    assert [len(world.requests), len(set(world.requests))] == [8, 5]


def test_overdue_arrivals_of_a_batch_have_one_request(world: ArrivalFixture) -> None:
    stored(world, 20)
    prefixes = {batch_prefix(entry.key) for entry in world.entries()}
    transactions: list[list[str]] = []
    stores = noted(world.stores, transactions)
    assert republish_overdue(stores, HOUR, NOW + HOUR - timedelta(seconds=1)) == 0
    assert transactions == []
    assert republish_overdue(stores, HOUR, NOW + HOUR) == 20
    assert transactions == [["Merge outbox"] * 20]
    assert {request.outbox for request in world.requests} == prefixes
    assert [request.retries for request in world.requests] == [1, 1]
    assert {entry.values["published_at"] for entry in world.entries()} == {NOW + HOUR}
    assert republish_overdue(stores, HOUR, NOW + HOUR) == 0, "an entry that was published again is not overdue"
    assert republish_overdue(stores, HOUR, NOW + 2 * HOUR) == 20


def test_what_remains_of_a_batch_alone_is_named_by_its_key(world: ArrivalFixture) -> None:
    stored(world, 3)
    *concluded, left = [entry.key for entry in world.entries()]
    world.stores.records.delete_many(Table.OUTBOX, concluded)
    assert republish_overdue(world.stores, HOUR, NOW + HOUR) == 1
    assert world.requests == [RouteRequest(left, 1)]


def test_overdue_replays_are_published_again(world: ArrivalFixture) -> None:
    publish_replays(world.stores, replays(2), NOW)
    world.requests.clear()
    assert republish_overdue(world.stores, timedelta(0), NOW) == 2
    assert {request.outbox for request in world.requests} == {replay.outbox for replay in replays(2)}


@pytest.mark.parametrize("change", ["concluded", "published"])
def test_an_entry_that_changes_meanwhile_is_not_published_and_the_others_are(
    world: ArrivalFixture, change: str
) -> None:
    stored(world, 10)
    changed = world.entries()[4].key
    pending = [changed]

    def by_another_worker(_changes: Sequence[Change]) -> None:
        for key in pending:
            if change == "concluded":
                world.stores.records.delete_many(Table.OUTBOX, [key])
            else:
                world.stores.records.merge(Table.OUTBOX, key, {"published_at": NOW + HOUR})
        pending.clear()

    transactions: list[list[str]] = []
    assert republish_overdue(noted(world.stores, transactions, by_another_worker), HOUR, NOW + HOUR) == 9
    assert transactions == [["Merge outbox"] * 10, *[["Merge outbox"]] * 10]
    assert [request.retries for request in world.requests] == [1]
    assert world.stores.records.get(Table.OUTBOX, changed) is None or change == "published"
    assert len(world.entries()) == (9 if change == "concluded" else 10), "a concluded entry does not come back"


def test_two_sweeps_at_once_publish_each_entry_once(world: ArrivalFixture) -> None:
    stored(world, 5)
    numbers: list[int] = []

    def other_sweep(_changes: Sequence[Change]) -> None:
        if not numbers:
            numbers.append(republish_overdue(world.stores, HOUR, NOW + HOUR))

    assert republish_overdue(noted(world.stores, [], other_sweep), HOUR, NOW + HOUR) == 0
    assert numbers == [5]
    assert len(world.requests) == 1
