"""The repetition of an erasure two hours later (rule 8.5): what it finds, what it leaves, and what interrupts it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from shared.clock import utc_now
from shared.documents.blob_paths import raw_path
from shared.errors import ServiceUnavailable, WriteConflict
from shared.lease import RenewingLease
from shared.operations.erasure import Eraser
from shared.receipts import State
from shared.storage.base import Change, Table
from tests.end_to_end.command import identity
from tests.integration.dead_workers import (
    BYSTANDER,
    REPLY,
    DyingWorker,
    footer_copy,
    letter,
    routed_and_erased,
    snapshot,
    step_of,
    sweep_later,
)
from tests.integration.erasure_fixture import run_forget
from tests.integration.replay_fixture import BOTH, ReplayFixture
from tests.integration.routing_fixture import InterceptedCalls
from tests.integration.stored_arrivals import current_receipt, store_batch
from tests.servers.faults import ProcessKilled
from tests.servers.whole_table import whole_table


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def test_8_5_a_message_that_arrived_again_stays_when_the_erasure_is_repeated(world: ReplayFixture) -> None:
    """In the same mailbox under another key, and in another one."""
    message = letter(1)
    routed_and_erased(world, message)
    world.poll_and_route(BOTH, message)
    world.poll_and_route(BOTH, message, mailbox="office")
    before = snapshot(world.stores)
    sweep_later(world)
    tombstones = [name for name in before if name.startswith(Table.TOMBSTONES)]
    assert tombstones
    assert snapshot(world.stores) == {name: value for name, value in before.items() if name not in tombstones}
    assert sum(world.results().values()) == 2


def test_8_5_a_message_that_arrived_again_under_its_own_key_stays(world: ReplayFixture) -> None:
    """On a server without keys, its arrival is the erased one."""
    message = letter(1)
    world.servers["support"].has_keys = False
    world.poll_and_route(BOTH, message)
    run_forget(world, identity(message))
    world.poll_and_route(BOTH, message)
    assert [receipt.state for receipt in world.receipts()] == [State.ROUTED]
    before = snapshot(world.stores)
    sweep_later(world)
    assert {name for name in before if name not in snapshot(world.stores)} == {
        name for name in before if name.startswith(Table.TOMBSTONES)
    }
    assert sum(world.results().values()) == 2
    run_forget(world, identity(message))
    assert len(whole_table(world.stores.records, Table.TOMBSTONES)) == 1, "of the second erasure"
    sweep_later(world)
    assert snapshot(world.stores) == {}


def test_8_5_a_message_that_arrives_again_during_the_repetition_stays(world: ReplayFixture) -> None:
    """On a server without keys, between the scan and the leases. A result of the dead worker is found."""
    message = letter(1)
    world.servers["support"].has_keys = False
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    run_forget(world, identity(message))
    leave(world, before, "routed/")
    calls: list[str] = []

    def arrives(*_arguments: object, **_named: object) -> None:
        if not calls:
            calls.append("arrives")
            world.poll_and_route(BOTH, message)

    leases: Any = InterceptedCalls(world.stores.leases, acquire=arrives)
    later = utc_now() + timedelta(hours=3)
    eraser = Eraser(replace(world.stores, leases=leases), world.servers, now=lambda: later)
    assert eraser.repeat() == 0
    assert calls
    assert sum(world.results().values()) == 2
    assert world.stores.blobs.read(raw_path(identity(message))) == message
    sweep_later(world, hours=6)
    assert sum(world.results().values()) == 2
    assert whole_table(world.stores.records, Table.TOMBSTONES) == []


def test_8_5_a_reply_keeps_its_conversation_when_the_erasure_is_repeated(world: ReplayFixture) -> None:
    """It refers to the erased message, and so created the entry of that message's Message-ID."""
    routed_and_erased(world, letter(1, more=REPLY))
    world.poll_and_route(BOTH, BYSTANDER)
    more = "In-Reply-To: <1@gone.example>\r\nReferences: <0@stays.example> <1@gone.example>\r\n"
    world.poll_and_route(BOTH, letter(2, sender="ann@stays.example", more=more))
    before = list(world.stores.records.scan(Table.CONVERSATIONS))
    assert len(before) == 3
    sweep_later(world)
    assert list(world.stores.records.scan(Table.CONVERSATIONS)) == before


