"""Batches of arrivals (docs/explanation/receipts.md, "Dispatch"): what they cost, copies, and conclusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count, permutations
from typing import Any

import pytest

from shared.documents.blob_paths import raw_path
from shared.keys import batch_prefix, outbox_key
from shared.mailboxes.spool import MEMORY_LIMIT
from shared.mime.parser import parse
from shared.queue_messages import RouteRequest
from shared.receipts import State
from shared.storage.base import Change, Create, Delete, Merge, Table
from tests.end_to_end.command import identity
from tests.integration.batch_fixture import (
    SIXTEEN,
    VICTIM,
    BatchFixture,
    changes_of,
    letter,
    with_commits,
)
from tests.integration.routing_fixture import InterceptedCalls
from tests.servers.faults import FaultInjector, ProcessKilled


@pytest.fixture
def world(storage: str) -> Iterator[BatchFixture]:
    fixture = BatchFixture(storage)
    yield fixture
    fixture.stores.close()


def test_a_batch_of_16_arrivals_costs_few_operations(world: BatchFixture) -> None:
    world.store(*SIXTEEN)
    operations = FaultInjector()
    app = world.app(operations.stores(world.stores))
    world.run_host(app)
    assert world.results() == Counter({("sales@example.com", identity(data)): 1 for data in SIXTEEN})
    world.assert_all_routed()
    assert Counter(operations.names) == {
        "scan": 1,
        "read": 16,  # the raw bytes of each message
        "read_version": 1,  # the stored routes
        "commit": 3,  # the claims, the conversations, and the conclusion
        "create": 2 * 16,  # message.json, and the result
        "flush": 2,
    }
    assert world.queue.bodies() == []


ONE_BODY = letter(30, "sales@example.com, support@example.com")
GROUPS: dict[str, tuple[Sequence[bytes], int, str]] = {
    "bytes": ((ONE_BODY, ONE_BODY), 1, "raw"),
    "content": ((ONE_BODY, ONE_BODY.replace(b"<30@b", b"<31@b")), 1, "content"),
    "footer": ((ONE_BODY, ONE_BODY + b"\r\nwith a footer that a gateway added\r\n"), 1, "message-id"),
    "forged": ((ONE_BODY, ONE_BODY.replace(b"text 30", b"something else")), 2, ""),
    "all": (
        (
            ONE_BODY,
            ONE_BODY.replace(b"<30@b", b"<31@b"),
            ONE_BODY,
            ONE_BODY + b"\r\nwith a footer that a gateway added\r\n",
        ),
        1,
        "",
    ),
}


@pytest.mark.parametrize("workers", [0, 8])
@pytest.mark.parametrize("group", GROUPS)
def test_4_4_copies_in_one_batch_have_one_result(world: BatchFixture, group: str, workers: int) -> None:
    copies, different, by = GROUPS[group]
    executor: Executor | None = ThreadPoolExecutor(workers) if workers else None
    for order in (copies, copies[::-1]):
        world.store(letter(40), *order, letter(41))
        world.run_host(world.app(executor=executor))
        assert world.queue.bodies() == []
        world.assert_all_routed()
        ours = [item for item in world.receipts() if "support@example.com" in item.outcomes]
        originals = {item.arrival: item.results() for item in ours if item.outcome == "routed"}
        assert len(originals) == different
        assert world.results().total() == 2 * different + 2
        records = [world.read(path) for path in world.paths("duplicates/support/")]
        assert {record["arrival"]["id"] for record in records} >= {item.arrival for item in ours} - set(originals)
        for duplicate in [entry for record in records for entry in record["duplicates"]]:
            original = duplicate["duplicate_of"]
            if duplicate["recipient"] == "support@example.com":
                assert original["result"] == originals[original["arrival"]][duplicate["recipient"]]
            assert not by or duplicate["by"] in (by, "raw")
        if order is copies:
            assert by in ("", *(entry["by"] for record in records for entry in record["duplicates"]))
        # The second order arrives in a storage where all of them are duplicates by their bytes.
    if executor is not None:
        executor.shutdown()


@pytest.mark.parametrize("position", [0, 7, 15])
def test_more_claims_than_a_transaction_holds_leave_the_others_together(world: BatchFixture, position: int) -> None:
    recipients = [f"p{number}@many.example" for number in range(40)]
    messages = [*SIXTEEN[:15]]
    messages.insert(position, letter(50, ", ".join(recipients)))
    world.store(*messages)
    claimed: list[set[str]] = []

    def note(changes: Sequence[Change]) -> None:
        claims = changes_of(changes, Table.CLAIMS)
        if claims:
            claimed.append({str(change.values["owner"]) for change in claims if isinstance(change, Create)})

    world.run_host(with_commits(world, note))
    world.assert_all_routed()
    assert world.queue.bodies() == []
    assert world.results() == Counter(
        [("sales@example.com", identity(data)) for data in SIXTEEN[:15]]
        + [(recipient, identity(messages[position])) for recipient in recipients]
    )
    assert sorted(len(owners) for owners in claimed) == [*[1] * (len(claimed) - 1), 15]


def test_a_sweep_between_read_and_conclusion_changes_nothing(world: BatchFixture) -> None:
    """It marks the entries as published, so that the conclusion of the batch finds them changed."""
    request, _ = world.store_batch(*SIXTEEN)
    swept: list[int] = []

    def read(data: Any) -> Any:
        if not swept:
            world.seconds += 7200
            swept.append(world.app().router.sweep())
        return parse(data)

    conclusions: list[int] = []

    def note(changes: Sequence[Change]) -> None:
        if changes_of(changes, Table.RECEIPTS):
            conclusions.append(len(changes_of(changes, Table.RECEIPTS)))

    app = with_commits(world, note)
    assert replace(app.router, parse=read).route(request) == ["routed"] * 16
    assert swept == [16]
    assert conclusions[0] == 16
    assert set(conclusions[1:]) == {1}, "each alone, after the common transaction found the entries changed"
    assert len(conclusions) > 16
    world.assert_all_routed()
    assert world.results() == Counter({("sales@example.com", identity(data)): 1 for data in SIXTEEN})
    [item] = world.run_host(world.app())
    assert RouteRequest.from_json(item.body) == replace(request, retries=1)
    assert world.queue.bodies() == []
    assert world.results().total() == 16


def test_an_arrival_that_another_worker_concluded_is_left_out_of_the_conclusion(world: BatchFixture) -> None:
    request, receipts = world.store_batch(*SIXTEEN)
    done: list[object] = []

    def read(data: Any) -> Any:
        if not done:
            done.append(world.app().router.route(RouteRequest(receipts[VICTIM].outbox)))
            world.stores.records.merge(Table.RECEIPTS, receipts[VICTIM].arrival, {"routed_at": receipts[0].stored_at})
        return parse(data)

    assert replace(world.app().router, parse=read).route(request) == ["routed"] * 16
    assert done == [["routed"]]
    world.assert_all_routed()
    assert world.current(receipts)[VICTIM].routed_at == receipts[0].stored_at, "the first conclusion stays"
    assert world.results().total() == 16


def test_8_4_a_conclusion_beside_a_dead_letter_that_died_resolves_its_record(world: BatchFixture) -> None:
    """The worker of the dead letter dies after its record, so that the entry is there, and marked as failed."""
    request, receipts = world.store_batch(*SIXTEEN)
    victim = RouteRequest(receipts[VICTIM].outbox)
    written: list[str] = []

    def die() -> None:
        raise ProcessKilled

    def read(data: Any) -> Any:
        if not written:
            router = world.app().router
            router.record_error(victim, ValueError("an unexpected error"))
            blobs: Any = InterceptedCalls(world.stores.blobs, flush=die)
            with pytest.raises(ProcessKilled):
                replace(router, storage=replace(world.stores, blobs=blobs)).dead_letter(victim)
            written.extend(world.paths("failed/"))
        return parse(data)

    assert replace(world.app().router, parse=read).route(request) == ["routed"] * 16
    [path] = written
    assert world.read(path)["resolved"]["outcome"] == "routed"
    assert world.app().router.dead_letter(victim) == []
    assert {receipt.state for receipt in world.receipts()} == {State.ROUTED}
    assert world.entries() == set()
    assert world.results().total() == 16


def test_an_arrival_above_the_limit_is_routed_alone(world: BatchFixture) -> None:
    """Intake gives it a batch of its own. A request that names it beside others routes it after them."""
    large = letter(60, text="x" * 70 + "\r\n") + (b"x" * 70 + b"\r\n") * (MEMORY_LIMIT // 72)
    receipts = world.store(*SIXTEEN[:3], large)
    assert len(large) > MEMORY_LIMIT
    assert batch_prefix(receipts[3].outbox) != batch_prefix(receipts[0].outbox)
    world.take_requests()
    moved = replace(receipts[3], outbox=outbox_key(receipts[0].outbox[1:16], receipts[3].arrival))
    assert world.stores.records.commit(
        [
            Delete(Table.OUTBOX, receipts[3].outbox),
            Merge(Table.RECEIPTS, moved.arrival, {"outbox": moved.outbox}),
            Create(Table.OUTBOX, moved.outbox, moved.to_outbox_values()),
        ]
    )
    order: list[str] = []

    def note(changes: Sequence[Change]) -> None:
        order.append(f"{len(changes_of(changes, Table.RECEIPTS))} concluded")

    def note_download(path: str, *_file: object) -> None:
        order.append(path)

    app = with_commits(world, note)
    blobs: Any = InterceptedCalls(world.stores.blobs, download=note_download)
    router = replace(app.router, storage=replace(app.router.storage, blobs=blobs))
    assert router.route(RouteRequest(batch_prefix(moved.outbox))) == ["routed"] * 4
    world.assert_all_routed()
    assert [step for step in order if not step.startswith("0 ")] == [
        "3 concluded",
        raw_path(moved.message),
        "1 concluded",
    ]


def test_7_4_a_batch_is_concluded_when_its_results_and_records_are_durable(world: BatchFixture) -> None:
    """Results follow the flush of all messages, and the conclusion that of all results and records."""
    world.store(*SIXTEEN[:4], SIXTEEN[0], letter(70, "nobody@unknown.example"))
    steps: list[str] = []

    def note(path: str, *_args: object, **_options: object) -> None:
        steps.append(path.partition("/")[0])

    def note_commit(changes: Sequence[Change]) -> None:
        steps.extend("concluded" for _ in changes_of(changes, Table.RECEIPTS))

    blobs: Any = InterceptedCalls(world.stores.blobs, create=note, flush=lambda: steps.append("flush"))
    app = with_commits(world, note_commit)
    app = replace(app, router=replace(app.router, storage=replace(app.router.storage, blobs=blobs)))
    world.run_host(app)
    world.assert_all_routed()
    assert steps[:10] == [*["messages"] * 5, "flush", *["routed"] * 4]
    assert sorted(steps[10:12]) == ["duplicates", "unhandled"]
    assert steps[12:] == ["flush", *["concluded"] * 6]


def test_6_1_a_thread_in_one_batch_is_one_conversation(world: BatchFixture) -> None:
    """A reply, its parent and its grandparent are in one conversation, in any order of arrival."""
    numbers = count(100)
    for order in permutations(range(3)):
        first, second, third = (next(numbers) for _ in range(3))
        reply = f"In-Reply-To: <{first}@b.example>\r\n"
        answer = f"In-Reply-To: <{second}@b.example>\r\nReferences: <{first}@b.example> <{second}@b.example>\r\n"
        thread = (letter(first), letter(second, headers=reply), letter(third, headers=answer))
        receipts = world.store(*(thread[index] for index in order))
        world.run_host(world.app())
        assert len({receipt.conversation for receipt in world.current(receipts)}) == 1, order
    world.assert_all_routed()
    assert world.app().router.sweep(timedelta(0)) == 0


@pytest.mark.parametrize("to", [("sales@example.com", "sales@example.com"), ("sales@example.com", "no@no.example")])
def test_6_1_replies_to_an_absent_message_in_one_batch_are_one_conversation(
    world: BatchFixture, to: tuple[str, str]
) -> None:
    """The second recipient has no route: its reply joins its conversation after the records."""
    for number in (100, 200):
        headers = f"In-Reply-To: <{number}@b.example>\r\n"
        replies = [letter(number + index, address, headers=headers) for index, address in enumerate(to, 1)]
        receipts = world.store(letter(number + 5), *replies, letter(number + 6), letter(number + 7, headers=headers))
        world.run_host(world.app())
        conversations = [receipt.conversation for receipt in world.current(receipts)]
        assert len({conversations[1], conversations[2], conversations[4]}) == 1
        assert conversations[1] in {receipt.message for receipt in receipts}
        assert len(set(conversations)) == 3
        later = world.store(letter(number + 8, headers=headers))
        world.run_host(world.app())
        assert world.current(later)[0].conversation == conversations[1]
    world.assert_all_routed()
