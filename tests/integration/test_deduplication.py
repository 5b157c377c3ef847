"""Which arrival has a result and which is a duplicate (docs/explanation/receipts.md, "Dispatch"; rule 3.8)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.documents.blob_paths import parsed_path, raw_path
from tests.integration.routing_fixture import WILDCARDS, RoutingFixture, identity, letter


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    fixture = RoutingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def test_the_same_bytes_in_two_mailboxes_with_different_routes_have_two_results(world: RoutingFixture) -> None:
    data = letter("support@example.com, office@example.com")
    for server in world.servers.values():
        server.deliver(data)
    world.run("support", "office")
    assert world.results() == [("office", "office@example.com"), ("support", "support@example.com")]
    assert world.paths("duplicates/") == []
    assert world.paths("messages/") == sorted([raw_path(identity(data)), parsed_path(identity(data))])


def test_3_8_the_same_bytes_under_one_route_have_one_result_and_a_record_that_names_it(world: RoutingFixture) -> None:
    data = letter("sales@example.com")
    world.servers["support"].deliver(data)
    world.run("support")
    world.servers["office"].deliver(data)
    world.run("office")
    assert world.results() == [("sales", "sales@example.com")]
    [result] = world.paths("routed/")
    [path] = world.paths("duplicates/")
    first, second = sorted(world.receipts(), key=lambda item: item.mailbox != "support")
    assert path == f"duplicates/office/2026/11/23/{identity(data)}-{second.arrival[:12]}.json"
    [entry] = world.read(path)["duplicates"]
    assert entry["recipient"] == "sales@example.com"
    assert entry["duplicate_of"] == {"arrival": first.arrival, "message": identity(data), "result": result}
    assert second.outcomes == {"sales@example.com": f"duplicate {first.arrival}"}
    assert first.outcomes == {"sales@example.com": f"routed {result}"}


def test_4_2_a_copy_that_is_new_for_one_recipient_and_not_for_the_other(world: RoutingFixture) -> None:
    data = letter("sales@example.com, office@example.com")
    world.servers["support"].deliver(data)
    world.run("support")
    world.servers["office"].deliver(data)
    world.run("office")
    assert world.results() == [("office", "office@example.com"), ("sales", "sales@example.com")]
    [path] = world.paths("duplicates/office/")
    assert [duplicate["recipient"] for duplicate in world.read(path)["duplicates"]] == ["sales@example.com"]


def test_a_named_recipients_mail_makes_a_later_wildcard_copy_a_duplicate(world: RoutingFixture) -> None:
    world.values |= WILDCARDS
    data = letter("support@example.com")
    world.servers["support"].deliver(data)
    world.run("support")
    world.servers["office"].deliver(data)
    world.run("office")
    assert world.results() == [("support", "support@example.com")]
    [path] = world.paths("duplicates/office/")
    [entry] = world.read(path)["duplicates"]
    assert entry["recipient"] == "*"
    assert entry["duplicate_of"]["result"] == world.paths("routed/")[0]


def test_wildcard_copies_in_two_mailboxes_have_one_result(world: RoutingFixture) -> None:
    world.values |= WILDCARDS
    for server in world.servers.values():
        server.deliver(letter("friends@elsewhere.example"))
    world.run("support", "office")
    [(_, recipient)] = world.results()
    assert recipient == "*"
    assert len(world.paths("duplicates/")) == 1
    assert world.paths("unhandled/") == []


def test_a_wildcard_copy_that_came_first_takes_nothing_from_a_named_recipient(world: RoutingFixture) -> None:
    world.values |= WILDCARDS
    data = letter("support@example.com")
    world.servers["office"].deliver(data)
    world.run("office")
    world.servers["support"].deliver(data)
    world.run("support")
    assert world.results() == [("any_office", "*"), ("support", "support@example.com")]


def test_4_1_a_copy_with_other_bytes_and_the_same_content_is_a_duplicate(world: RoutingFixture) -> None:
    """A server rebuilds the MIME structure, and a gateway adds a footer: docs/explanation/duplicates.md."""
    head = b"From: a@b.example\r\nTo: sales@example.com\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    first = head + b"Message-ID: <1@b.example>\r\n\r\ntext\r\n"
    with_footer = head + b"Message-ID: <1@b.example>\r\n\r\ntext\r\n-- \r\nscanned\r\n"
    renamed = head + b"Message-ID: <2@b.example>\r\nX-Seen: yes\r\n\r\ntext\r\n"
    for data in (first, with_footer, renamed):
        world.servers["support"].deliver(data)
        world.run("support")
    assert world.results() == [("sales", "sales@example.com")]
    by = {world.read(path)["message"]: world.read(path)["duplicates"][0]["by"] for path in world.paths("duplicates/")}
    assert by == {identity(with_footer): "message-id", identity(renamed): "content"}


def test_4_3_one_message_id_for_all_messages_loses_none(world: RoutingFixture) -> None:
    for number in range(3):
        head = f"From: a@b.example\r\nTo: sales@example.com\r\nDate: Tue, 24 Nov 2026 09:00:0{number} +0000\r\n"
        world.servers["support"].deliver(f"{head}Message-ID: <always@b.example>\r\n\r\ntext\r\n".encode())
    world.run("support")
    assert len(world.results()) == 3
    assert world.paths("duplicates/") == []