def test_8_5_a_dead_worker_that_joined_a_later_conversation_leaves_no_message_id(world: ReplayFixture) -> None:
    """The parent arrives after the erasure, so that the dead worker's conversation is not the one that was erased."""
    app = world.app(BOTH)
    request, (receipt,) = store_batch(world, app, letter(1, more=REPLY))

    def meanwhile(table: Table, *_arguments: object, **_named: object) -> None:
        if table is Table.CONVERSATIONS and not outcome:
            outcome.extend(app.router.route(request))
            run_forget(world, receipt.arrival)
            world.poll_and_route(BOTH, BYSTANDER)

    def die(_changes: object) -> None:
        if outcome:
            raise ProcessKilled

    outcome: list[str] = []
    records: Any = InterceptedCalls(world.stores.records, get_many=meanwhile, commit=die)
    with suppress(ProcessKilled):
        replace(app.router, storage=replace(world.stores, records=records), executor=None).route(request)
    texts = {record.values["text"]: record.values for record in world.stores.records.scan(Table.CONVERSATIONS)}
    assert texts["1@gone.example"]["conversation"] == identity(BYSTANDER)
    sweep_later(world)
    assert {record.values["text"] for record in world.stores.records.scan(Table.CONVERSATIONS)} == {"0@stays.example"}


def test_8_5_an_erased_copy_leaves_the_conversation_of_the_original(world: ReplayFixture) -> None:
    """Both have the same Message-ID, whose entry the original created."""
    world.poll_and_route(BOTH, BYSTANDER)
    before = list(world.stores.records.scan(Table.CONVERSATIONS))
    routed_and_erased(world, footer_copy(1))
    assert list(world.stores.records.scan(Table.CONVERSATIONS)) == before


def test_8_5_a_tombstone_holds_ids_alone_and_is_deleted_after_two_hours(world: ReplayFixture) -> None:
    message = letter(1)
    receipt = routed_and_erased(world, message)
    [tombstone] = whole_table(world.stores.records, Table.TOMBSTONES)
    assert tombstone.key == receipt.arrival
    assert not [text for text in ("@", ".example", "Subject") if text in str(tombstone.values)]
    assert set(tombstone.values) - set(receipt.to_values()) <= {"conversation", "entry", "repeat_at"}
    assert world.outbox_size() == 0
    sweep_later(world, hours=1.9)
    assert whole_table(world.stores.records, Table.TOMBSTONES) == [tombstone]
    sweep_later(world, hours=2.1)
    assert whole_table(world.stores.records, Table.TOMBSTONES) == []
    assert current_receipt(world.stores, receipt.arrival).is_fully_erased


def test_8_5_a_repetition_without_anything_to_erase_needs_no_lease(world: ReplayFixture) -> None:
    routed_and_erased(world, letter(1))
    lease = RenewingLease.acquire(world.stores.leases, "support")
    assert lease is not None
    later = utc_now() + timedelta(hours=3)
    with lease:
        assert Eraser(world.stores, world.servers, lease_timeout=0.5, now=lambda: later).repeat() == 1
    assert whole_table(world.stores.records, Table.TOMBSTONES) == []


def test_8_5_two_sweeps_at_once_repeat_each_erasure_once(world: ReplayFixture) -> None:
    for number in range(1, 4):
        routed_and_erased(world, letter(number))
    later = utc_now() + timedelta(hours=3)
    counts: list[int] = []

    def other(_changes: object) -> None:
        if not counts:
            counts.append(0)
            counts[0] = Eraser(world.stores, world.servers, now=lambda: later).repeat()

    records: Any = InterceptedCalls(world.stores.records, commit=other)
    assert Eraser(replace(world.stores, records=records), world.servers, now=lambda: later).repeat() == 0
    assert counts == [3]
    assert whole_table(world.stores.records, Table.TOMBSTONES) == []


def test_8_5_an_erasure_during_the_repetition_keeps_its_tombstone(world: ReplayFixture) -> None:
    """On a server without keys, the arrival is routed and erased again while its first erasure is repeated."""
    message = letter(1)
    world.servers["support"].has_keys = False
    world.poll_and_route(BOTH, message)
    run_forget(world, identity(message))
    later = utc_now() + timedelta(hours=3)
    calls: list[str] = []

    def erased_again(prefix: str = "") -> None:
        if not calls:
            calls.append(prefix)
            world.poll_and_route(BOTH, message)
            run_forget(world, identity(message))

    blobs: Any = InterceptedCalls(world.stores.blobs, list=erased_again)
    Eraser(replace(world.stores, blobs=blobs), world.servers, now=lambda: later).repeat()
    assert calls
    assert len(whole_table(world.stores.records, Table.TOMBSTONES)) == 1


