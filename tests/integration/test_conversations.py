"""Conversations (rule 6.1): found by references, in whatever order the messages arrive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.dispatch.routing_input import Conversations, ThreadReferences
from shared.storage.base import Table
from tests.integration.routing_fixture import RoutingFixture, identity


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


def test_6_1_in_reply_to_comes_before_references_and_the_last_of_these_first(world: RoutingFixture) -> None:
    records = Conversations(world.stores.records)
    for name in ("a", "b", "c"):
        records.register(ThreadReferences(message_id=name), f"of {name}")
    assert records.find(ThreadReferences(in_reply_to=["a"], references=["b", "c"]), "own") == "of a"
    assert records.find(ThreadReferences(in_reply_to=["unknown"], references=["b", "c"]), "own") == "of c"
    assert records.find(ThreadReferences(references=["b", "unknown"]), "own") == "of b"
    assert records.find(ThreadReferences(message_id="b", tagged=["x+1@y"]), "own") == "of b"
    assert records.find(ThreadReferences(), "own") == "own"


def test_2_4_with_only_a_thread_is_found_by_the_reference_alone(world: RoutingFixture) -> None:
    records = Conversations(world.stores.records)
    records.register(ThreadReferences(message_id="a"), "of a")
    tagged = ThreadReferences(message_id="b", in_reply_to=["a"], tagged=["sales+7@example.com"], by_tag_alone=True)
    assert records.find(tagged, "own") == "own"
    records.register(tagged, "own")
    assert records.find(ThreadReferences(tagged=["sales+7@example.com"], by_tag_alone=True), "another") == "own"


def test_6_1_a_conversation_is_registered_once_and_never_moved(world: RoutingFixture) -> None:
    records = Conversations(world.stores.records)
    records.register(ThreadReferences(message_id="a", references=["b"]), "first")
    records.register(ThreadReferences(message_id="b", references=["a"]), "second")
    assert records.find(ThreadReferences(message_id="b"), "own") == "first"
    assert {str(record.values["conversation"]) for record in world.stores.records.scan(Table.CONVERSATIONS)} == {
        "first"
    }


def test_6_1_hostile_references_cost_no_more_than_fifty_look_ups(world: RoutingFixture) -> None:
    records = Conversations(world.stores.records)
    records.register(ThreadReferences(references=[str(n) for n in range(100_000)]), "first")
    assert len(list(world.stores.records.scan(Table.CONVERSATIONS))) == 50
