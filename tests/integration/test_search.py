"""Arrivals found by the properties of a message (docs/how-to/finding.md), on every storage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailroom_cli.commands.find import find_message_histories
from shared.clock import utc_now
from shared.documents.blob_paths import raw_path
from shared.errors import ConfigurationError, MessageMissing
from shared.operations.search import (
    OUTCOMES,
    ArrivalQuery,
    count_unparsed,
    display_id,
    find_arrivals,
    find_by_id,
    outcome_of,
    parse_day,
    parse_end,
    parse_id,
    parse_message_id,
    parse_outcome,
    parse_recipient,
    parse_time,
    shorten_ids,
)
from shared.queue_messages import Poll, PollReason
from shared.receipts import Receipt
from shared.storage.base import Table
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import run_forget
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
    [match] = search(world, id=identity(ANNS))
    assert [other.arrival for other in search(world, id=match.arrival[:8])] == [match.arrival]
    assert messages(world, id="0" * 64) == []


def test_a_message_is_found_by_the_time_at_which_it_was_stored(world: ReplayFixture) -> None:
    now = utc_now()
    assert len(search(world, since=now - timedelta(days=1), until=now)) == 4
    assert search(world, since=now) == []
    assert search(world, until=now - timedelta(days=1)) == []
    earliest = parse_time("0001-01-01", now=now, option="--since")
    assert messages(world, since=earliest, sender="ann@customer.example") == ids(ANNS)
    assert search(world, until=parse_time("999999999d", now=now, option="--until")) == []


def test_a_message_is_found_by_a_part_of_its_subject(world: ReplayFixture) -> None:
    composed = "\u00dcber  \u2029 den\tStuhl"
    mail = letter("billing@example.com", 7, "seven").replace(b"Subject: 7", b"Subject: " + composed.encode())
    world.poll_and_route(BOTH, mail)
    for subject in ("STUHL", "\u00fcber den", "u\u0308ber den stuhl", " den  stuhl "):
        assert messages(world, subject=subject) == ids(mail), subject
    assert messages(world, subject="stuhl", sender="ann@customer.example") == []
    assert messages(world, subject="den  stuhls") == []


def test_a_message_is_found_by_its_outcome(world: ReplayFixture) -> None:
    assert messages(world, outcome="routed") == ids(ANNS, TWO)
    assert messages(world, outcome="duplicate") == ids(TWO)
    assert messages(world, outcome="unhandled") == ids(THREE)
    assert messages(world, outcome="unhandled", mailbox="office") == []
    world.servers["office"].deliver(letter("sales@example.com", 9))
    world.app({**BOTH, "MAILBOXES__office__MAX_MESSAGE_BYTES": "20"}).poller.poll(Poll("office", PollReason.MANUAL))
    waiting, blocked = letter("sales@example.com", 5), letter("sales@example.com", 6)
    world.poll_and_route({**BOTH, "MAILBOXES__support__BLOCKED_SENDERS": "*@b.example"}, blocked)
    dead = world.dead_letter(BOTH, letter("sales@example.com", 8))
    world.servers["support"].deliver(waiting)
    world.app(BOTH).poller.poll(Poll("support", PollReason.MANUAL))
    run_forget(world, identity(THREE))
    assert messages(world, outcome="waiting") == ids(waiting)
    assert messages(world, outcome="blocked") == ids(blocked)
    assert messages(world, outcome="failed") == [world.read(dead)["message"]]
    assert [receipt.state for receipt in search(world, outcome="erased")] == ["erased"]
    assert [receipt.state for receipt in search(world, outcome="oversized")] == ["oversized"]
    assert messages(world, outcome="unhandled") == messages(world, outcome="unreadable") == []
    by_outcome = [receipt.arrival for outcome in OUTCOMES for receipt in search(world, outcome=outcome)]
    assert sorted(by_outcome) == sorted(receipt.arrival for receipt in world.receipts())
    assert [outcome_of(receipt) for receipt in search(world, outcome="waiting")] == ["waiting"]
    assert count_unparsed(world.stores.records, ArrivalQuery()) == 2
    assert count_unparsed(world.stores.records, ArrivalQuery(mailbox="office")) == 0


def test_ids_are_shortened_to_the_shortest_prefix_that_no_other_id_has(world: ReplayFixture) -> None:
    records = world.stores.records
    record = next(iter(records.scan(Table.RECEIPTS)))
    many = ids(ANNS, TWO, THREE)
    assert shorten_ids(records, many) == {id_: id_[:8] for id_ in many}
    other = identity(TWO)[:20] + ("0" if identity(TWO)[20] != "0" else "1") + "0" * 43
    world.create_receipt("ab" * 32, {**record.values, "message": other})
    world.create_receipt(identity(THREE)[:10] + "f" * 54, {**record.values, "message": "cd" * 32})
    for shortened in (shorten_ids(records, [*many, other]), shorten_ids(records, [*many, other, "cd" * 32])):
        assert shortened[identity(ANNS)] == identity(ANNS)[:8]
        assert shortened[identity(TWO)] == identity(TWO)[:21], "another message"
        assert shortened[other] == other[:21]
        assert len(shortened[identity(THREE)]) >= 11, "another message's arrival"
        for id_, short in shortened.items():
            assert {display_id(receipt) for receipt in find_by_id(records, short)} == {id_}
    assert {receipt.message for receipt in find_by_id(records, identity(TWO)[:21])} == {identity(TWO)}
    assert {receipt.arrival for receipt in find_by_id(records, "abababab")} == {"ab" * 32}


def test_an_ambiguous_prefix_lists_ten_candidates(world: ReplayFixture) -> None:
    record = next(iter(world.stores.records.scan(Table.RECEIPTS)))
    for number in range(12):
        arrival, message = f"{number:02}" * 32, "ef" * 31 + f"{number:02}"
        world.create_receipt(arrival, {**record.values, "message": message})
    with pytest.raises(ConfigurationError) as refused:
        find_by_id(world.stores.records, "efefefef")
    first, *candidates, last = refused.value.errors
    assert first == "efefefef is the beginning of 12 ids; give more digits:"
    assert [line.split()[0] for line in candidates] == ["ef" * 31 + f"{number:02}" for number in range(10)]
    assert last.strip() == "and 2 more"
    with pytest.raises(MessageMissing):
        find_by_id(world.stores.records, "0" * 8 + "f")


def test_a_recipient_missing_from_a_truncated_receipt_is_found_by_a_claim(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.dispatch.attempt.MAX_OUTCOME_LENGTH", 500)
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
    assert parse_outcome(" Waiting ") == "waiting"
    with pytest.raises(ConfigurationError, match="routed, duplicate, unhandled"):
        parse_outcome("lost")


def test_times_are_parsed_in_utc() -> None:
    now = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)

    def since(text: str) -> datetime:
        return parse_time(text, now=now, option="--since")

    def until(text: str) -> datetime | None:
        return parse_end(text, now=now, option="--until")

    assert since("today") == datetime(2026, 3, 1, tzinfo=UTC)
    assert since(" Yesterday ") == datetime(2026, 2, 28, tzinfo=UTC)
    assert since("7d") == datetime(2026, 2, 22, 0, 30, tzinfo=UTC)
    assert since("12h") == datetime(2026, 2, 28, 12, 30, tzinfo=UTC)
    assert since("2026-02-28") == datetime(2026, 2, 28, tzinfo=UTC)
    assert until("yesterday") == datetime(2026, 3, 1, tzinfo=UTC), "a day counts to its end"
    assert until("2026-02-28") == datetime(2026, 3, 1, tzinfo=UTC)
    assert until("12h") == since("12h")
    assert until("9999-12-31") is None
    assert parse_day("7d", now=now, option="--since") == date(2026, 2, 22)
    assert parse_day("yesterday", now=now, option="--since") == date(2026, 2, 28)
    assert parse_day("999999999d", now=now, option="--since") == date.min
    for wrong in ("tomorrow", "2026-02-30", "7", "d", "-7d", "2026-2-3", "", "\u0667d", "2026-02-28T10:00"):
        with pytest.raises(ConfigurationError, match="--since"):
            since(wrong)
        with pytest.raises(ConfigurationError, match="--since"):
            parse_day(wrong, now=now, option="--since")
    with pytest.raises(ConfigurationError, match="--since"):
        parse_day("12h", now=now, option="--since")