def test_8_5_a_repetition_that_dies_at_any_operation_is_repeated(world: ReplayFixture) -> None:
    later = utc_now() + timedelta(hours=3)
    for at in count(1, step_of(world)):
        message = letter(at)
        world.poll_and_route(BOTH, message)
        before = snapshot(world.stores)
        run_forget(world, identity(message))
        leave(world, before, "messages/", "routed/")
        operations = DyingWorker(0, lambda: None, at)
        with suppress(ProcessKilled):
            Eraser(operations.stores(world.stores), world.servers, now=lambda: later).repeat()
        sweep_later(world, hours=6)
        assert snapshot(world.stores) == {}, at
        if operations.count < at:
            break
    assert at > 10


def test_8_5_an_erasure_that_dies_at_any_operation_still_leaves_a_tombstone(world: ReplayFixture) -> None:
    old: set[str] = set()
    for at in count(1, 2 * step_of(world)):
        messages = letter(2 * at), letter(2 * at + 1)
        world.poll_and_route(BOTH, *messages)
        before = snapshot(world.stores)
        operations = DyingWorker(0, lambda: None, at)
        with suppress(ProcessKilled):
            run_forget(world, "eve@gone.example", stores=operations.stores(world.stores))
        for receipt in world.receipts():
            if receipt.is_fully_erased:
                assert world.stores.records.get(Table.TOMBSTONES, receipt.arrival) is not None or receipt.arrival in old
        run_forget(world, "eve@gone.example")
        leave(world, before, "messages/", "routed/")
        sweep_later(world)
        assert snapshot(world.stores) == {}, at
        old = {receipt.arrival for receipt in world.receipts()}
        if operations.count < at:
            break
    assert at > 10


def leave(world: ReplayFixture, content: Mapping[str, object], *prefixes: str) -> None:
    """Create the blobs of an erased message again, as a late worker does."""
    for path, data in content.items():
        if isinstance(data, bytes) and path.startswith(prefixes):
            assert world.stores.blobs.create(path, data, content_type="application/json")


def test_8_5_a_result_of_an_erased_arrival_does_not_take_the_place_of_a_new_one(world: ReplayFixture) -> None:
    """The message arrives again on the same day. The late worker wrote its result first, at the same path."""
    message = letter(1)
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    run_forget(world, identity(message))
    leave(world, before, "routed/")
    world.poll_and_route(BOTH, message, mailbox="office")
    sweep_later(world)
    [receipt] = [item for item in world.receipts() if item.state is State.ROUTED]
    assert len(receipt.results()) == 2
    assert {world.read(path)["arrival"]["id"] for path in receipt.results().values()} == {receipt.arrival}


def test_8_5_a_late_worker_keeps_the_result_of_a_new_arrival(world: ReplayFixture) -> None:
    """The message arrived again on the same day, and has its result when the late worker would write its own."""
    message = letter(1)
    app = world.app(BOTH)
    request, (receipt,) = store_batch(world, app, message)

    def meanwhile(path: str, *_arguments: object, **_named: object) -> None:
        if path.startswith("routed/") and not outcome:
            outcome.extend(app.router.route(request))
            run_forget(world, receipt.arrival)
            world.poll_and_route(BOTH, message, mailbox="office")

    outcome: list[str] = []
    blobs: Any = InterceptedCalls(world.stores.blobs, create=meanwhile)
    replace(app.router, storage=replace(world.stores, blobs=blobs), executor=None).route(request)
    assert outcome
    assert sum(world.results().values()) == 2
    sweep_later(world)
    [again] = [item for item in world.receipts() if item.state is State.ROUTED]
    assert {world.read(path)["arrival"]["id"] for path in again.results().values()} == {again.arrival}


def test_8_5_bytes_of_a_message_that_arrives_again_during_the_repetition_stay(world: ReplayFixture) -> None:
    """In another mailbox, between the scan and the leases."""
    message = letter(1)
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    run_forget(world, identity(message))
    leave(world, before, "messages/")
    calls: list[str] = []

    def arrives(*_arguments: object, **_named: object) -> None:
        if not calls:
            calls.append("arrives")
            world.poll_and_route(BOTH, message, mailbox="office")

    leases: Any = InterceptedCalls(world.stores.leases, acquire=arrives)
    later = utc_now() + timedelta(hours=3)
    assert Eraser(replace(world.stores, leases=leases), world.servers, now=lambda: later).repeat() == 1
    assert calls
    assert {path for path in before if path.startswith("messages/")} <= set(world.paths("messages/"))
    assert sum(world.results().values()) == 2


