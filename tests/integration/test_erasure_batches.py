"""`forget` (rule 8.5) while batches and replays are routed, and the outbox entries of what it erased."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest

from mailroom_cli.commands.forget import refusals
from shared.dispatch.outbox import OutboxEntry
from shared.dispatch.router import MessageRouter
from shared.errors import MessageMissing, WriteConflict
from shared.operations.erasure import Eraser
from shared.queue_messages import RouteRequest
from shared.receipts import State
from shared.storage.base import Change, Create, Records, Storage, Table, Values, scan_by_values
from shared.storage.transactions import MAX_TRANSACTION
from tests.end_to_end.command import identity, opened
from tests.integration.erasure_fixture import SUBJECT, TO_BOTH, dump_storage, run_forget
from tests.integration.replay_fixture import BILLING, BOTH, ReplayFixture, letter
from tests.integration.stored_arrivals import current_receipt, replay_request, route_request, store_batch
from tests.servers.one_by_one import create_one_by_one, creates_blobs
from tests.servers.pump import work_until_idle
from tests.servers.whole_table import whole_table
from tests.sizes import size

OTHER = letter("billing@example.com", 2, "another text").replace(b"a@b.example", b"ann@customer.example")
THIRD = letter("sales@example.com", 3, "a third text").replace(b"a@b.example", b"ann@customer.example")
TRACES = (identity(TO_BOTH), "@b.example", "sales@", SUBJECT)
"""Of `TO_BOTH`, as long as no other message names one of them."""


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def outbox_of(world: ReplayFixture, arrival: str) -> list[OutboxEntry]:
    entries = map(OutboxEntry.from_record, whole_table(world.stores.records, Table.OUTBOX))
    return [entry for entry in entries if entry.arrival == arrival]


def test_8_5_of_a_batch_what_waits_is_refused_and_what_was_routed_is_erased(world: ReplayFixture) -> None:
    app = world.app(BOTH)
    request, (first, second) = store_batch(world, app, TO_BOTH, OTHER)
    for message in (TO_BOTH, OTHER):
        assert len(refusals(world.stores.records, run_forget(world, identity(message)))) == 1
    assert app.router.route(route_request(first)) == ["routed"]
    assert refusals(world.stores.records, run_forget(world, identity(TO_BOTH))) == []
    assert len(refusals(world.stores.records, run_forget(world, identity(OTHER)))) == 1
    assert outbox_of(world, first.arrival) == []
    assert len(outbox_of(world, second.arrival)) == 1
    assert app.router.route(request) == ["routed"]
    assert app.router.route(request, tried=True) == []
    states = [current_receipt(world.stores, item.arrival).state for item in (first, second)]
    assert states == [State.ERASED, State.ROUTED]
    assert identity(TO_BOTH) not in dump_storage(world.stores)


def test_8_5_a_message_of_a_batch_that_is_erased_meanwhile_is_rolled_back_alone(world: ReplayFixture) -> None:
    """Another worker routed it, and it was erased, while its batch is at any phase."""
    step = step_of(world)
    for at in count(1, step):
        app = world.app(BOTH)
        third = THIRD.replace(b"Subject: 3", f"Subject: {at}-3".encode()).replace(b"<3@", f"<{at}-3@".encode())
        other = OTHER.replace(b"Subject: 2", f"Subject: {at}-2".encode()).replace(b"<2@", f"<{at}-2@".encode())
        request, (first, *others) = store_batch(world, app, TO_BOTH, other, third)
        entry = route_request(first)

        def erase(app: Any = app, entry: RouteRequest = entry) -> None:
            if app.router.route(entry) == ["routed"]:
                run_forget(world, identity(TO_BOTH))

        operations = AtOperation(at, erase)
        replace(app.router, storage=operations.stores(world.stores)).route(request)
        for item in others:
            assert current_receipt(world.stores, item.arrival).outcome == "routed"
        if operations.count >= at:
            with suppress(MessageMissing):
                run_forget(world, identity(TO_BOTH))  # If the batch had concluded it before.
            assert identity(TO_BOTH) not in dump_storage(world.stores), at
            assert current_receipt(world.stores, first.arrival).state is State.ERASED
        assert world.outbox_size() == 0
        world.take_route_requests()
        if operations.count < at:
            break
    assert at > 15


def step_of(world: ReplayFixture) -> int:
    """Return the step between two operations at which a test intervenes. An operation on Azurite takes longer."""
    return size(12 if world.storage.startswith("Default") else 2, soak=1)


class AtOperation:
    """A storage that calls a function before one operation.

    Args:
        at: the number of the operation, from 1.
        call: the function.

    Attributes:
        count: the number of operations so far.
    """

    def __init__(self, at: int, call: Callable[[], object]) -> None:
        self._at = at
        self._call = call
        self.count = 0

    def stores(self, stores: Storage) -> Storage:
        blobs: Any = _Counting(self, stores.blobs)
        records: Any = _Counting(self, stores.records)
        return replace(stores, blobs=blobs, records=records)

    def step(self) -> None:
        self.count += 1
        if self.count == self._at:
            self._call()


class _Counting:
    def __init__(self, operations: AtOperation, inner: object) -> None:
        self._operations = operations
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if creates_blobs(self._inner, name):
            return partial(create_one_by_one, self.create)

        def operation(*args: Any, **kwargs: Any) -> Any:
            self._operations.step()
            return value(*args, **kwargs)

        return operation


@pytest.mark.parametrize("is_reissue", [False, True], ids=["replay", "reissue"])
def test_8_5_an_erasure_during_any_operation_of_a_replay_leaves_no_trace_and_no_outbox_entry(
    world: ReplayFixture, *, is_reissue: bool
) -> None:
    """The message was selected before the replay was requested: an arrival in the outbox is refused."""
    step = step_of(world)
    outcomes: Counter[str] = Counter()
    for at in count(1, step):
        world.poll_and_route(BILLING, TO_BOTH)
        [receipt] = [item for item in world.receipts() if item.state is State.ROUTED]
        eraser = Eraser(world.stores, world.servers)
        chosen = eraser.find_by_id(receipt.arrival)
        [record] = receipt.results().values()
        request = replay_request(world.stores, receipt, record, "request-1" if is_reissue else "")
        assert len(refusals(world.stores.records, run_forget(world, receipt.arrival))) == 1

        def erase(eraser: Eraser = eraser, chosen: Any = chosen) -> None:
            try:
                eraser.erase(chosen)
                outcomes["erased"] += 1
            except WriteConflict:
                outcomes["refused"] += 1

        app = world.app(BOTH)
        operations = AtOperation(at, erase)
        with suppress(MessageMissing):  # Erased between its receipt and its bytes: that counts as a try.
            replace(app.router, storage=operations.stores(world.stores)).route(request)
        assert app.router.route(request, tried=True) == [], "delivered again"
        assert outbox_of(world, receipt.arrival) == []
        now = current_receipt(world.stores, receipt.arrival)
        if now.state is State.ERASED:
            assert not [gone for gone in TRACES if gone in dump_storage(world.stores)], at
        else:
            assert len(now.results()) == (1 if is_reissue else 2)
            assert refusals(world.stores.records, run_forget(world, identity(TO_BOTH))) == []
        assert list(world.stores.blobs.list()) == []
        if operations.count < at:
            break
    assert outcomes["erased"] > 1
    assert at > 10


def test_8_5_a_replay_requested_while_its_message_is_erased_is_not_left_in_the_outbox(world: ReplayFixture) -> None:
    """The entry names the message in its path. The route request rolls back, then deletes it."""
    world.poll_and_route(BILLING, TO_BOTH)
    [receipt] = world.receipts()
    chosen = Eraser(world.stores, world.servers).find_by_id(identity(TO_BOTH))
    world.request_replay(BOTH, world.only_path("routed/"), reissue=True)
    Eraser(world.stores, world.servers).erase(chosen)
    assert len(outbox_of(world, receipt.arrival)) == 1
    work_until_idle(world.app(BOTH))
    assert outbox_of(world, receipt.arrival) == []
    assert not [gone for gone in TRACES if gone in dump_storage(world.stores)]
    assert list(world.stores.blobs.list()) == []


def test_8_5_a_rollback_that_dies_at_any_operation_is_continued_from_the_outbox(world: ReplayFixture) -> None:
    """Another worker concluded the arrival and deleted its entry: without one, no try would follow."""
    step = step_of(world)
    rolled_back = 0
    for at in count(1, step):
        app = world.app(BOTH)
        request, (first,) = store_batch(world, app, TO_BOTH)

        def decided_then_erased(data: Any, app: Any = app, request: RouteRequest = request) -> Any:
            message = app.router.parse(data)
            app.router.route(request)
            run_forget(world, identity(TO_BOTH))
            return message

        def die() -> None:
            raise KeyboardInterrupt

        operations = AtOperation(at, die)
        late = MessageRouter(operations.stores(world.stores), app.router.route_table_for, decided_then_erased)
        with suppress(KeyboardInterrupt):
            late.route(request)
        in_outbox = len(outbox_of(world, first.arrival))
        assert in_outbox <= 1
        rolled_back += in_outbox and current_receipt(world.stores, first.arrival).state is State.ERASED
        # An entry that was published again after an hour, or its request that came back.
        app.router.route(request, tried=True)
        assert outbox_of(world, first.arrival) == []
        if current_receipt(world.stores, first.arrival).state is State.ROUTED:
            run_forget(world, identity(TO_BOTH))
        if in_outbox or operations.count < at:
            assert not [gone for gone in TRACES if gone in dump_storage(world.stores)], at
        for path in list(world.stores.blobs.list()):  # A worker that died before it knew of the erasure.
            world.stores.blobs.delete_many([path])
        for table in (Table.CLAIMS, Table.CONVERSATIONS):
            world.stores.records.delete_many(table, [record.key for record in whole_table(world.stores.records, table)])
        if operations.count < at:
            break
    assert rolled_back > 1


class Hooked:
    """Records that call functions at a conclusion.

    Args:
        inner: the records.
        before_conclusion: called before the first transaction that changes a receipt.
        after_entry: called after an entry of the outbox was created.
    """

    def __init__(
        self, inner: Records, before_conclusion: Callable[[], None], after_entry: Callable[[], None] = lambda: None
    ) -> None:
        self._inner = inner
        self._before = [before_conclusion]
        self._after_entry = after_entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit(self, changes: Sequence[Change]) -> bool:
        if any(change.table is Table.RECEIPTS for change in changes) and self._before:
            self._before.pop()()
        return self._inner.commit(changes)

    def create(self, table: Table, key: str, values: Values) -> bool:
        created = self._inner.create(table, key, values)
        if table is Table.OUTBOX:
            self._after_entry()
        return created


def test_8_5_an_entry_of_a_rollback_gives_no_other_late_worker_the_right_to_conclude(world: ReplayFixture) -> None:
    """Three workers: the first concludes, and the arrival is erased; the second dies in its rollback."""
    app = world.app(BOTH)
    request, (first,) = store_batch(world, app, TO_BOTH)

    def late(records: Any) -> MessageRouter:
        return replace(app.router, storage=replace(world.stores, records=records))

    def die() -> None:
        raise KeyboardInterrupt

    def conclude_and_erase() -> None:
        assert app.router.route(request) == ["routed"]
        run_forget(world, identity(TO_BOTH))

    def second_worker() -> None:
        with pytest.raises(KeyboardInterrupt):
            late(Hooked(world.stores.records, conclude_and_erase, die)).route(request)
        assert [entry.receipt and entry.receipt.values["state"] for entry in outbox_of(world, first.arrival)] == [
            State.ERASED
        ]

    late(Hooked(world.stores.records, second_worker)).route(request)
    app.router.route(request, tried=True)
    assert current_receipt(world.stores, first.arrival).is_fully_erased
    assert outbox_of(world, first.arrival) == []
    assert not [gone for gone in TRACES if gone in dump_storage(world.stores)]
    assert list(world.stores.blobs.list()) == []


def test_8_5_all_claims_of_an_owner_are_found_among_thousands_in_one_partition(storage: str) -> None:
    """A page of a table has a thousand entities. A few owners are looked up by filters, many by one scan."""
    stores = opened(storage)
    owners = [f"{number:064x}" for number in range(6)]
    keys = [f"{number:064x}" for number in range(size(2400, soak=6000))]
    for start in range(0, len(keys), MAX_TRANSACTION):
        claims = [
            Create(Table.CLAIMS, key, {"owner": owners[int(key, 16) % 6], "kind": "raw", "message": key})
            for key in keys[start:][:MAX_TRANSACTION]
        ]
        assert stores.records.commit(claims)
    for chosen in (owners[:1], owners[:2], owners[1:]):
        found = {record.key for record in scan_by_values(stores.records, Table.CLAIMS, "owner", chosen)}
        assert found == {key for key in keys if owners[int(key, 16) % 6] in chosen}
    stores.close()
