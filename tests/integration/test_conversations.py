"""Conversations (rule 6.1): found by references, in whatever order the messages arrive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mailroom_cli.commands.forget import forget
from shared.dispatch.routing_input import Conversations, Membership, ThreadReferences
from shared.errors import ServiceUnavailable
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import State
from shared.storage.base import Records, Table
from tests.integration.routing_fixture import RoutingFixture, identity
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    fixture = RoutingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def letter(number: int, *refers: int, to: str = "sales@example.com", subject: str = "Angebot") -> bytes:
    head = f"From: a@b.example\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{number}@b.example>\r\n"
    if refers:
        head += f"In-Reply-To: <{refers[-1]}@b.example>\r\n"
        head += "References: " + " ".join(f"<{refer}@b.example>" for refer in refers) + "\r\n"
    return f"{head}\r\n{number}\r\n".encode()


def conversations(world: RoutingFixture, *messages: bytes) -> list[str]:
    """Return the conversation of each message; they arrive one after the other."""
    for data in messages:
        world.servers["support"].deliver(data)
        world.run("support")
    conversation_by_message = {}
    for path in world.paths("routed/"):
        result = world.read(path)
        conversation_by_message[result["message"]] = str(result["conversation"])
    return [conversation_by_message[identity(data)] for data in messages]


def test_6_1_a_reply_belongs_to_the_conversation_of_its_parent(world: RoutingFixture) -> None:
    first, reply, second = letter(1), letter(2, 1), letter(3, 1, 2)
    assert conversations(world, first, reply, second) == [identity(first)] * 3


def test_6_1_a_reply_that_comes_before_its_parent_is_found_too(world: RoutingFixture) -> None:
    reply, first, second = letter(2, 1), letter(1), letter(3, 1, 2)
    assert conversations(world, reply, first, second) == [identity(reply)] * 3


def test_6_1_a_gap_is_bridged_by_the_references(world: RoutingFixture) -> None:
    first, late = letter(1), letter(4, 1, 2, 3)
    assert conversations(world, first, late) == [identity(first)] * 2


def test_6_1_the_subject_is_never_used(world: RoutingFixture) -> None:
    first, other = letter(1, subject="Rechnung"), letter(2, subject="Re: Rechnung")
    assert conversations(world, first, other) == [identity(first), identity(other)]


def test_6_1_without_any_message_id_a_message_is_its_own_conversation(world: RoutingFixture) -> None:
    plain = b"From: a@b.example\r\nTo: sales@example.com\r\n\r\nhello\r\n"
    assert conversations(world, plain) == [identity(plain)]


def test_6_1_a_plus_address_reference_is_a_thread(world: RoutingFixture) -> None:
    first, other = letter(1, to="sales+offer7@example.com"), letter(2, to="sales+offer7@example.com", subject="x")
    unlike = letter(3, to="sales+offer8@example.com")
    assert conversations(world, first, other, unlike) == [identity(first), identity(first), identity(unlike)]


def register(records: Records, thread: ThreadReferences, conversation: str) -> None:
    """Create the entries of a thread that do not exist."""
    Conversations(records).register(Membership(conversation, thread.to_rows(conversation, conversation)))


def find(records: Records, thread: ThreadReferences, message: str) -> str:
    """Return a message's conversation, and leave no entry."""
    before = {record.key for record in records.scan(Table.CONVERSATIONS)}
    membership = Conversations(records).join(thread, message)
    created = {record.key for record in records.scan(Table.CONVERSATIONS)} - before
    records.delete_many(Table.CONVERSATIONS, created)
    return membership.conversation


def test_6_1_in_reply_to_comes_before_references_and_the_last_of_these_first(world: RoutingFixture) -> None:
    records = world.stores.records
    for name in ("a", "b", "c"):
        register(records, ThreadReferences(message_id=name), f"of {name}")
    assert find(records, ThreadReferences(in_reply_to=["a"], references=["b", "c"]), "own") == "of a"
    assert find(records, ThreadReferences(in_reply_to=["unknown"], references=["b", "c"]), "own") == "of c"
    assert find(records, ThreadReferences(references=["b", "unknown"]), "own") == "of b"
    assert find(records, ThreadReferences(message_id="b", tagged=["x+1@y"]), "own") == "of b"
    assert find(records, ThreadReferences(message_id="b"), "own") == "of b"
    assert find(records, ThreadReferences(message_id="d"), "own") == "own"
    assert find(records, ThreadReferences(), "own") == "own"


def test_2_4_with_only_a_thread_is_found_by_the_reference_alone(world: RoutingFixture) -> None:
    records = world.stores.records
    register(records, ThreadReferences(message_id="a"), "of a")
    tagged = ThreadReferences(message_id="b", in_reply_to=["a"], tagged=["sales+7@example.com"], by_tag_alone=True)
    assert find(records, tagged, "own") == "own"
    register(records, tagged, "own")
    assert find(records, ThreadReferences(tagged=["sales+7@example.com"], by_tag_alone=True), "another") == "own"


