"""A receipt and its outbox entry are created in one transaction, whatever the storage holds already (rule 8.2)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.documents.blob_paths import raw_path
from shared.errors import ServiceUnavailable, WriteConflict
from shared.intake import arrival_records
from shared.intake.arrival_store import Candidate
from shared.intake.skipped import record_oversized, record_unreadable
from shared.keys import batch_prefix
from shared.mailboxes.spool import Content
from shared.observability import metric_names
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import Change, Create, Storage, Table
from shared.storage.transactions import MAX_TRANSACTION
from tests.integration.arrival_fixture import NOW, ArrivalFixture, changed_tables, letter, listed, store
from tests.integration.routing_fixture import InterceptedCalls
from tests.servers.telemetry import listen

BOTH = ["Create receipts", "Create outbox"]


@pytest.fixture
def world(storage: str) -> Iterator[ArrivalFixture]:
    fixture = ArrivalFixture(storage)
    try:
        yield fixture
        fixture.check_outbox()
        fixture.check_requests()
    finally:
        fixture.closing()


def messages(count: int, first: int = 1) -> list[Any]:
    return [(listed(number, letter(number)), letter(number)) for number in range(first, first + count)]


class NotedCommits:
    """A storage that notes the operations on its records.

    Attributes:
        stores: the storage.
        transactions: the changes of each transaction.
        reads: the table of each read.
    """

    def __init__(self, stores: Storage, **ways: Any) -> None:
        self.transactions: list[list[str]] = []
        self.reads: list[str] = []
        noted: dict[str, Any] = dict.fromkeys(("get", "get_many", "scan"), self._note_read)
        records: Any = InterceptedCalls(stores.records, **noted | {"commit": self._note} | ways)
        self.stores = replace(stores, records=records)

    def _note(self, changes: Sequence[Change]) -> None:
        # Only tables need the index.
        self.transactions.append(changed_tables([change for change in changes if change.table is not Table.INDEX]))

    def _note_read(self, table: Table, *_: object, **__: object) -> None:
        self.reads.append(table.value)


class LostReplies(InterceptedCalls):
    """Records of which each transaction is made, and its reply lost: the client sends it again, and gets a conflict."""

    def commit(self, changes: Sequence[Change]) -> bool:
        assert self._inner.commit(changes)  # type: ignore[attr-defined]  # the records of a storage
        return bool(self._inner.commit(changes))  # type: ignore[attr-defined]  # the same


def with_records(stores: Storage, records: Any) -> Storage:
    return replace(stores, records=records)


def routed(world: ArrivalFixture, receipt: Receipt) -> None:
    """Conclude an arrival, as dispatch does."""
    world.stores.records.delete_many(Table.OUTBOX, [receipt.outbox])
    world.stores.records.merge(Table.RECEIPTS, receipt.arrival, {"state": State.ROUTED.value})


def test_a_hundred_arrivals_need_two_transactions_no_further_reads_and_seven_requests(world: ArrivalFixture) -> None:
    noted = NotedCommits(world.stores)
    stored = store(world.arrivals(noted.stores), messages(100))
    assert noted.transactions == [BOTH * 50] * 2
    assert max(map(len, noted.transactions)) == MAX_TRANSACTION
    assert noted.reads == ["receipts"], "the look-up before the download"
    assert [candidate.listed.number for candidate in stored] == list(range(1, 101))
    assert len(world.receipts()) == len(world.entries()) == 100
    assert [request.retries for request in world.requests] == [0] * 7
    assert {len(request.outbox) for request in world.requests} == {16}
    entries = [world.entries(request.outbox) for request in world.requests]
    assert [len(batch) for batch in entries] == [16] * 6 + [4]


def test_an_arrival_alone_in_its_batch_is_named_by_its_key(world: ArrivalFixture) -> None:
    [candidate] = store(world.arrivals(), messages(1))
    assert candidate.receipt is not None
    assert world.requests == [RouteRequest(candidate.receipt.outbox)]


def test_equal_messages_without_server_keys_are_one_arrival(world: ArrivalFixture) -> None:
    data = letter(1)
    stored = store(world.arrivals(), [(listed(number, data, None), data) for number in (1, 2)])
    assert [candidate.listed.number for candidate in stored] == [1, 2], "both may be removed"
    assert len({candidate.arrival for candidate in stored}) == len(world.receipts()) == 1
    world.arrivals().mark_removed([candidate.arrival for candidate in stored])
    assert [receipt.removed for receipt in world.receipts()] == [True]


def skip(world: ArrivalFixture, kind: State, number: int) -> None:
    """Record a message as oversized or unreadable, as an earlier poll did."""
    earlier = replace(world.arrivals(), now=lambda: NOW - timedelta(days=1))
    [candidate] = earlier.look_up([listed(number, letter(number))])
    if kind is State.OVERSIZED:
        record_oversized(earlier, candidate, len(letter(number)))
    else:
        record_unreadable(earlier, candidate, "NO", {}, retried_daily=True)


@pytest.mark.parametrize("kind", [State.OVERSIZED, State.UNREADABLE])
@pytest.mark.parametrize("is_seen", [True, False], ids=["seen at the look-up", "recorded since"])
def test_a_message_that_was_skipped_before_is_stored_under_its_receipt(
    world: ArrivalFixture, kind: State, is_seen: bool
) -> None:
    if is_seen:
        skip(world, kind, 2)
    noted = NotedCommits(world.stores)
    between = (lambda: None) if is_seen else (lambda: skip(world, kind, 2))
    assert len(store(world.arrivals(noted.stores), messages(3), between)) == 3
    assert ["Merge receipts", "Create outbox"] in noted.transactions
    receipts = {receipt.server_key: receipt for receipt in world.receipts()}
    assert {receipt.state for receipt in receipts.values()} == {State.STORED}
    assert receipts["1.2"].stored_at == NOW - timedelta(days=1), "the day is the receipt's"
    assert receipts["1.2"].message
    assert [request.retries for request in world.requests] == [0]


@pytest.mark.parametrize("kind", [State.OVERSIZED, State.UNREADABLE, State.ERASED])
def test_an_existing_receipt_that_two_workers_complete_at_once_has_one_entry(
    world: ArrivalFixture, kind: State
) -> None:
    item = (listed(1, letter(1), None if kind is State.ERASED else ""), letter(1))
    if kind is State.ERASED:
        store(world.arrivals(), [item])
        erase(world)
    else:
        skip(world, kind, 1)
    others: list[Candidate] = []

    def other_worker(changes: Sequence[Change]) -> None:
        if not others and not isinstance(changes[0], Create):
            others.extend(store(world.arrivals(), [item]))

    noted = NotedCommits(world.stores, commit=other_worker)
    stored = store(world.arrivals(noted.stores), [item])
    assert [candidate.receipt.outbox for candidate in [*stored, *others] if candidate.receipt is not None] == [
        entry.key for entry in world.entries() * 2
    ]
    assert len(others) == len(world.entries()) == 1
    assert [request.retries for request in world.requests] == [0, 1]


def erase(world: ArrivalFixture) -> None:
    """Erase every arrival, as `forget` does."""
    for record in world.stores.records.scan(Table.RECEIPTS):
        receipt = Receipt.from_record(record)
        routed(world, receipt)
        values = replace(receipt, state=State.ERASED, message="").to_values()
        latest = world.stores.records.get(Table.RECEIPTS, record.key)
        assert latest is not None
        world.stores.records.replace(Table.RECEIPTS, record.key, values, etag=latest.etag)
    world.requests.clear()


def test_an_erased_message_that_only_its_bytes_identify_is_stored_again(world: ArrivalFixture) -> None:
    messages = [(listed(number, letter(number), None), letter(number)) for number in (1, 2)]
    store(world.arrivals(), messages)
    erase(world)
    noted = NotedCommits(world.stores)
    assert len(store(world.arrivals(noted.stores), [*messages, (listed(3, letter(3), None), letter(3))])) == 3
    assert noted.transactions[1:] == [["Replace receipts", "Create outbox"]] * 2 + [BOTH]
    assert [receipt.state for receipt in world.receipts()] == [State.STORED] * 3
    assert [request.retries for request in world.requests] == [0]


def test_an_erased_message_with_a_server_key_stays_erased(world: ArrivalFixture) -> None:
    store(world.arrivals(), messages(2))
    erase(world)
    assert len(store(world.arrivals(), messages(2))) == 2, "it may be removed"
    assert [receipt.state for receipt in world.receipts()] == [State.ERASED] * 2
    assert world.requests == []


@pytest.mark.parametrize("has_keys", [True, False])
def test_what_another_worker_stored_meanwhile_is_published_and_not_stored_twice(
    world: ArrivalFixture, has_keys: bool
) -> None:
    items = [(listed(n, letter(n), "" if has_keys else None), letter(n)) for n in range(1, 41)]
    store(world.arrivals(), items[:20])
    entries = {entry.key for entry in world.entries()}
    for receipt in world.receipts()[:3]:
        routed(world, receipt)
    world.requests.clear()

    def nothing(_records: object, _keys: object) -> Mapping[str, Receipt]:
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.intake.arrival_store.look_up_receipts", nothing)  # It was stored after the look-up.
        stored = store(world.arrivals(), items)
    assert len(stored) == 40
    assert len(world.receipts()) == 40
    assert len({entry.key for entry in world.entries()} & entries) == 17
    assert {request.retries for request in world.requests} == {0, 1}
    again = {request.outbox for request in world.requests if request.retries}
    assert again <= {batch_prefix(key) for key in entries} | entries
    assert all(
        candidate.receipt == receipt
        for candidate in stored
        for receipt in world.receipts()
        if receipt.arrival == candidate.arrival
    )


@pytest.mark.parametrize("count", [1, 70])
def test_a_transaction_whose_reply_was_lost_is_recognized(world: ArrivalFixture, count: int) -> None:
    heard = listen()

    def collected() -> float:
        points = (point for point in heard.points() if point.name == metric_names.COLLECTED)
        return sum(point.value for point in points if point.attributes == {"mailbox": "support"})

    before = collected()
    stored = store(world.arrivals(with_records(world.stores, LostReplies(world.stores.records))), messages(count))
    assert len(stored) == len(world.receipts()) == count
    assert {request.retries for request in world.requests} == {0}, "no other worker published them"
    assert collected() - before == count


def test_a_server_key_reused_since_the_look_up_loses_no_message(world: ArrivalFixture) -> None:
    old, new = letter(1), letter(2, 500)
    between_store = world.arrivals()

    def stores_the_old() -> None:
        store(between_store, [(listed(1, old, "uidl"), old)])

    [candidate] = store(world.arrivals(), [(listed(1, new, "uidl"), new)], stores_the_old)
    assert candidate.receipt is not None
    assert candidate.receipt.size == 500
    assert world.stores.blobs.exists(raw_path(candidate.receipt.message))
    assert sorted(receipt.size for receipt in world.receipts()) == [len(old), 500]
    assert store(world.arrivals(), [(listed(1, new, "uidl"), new)])[0].arrival == candidate.arrival


def test_an_immutable_id_is_one_message_whatever_its_size(world: ArrivalFixture) -> None:
    arrivals = world.arrivals(PROTOCOL="graph", SIGN_IN="managed-identity", HOST="", PORT="", TLS="", PASSWORD="")

    def stored_with_other_size() -> None:
        store(arrivals, [(listed(1, letter(1), "id"), letter(1))])

    store(arrivals, [(listed(1, letter(1, 50), "id"), letter(1, 50))], stored_with_other_size)
    assert len(world.receipts()) == 1


def test_a_receipt_that_changes_at_each_attempt_ends_in_a_conflict(world: ArrivalFixture) -> None:
    skip(world, State.OVERSIZED, 1)

    def change(changes: Sequence[Change]) -> None:
        world.stores.records.merge(Table.RECEIPTS, changes[0].key, {"recorded": True})

    noted = NotedCommits(world.stores, commit=change)
    with pytest.raises(WriteConflict, match=f"each of {arrival_records.MAX_ATTEMPTS} attempts"):
        store(world.arrivals(noted.stores), messages(1))
    assert world.entries() == []


def test_what_waits_is_published_again_by_batch_and_without_reading_the_outbox(world: ArrivalFixture) -> None:
    store(world.arrivals(), messages(20))
    first = [request.outbox for request in world.requests]
    for receipt in world.receipts():
        if receipt.server_key in {"1.1", "1.18", "1.19", "1.20"}:
            routed(world, receipt)
    world.requests.clear()
    noted = NotedCommits(world.stores)
    arrivals = world.arrivals(noted.stores)
    arrivals.republish(arrivals.look_up([message for message, _ in messages(20)]))
    assert noted.reads == ["receipts"]
    [alone] = [receipt.outbox for receipt in world.receipts() if receipt.server_key == "1.17"]
    assert world.requests == [RouteRequest(first[0], 1), RouteRequest(alone, 1)]
    arrivals.republish([])
    assert len(world.requests) == 2


def test_removals_are_recorded_in_transactions(world: ArrivalFixture) -> None:
    noted = NotedCommits(world.stores)
    arrivals = world.arrivals(noted.stores)
    stored = [candidate.arrival for start in (1, 101, 201) for candidate in store(arrivals, messages(100, start))]
    noted.transactions.clear()
    arrivals.mark_removed([*stored, *stored])
    assert [len(changes) for changes in noted.transactions] == [100] * 3
    assert all(receipt.removed for receipt in world.receipts())


def test_after_a_failed_transaction_a_later_call_records_all_removals(world: ArrivalFixture) -> None:
    arrivals = world.arrivals()
    stored = [candidate.arrival for start in (1, 101, 201) for candidate in store(arrivals, messages(100, start))]

    def fail(changes: Sequence[Change]) -> None:
        if changes[0].key == stored[100]:
            raise ServiceUnavailable("the storage is unavailable")

    with pytest.raises(ServiceUnavailable):
        world.arrivals(NotedCommits(world.stores, commit=fail).stores).mark_removed(stored)
    assert not all(receipt.removed for receipt in world.receipts())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mark-")]
    arrivals.mark_removed(stored)
    assert all(receipt.removed for receipt in world.receipts())


def test_a_large_message_is_routed_alone(world: ArrivalFixture) -> None:
    sizes = {1: 10, 2: 4 * 1024 * 1024 + 1, 3: 10}
    store(world.arrivals(), [(listed(n, letter(n, size)), letter(n, size)) for n, size in sizes.items()])
    by_key = {receipt.server_key: receipt for receipt in world.receipts()}
    batch = batch_prefix(by_key["1.1"].outbox)
    assert world.requests == [RouteRequest(batch), RouteRequest(by_key["1.2"].outbox)]
    assert by_key["1.3"].outbox.startswith(batch)


def test_contents_are_stored_before_the_receipts_that_name_them(world: ArrivalFixture) -> None:
    def must_exist(changes: Sequence[Change]) -> None:
        for change in changes:
            if change.table is Table.RECEIPTS:
                assert world.stores.blobs.exists(raw_path(Content.from_bytes(letter(1)).sha256))

    noted = NotedCommits(world.stores, commit=must_exist)
    assert len(store(world.arrivals(noted.stores), messages(1))) == 1