def test_8_5_a_repetition_waits_for_the_mailboxes_and_is_repeated(world: ReplayFixture) -> None:
    message = letter(1)
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    run_forget(world, identity(message))
    leave(world, before, "messages/")
    later = utc_now() + timedelta(hours=3)
    lease = RenewingLease.acquire(world.stores.leases, "office")
    assert lease is not None
    with lease, pytest.raises(ServiceUnavailable, match="office is being drained"):
        Eraser(world.stores, world.servers, lease_timeout=0.5, now=lambda: later).repeat()
    assert world.paths("messages/")
    assert len(whole_table(world.stores.records, Table.TOMBSTONES)) == 1
    sweep_later(world, hours=6)
    assert snapshot(world.stores) == {}


@pytest.mark.parametrize("stalls_at", ["get_many", "create_many"], ids=["begins its own", "joined it before"])
def test_8_5_a_dead_worker_leaves_nothing_of_a_conversation_that_has_ended(
    world: ReplayFixture, stalls_at: str
) -> None:
    """Its first message was erased long ago, and its second one now."""
    second = letter(2, more=REPLY)
    world.poll_and_route(BOTH, BYSTANDER, second)
    run_forget(world, identity(BYSTANDER))
    sweep_later(world)
    more = "References: <2@gone.example> <7@stays.example>\r\n"
    app = world.app(BOTH)
    request, (receipt,) = store_batch(world, app, letter(1, more=more))

    def meanwhile(table: Table, *_arguments: object, **_named: object) -> None:
        if table is Table.CONVERSATIONS and not outcome:
            outcome.extend(app.router.route(request))
            run_forget(world, receipt.arrival)
            run_forget(world, identity(second))
            assert list(world.stores.records.scan(Table.CONVERSATIONS)) == []

    def die(_changes: object) -> None:
        if outcome:
            raise ProcessKilled

    outcome: list[str] = []
    hooks: dict[str, Any] = {stalls_at: meanwhile, "commit": die}
    records: Any = InterceptedCalls(world.stores.records, **hooks)
    with suppress(ProcessKilled):
        replace(app.router, storage=replace(world.stores, records=records), executor=None).route(request)
    assert len(list(world.stores.records.scan(Table.CONVERSATIONS))) == (3 if stalls_at == "get_many" else 2)
    sweep_later(world)
    assert snapshot(world.stores) == {}


def test_8_5_a_receipt_that_changes_while_it_is_made_bare_is_erased_by_the_next_request(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, letter(1))
    [receipt] = world.receipts()

    def changed(changes: Sequence[Change]) -> None:
        if any(change.table is Table.TOMBSTONES for change in changes):
            world.stores.records.merge(Table.RECEIPTS, receipt.arrival, {"removed": True})

    records: Any = InterceptedCalls(world.stores.records, commit=changed)
    with pytest.raises(WriteConflict, match="run the command again"):
        run_forget(world, receipt.arrival, stores=replace(world.stores, records=records))
    assert whole_table(world.stores.records, Table.TOMBSTONES) == []
    run_forget(world, receipt.arrival)
    assert current_receipt(world.stores, receipt.arrival).is_fully_erased
    assert len(whole_table(world.stores.records, Table.TOMBSTONES)) == 1


def test_8_5_two_erasures_at_once_leave_a_tombstone_that_names_the_message(world: ReplayFixture) -> None:
    """The first one ends while the second one waits for the mailboxes."""
    message = letter(1)
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    chosen = Eraser(world.stores, world.servers).find_by_id(identity(message))
    calls: list[str] = []

    def other(*_arguments: object, **_named: object) -> None:
        if not calls:
            calls.append("erases")
            Eraser(world.stores, world.servers).erase(chosen)

    leases: Any = InterceptedCalls(world.stores.leases, acquire=other)
    Eraser(replace(world.stores, leases=leases), world.servers).erase(chosen)
    assert calls
    leave(world, before, "messages/", "routed/")
    sweep_later(world)
    assert snapshot(world.stores) == {}