def test_6_1_a_conversation_is_registered_once_and_never_moved(world: RoutingFixture) -> None:
    records = world.stores.records
    register(records, ThreadReferences(message_id="a", references=["b"]), "first")
    register(records, ThreadReferences(message_id="b", references=["a"]), "second")
    assert find(records, ThreadReferences(message_id="b"), "own") == "first"
    assert {str(record.values["conversation"]) for record in records.scan(Table.CONVERSATIONS)} == {"first"}


def test_6_1_a_message_without_references_begins_its_conversation_with_one_request(world: RoutingFixture) -> None:
    operations = FaultInjector()
    records: Records = operations.around(world.stores.records, ServiceUnavailable)
    assert Conversations(records).join(ThreadReferences(message_id="a"), "first") == Membership("first", {})
    assert operations.names == ["create"]
    assert Conversations(records).join(ThreadReferences(message_id="a"), "second") == Membership("first", {})
    assert operations.names == ["create", "create", "get_many"]


def test_6_1_a_reply_creates_only_the_entries_that_are_missing(world: RoutingFixture) -> None:
    records = Conversations(world.stores.records)
    records.join(ThreadReferences(message_id="a"), "first")
    membership = records.join(ThreadReferences(message_id="b", in_reply_to=["a"]), "second")
    assert membership.conversation == "first"
    assert [values["text"] for values in membership.missing.values()] == ["b"]


@pytest.mark.parametrize("to", ["sales@example.com", "unknown@example.com"])
def test_8_5_the_erasure_of_a_dead_letter_erases_the_conversation_that_it_began(world: RoutingFixture, to: str) -> None:
    for at in range(1, 40):
        world.servers["support"].deliver(letter(at, to=to))
        faults = FaultInjector(at, FailureMode.GONE_AFTER)
        app = world.app()
        app.poller.poll(Poll("support", PollReason.MANUAL))
        [receipt] = [receipt for receipt in world.receipts() if receipt.message == identity(letter(at, to=to))]
        request = RouteRequest(receipt.outbox)
        with suppress(ProcessKilled):
            replace(app.router, storage=faults.stores(world.stores)).route(request)
        [receipt] = [item for item in world.receipts() if item.arrival == receipt.arrival]
        if receipt.state is State.ROUTED:
            app.router.route(request)
        else:
            app.router.record_error(request, ServiceUnavailable("the last attempt"))
            app.router.dead_letter(request)
        forget(app, receipt.message, really=True, progress=lambda *_: None, waiting=lambda *_: None)
        assert not list(world.stores.records.scan(Table.CONVERSATIONS)), at
        if faults.count < at:
            return
    pytest.fail("it did not come to its end")


@pytest.mark.parametrize("to", ["sales@example.com", "unknown@example.com"])
def test_8_5_an_attempt_that_died_leaves_no_conversation_of_an_erased_arrival(world: RoutingFixture, to: str) -> None:
    """The receipt of an erased arrival does not name the message: claims and records do."""
    for at in range(1, 40):
        world.servers["support"].deliver(letter(at, to=to))
        app = world.app()
        app.poller.poll(Poll("support", PollReason.MANUAL))
        [(arrival, outbox)] = [
            (receipt.arrival, receipt.outbox) for receipt in world.receipts() if receipt.state is State.STORED
        ]
        faults = FaultInjector(at, FailureMode.GONE_AFTER)
        with suppress(ProcessKilled):
            replace(app.router, storage=faults.stores(world.stores)).route(RouteRequest(outbox))
        if faults.count < at:
            return
        # As if another worker had concluded it, it was erased, and this one had died when it found that.
        world.stores.records.merge(Table.RECEIPTS, arrival, {"state": State.ERASED.value, "message": ""})
        [erased] = [receipt for receipt in world.receipts() if receipt.arrival == arrival]
        world.stores.records.delete_many(Table.OUTBOX, [outbox])
        world.stores.records.create(Table.OUTBOX, outbox, erased.to_outbox_values())
        assert app.router.route(RouteRequest(outbox)) == []
        assert not list(world.stores.records.scan(Table.OUTBOX))
        assert not list(world.stores.records.scan(Table.CONVERSATIONS)), at
    pytest.fail("it did not come to its end")


def test_6_1_hostile_references_cost_no_more_than_fifty_look_ups(world: RoutingFixture) -> None:
    register(world.stores.records, ThreadReferences(references=[str(n) for n in range(100_000)]), "first")
    assert len(list(world.stores.records.scan(Table.CONVERSATIONS))) == 50
