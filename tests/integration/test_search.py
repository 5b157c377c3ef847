"""Arrivals found by the properties of a message (docs/how-to/finding.md), on every storage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailroom_cli.commands.find import find_message_histories
from shared.clock import utc_now
from shared.documents.blob_paths import raw_path
from shared.errors import ConfigurationError
from shared.operations.search import ArrivalQuery, find_arrivals, parse_id, parse_message_id, parse_recipient
from shared.receipts import Receipt
from tests.end_to_end.command import identity
from tests.integration.replay_fixture import BILLING, BOTH, ReplayFixture, letter

DOCS = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "finding.md"

ANN = b"From: Ann <Ann@Customer.example>, bob@customer.example\r\nTo: Sales@example.com\r\nCc: x@other.example\r\n"
ANNS = ANN + b"Date: Tue, 24 Nov 2026 09:00:00 +0000\r\nMessage-ID: <o'neill.1@customer.example>\r\n\r\ntext\r\n"


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    fixture.poll_and_route(BOTH, ANNS, letter("billing@example.com", 2), letter("nobody@example.com", 3))
    fixture.poll_and_route(BOTH, letter("billing@example.com", 2, "text"), mailbox="office")
    yield fixture
    fixture.stores.close()


def search(world: ReplayFixture, **query: Any) -> list[Receipt]:
    return list(find_arrivals(world.stores.records, ArrivalQuery(**query)))


def messages(world: ReplayFixture, **query: Any) -> list[str]:
    return sorted(receipt.message for receipt in search(world, **query))


def ids(*data: bytes) -> list[str]:
    return sorted(map(identity, data))


TWO, THREE = letter("billing@example.com", 2), letter("nobody@example.com", 3)


def test_a_message_is_found_by_each_property(world: ReplayFixture) -> None:
    assert messages(world, message_id="o'neill.1@customer.example") == ids(ANNS)
    assert messages(world, sender="ann@customer.example") == ids(ANNS)
    assert messages(world, sender="bob@customer.example") == ids(ANNS), "the second of two senders"
    assert messages(world, sender="sales@example.com") == []
    assert messages(world, recipient="sales@example.com") == ids(ANNS)
    assert messages(world, recipient="x@other.example") == ids(ANNS), "named in Cc, and no route is for it"
    assert messages(world, recipient="nobody@example.com") == ids(THREE), "unhandled"
    assert messages(world, recipient="billing@example.com") == ids(TWO, TWO), "the duplicate as well"
    assert messages(world, recipient="billing@example.com", mailbox="office") == ids(TWO)
    assert messages(world, sender="a@b.example", recipient="nobody@example.com") == ids(THREE)
    assert messages(world, mailbox="support") == ids(ANNS, TWO, THREE)
    assert messages(world) == ids(ANNS, TWO, TWO, THREE)


def test_a_message_is_found_by_a_prefix_of_its_id_or_its_arrivals_key(world: ReplayFixture) -> None:
    assert messages(world, id=identity(TWO)) == ids(TWO, TWO)
    assert messages(world, id=identity(TWO)[:8]) == ids(TWO, TWO)
    assert messages(world, id=identity(TWO)[:8], mailbox="support") == ids(TWO)
    [one] = search(world, id=identity(ANNS))
    assert [other.arrival for other in search(world, id=one.arrival[:8])] == [one.arrival]
    assert messages(world, id="0" * 64) == []


def test_a_message_is_found_by_the_days_on_which_it_was_stored(world: ReplayFixture) -> None:
    # The tests may have begun before midnight.
    today = utc_now().date()
    yesterday = today - timedelta(1)
    assert len(search(world, since=yesterday, until=today)) == 4
    assert search(world, since=today + timedelta(1)) == []
    assert search(world, until=yesterday - timedelta(1)) == []
    assert messages(world, until=date.max, sender="ann@customer.example") == ids(ANNS)


def test_a_recipient_missing_from_a_truncated_receipt_is_found_by_a_claim(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.dispatch.router.MAX_OUTCOME_LENGTH", 500)
    monkeypatch.setattr("shared.receipts.MAX_ADDRESSES", 3)
    world = ReplayFixture(storage)
    many = [f"{number}@list.example" for number in range(5)]
    world.poll_and_route({"ROUTES__list__ADDRESS": "*@list.example"}, letter(", ".join(many)))
    [receipt] = world.receipts()
    last = many[-1]
    assert last not in receipt.outcomes
    assert last not in receipt.to_and_cc
    assert [item.arrival for item in search(world, recipient=last)] == [receipt.arrival]
    assert search(world, recipient="5@list.example") == []
    world.stores.close()


def test_a_history_lists_all_paths(world: ReplayFixture) -> None:
    histories, more = find_message_histories(world.stores, ArrivalQuery(id=identity(ANNS)), 10)
    assert not more
    [history] = histories
    table = DOCS.read_text().partition("\n| name | what |\n| --- | --- |\n")[2].partition("\n\n")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines()]
    assert sorted(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == sorted(history)
    assert history["from"] == ["ann@customer.example", "bob@customer.example"]
    assert history["to_and_cc"] == ["sales@example.com", "x@other.example"]
    assert (history["state"], history["outcome"], history["where"]) == ("routed", "routed", "in storage")
    path = world.only_path("routed/sales/")
    assert history["raw"] == {"path": raw_path(identity(ANNS)), "exists": True}
    assert history["outcomes"] == {"sales@example.com": f"routed {path}"}
    assert history["results"] == [{"recipient": "sales@example.com", "path": path, "exists": True}]
    assert history["records"] == []
    claims = history["claims"]
    assert isinstance(claims, list)
    assert {claim["recipient"] for claim in claims} == {"*", "sales@example.com"}
    assert {claim["kind"] for claim in claims} == {"raw", "content", "message-id"}
    world.stores.blobs.delete_many([path])
    [[after]] = [find_message_histories(world.stores, ArrivalQuery(id=identity(ANNS)), 10)[0]]
    assert after["results"] == [{"recipient": "sales@example.com", "path": path, "exists": False}]


def test_a_history_lists_records_and_whether_they_are_resolved(world: ReplayFixture) -> None:
    def records() -> object:
        return find_message_histories(world.stores, ArrivalQuery(id=identity(THREE)), 10)[0][0]["records"]

    path = world.only_path("unhandled/")
    assert records() == [{"path": path, "resolved": False}]
    world.replay({**BILLING, "ROUTES__nobody__ADDRESS": "nobody@example.com"}, path)
    assert records() == [{"path": path, "resolved": True}]
    assert find_message_histories(world.stores, ArrivalQuery(), 3)[1], "there are four"
    assert not find_message_histories(world.stores, ArrivalQuery(), 4)[1]


def test_arguments_are_parsed_leniently_and_checked() -> None:
    assert parse_id(" ABCDEF01 ") == "abcdef01"
    assert parse_message_id(" <x@y> ") == parse_message_id("x@y") == "x@y"
    assert parse_recipient("Ann@B\u00fccher.example") == "ann@xn--bcher-kva.example"
    for wrong in ("abcdef0", "0" * 65, "xyzxyzxy", ""):
        with pytest.raises(ConfigurationError):
            parse_id(wrong)
    with pytest.raises(ConfigurationError):
        parse_recipient("nobody")
