"""The claims of the arrivals of one route request: one transaction, then one for each message, then one for each
fingerprint (docs/explanation/duplicates.md, "The claims").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from shared.dispatch.claims import Claim
from shared.errors import ServiceUnavailable
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import Change, QueueName, Storage, Table
from shared.storage.transactions import MAX_TRANSACTION
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import run_forget
from tests.integration.replay_fixture import BOTH, ReplayFixture, letter
from tests.integration.stored_arrivals import current_receipt, route_request, store_batch
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled
from tests.sizes import size

LIST = {"ROUTES__list__ADDRESS": "*@list.example", **BOTH}
WILDCARD = {"ROUTES__bcc__ADDRESS": "*", "ROUTES__bcc__SENDERS": "*@b.example"}
CLAIMS_OF_ONE = 6
"""Of a message for one recipient: it and `*`, under three fingerprints."""

MANY_RECIPIENTS = 34
"""Recipients whose claims, with those on `*`, exceed a transaction."""

MANY = ", ".join(f"{number}@list.example" for number in range(MANY_RECIPIENTS))


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def sales(number: int, top: bytes = b"") -> bytes:
    return top + letter("sales@example.com", number, f"text {number}")


def copy(number: int) -> bytes:
    """Return a message with the content of `sales`, in other bytes."""
    return sales(number, b"X-Copy: 1\r\n")


def store(world: ReplayFixture, *messages: bytes, mailbox: str = "support") -> tuple[RouteRequest, list[Receipt]]:
    """Store messages as one batch. Return its route request, and the receipts in the order of the messages."""
    return store_batch(world, world.app(LIST), *messages, mailbox=mailbox)


class Committing:
    """Records whose transactions of claims are noted, and may be disturbed.

    Args:
        world: the fixture.
        disturb: called before the transactions with their number, from 1, and their changes.

    Attributes:
        sizes: the number of claims of each transaction.
        made: whether each transaction was made.
    """

    def __init__(
        self, world: ReplayFixture, disturb: Callable[[int, Sequence[Change]], None] = lambda _number, _changes: None
    ) -> None:
        self._inner = world.stores.records
        self._disturb = disturb
        self.sizes: list[int] = []
        self.made: list[bool] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit(self, changes: Sequence[Change]) -> bool:
        if changes[0].table is not Table.CLAIMS:
            return self._inner.commit(changes)
        self.sizes.append(len(changes))
        self._disturb(len(self.sizes), changes)
        made = self._inner.commit(changes)
        self.made.append(made)
        return made


def route(
    world: ReplayFixture, request: RouteRequest, records: object = None, stores: Storage | None = None, **options: bool
) -> list[str]:
    """Route a request, with these records."""
    used = stores or (world.stores if records is None else replace(world.stores, records=records))  # type: ignore[arg-type]  # a double
    return [str(outcome) for outcome in world.app(LIST, used).router.route(request, **options)]


def outcome(world: ReplayFixture, arrival: Receipt) -> str:
    return current_receipt(world.stores, arrival.arrival).outcome


def claims(world: ReplayFixture) -> list[Claim]:
    return [Claim.from_record(record) for record in world.stores.records.scan(Table.CLAIMS)]


def route_what_remains(world: ReplayFixture) -> None:
    """Deliver the remaining arrivals, each alone, as a second try."""
    for receipt in world.receipts():
        if receipt.state is State.STORED:
            route(world, route_request(receipt), tried=True)
    assert {receipt.state for receipt in world.receipts()} == {State.ROUTED}
    assert world.outbox_size() == 0


def results(world: ReplayFixture, before: Collection[str] = ()) -> Counter[str]:
    """Return the number of results by subject, except those at paths that existed before."""
    return Counter(world.read(path)["envelope"]["subject"] for path in world.paths("routed/") if path not in before)


def test_the_claims_of_a_batch_are_one_transaction(world: ReplayFixture) -> None:
    request, arrivals = store(world, *(sales(number) for number in range(3)))
    records = Committing(world)
    assert route(world, request, records) == ["routed"] * 3
    assert (records.sizes, records.made) == ([3 * CLAIMS_OF_ONE], [True])
    assert Counter(claim.owner for claim in claims(world)) == {item.arrival: CLAIMS_OF_ONE for item in arrivals}


def test_a_conflict_makes_each_message_claim_alone(world: ReplayFixture) -> None:
    """One of three is a copy of a message that was routed before: the transaction of the batch changes nothing."""
    _, (original,) = store(world, sales(2), mailbox="office")
    route(world, route_request(original))
    request, arrivals = store(world, *(sales(number) for number in (1, 2, 3)))
    before = len(claims(world))

    def check(number: int, _changes: Sequence[Change]) -> None:
        if number == 2:
            assert len(claims(world)) == before, "the transaction of the batch changed nothing"

    records = Committing(world, check)
    assert sorted(route(world, request, records)) == ["duplicate", "routed", "routed"]
    transactions = Counter(zip(records.sizes, records.made, strict=True))
    assert transactions[3 * CLAIMS_OF_ONE, False] == 1
    assert (transactions[CLAIMS_OF_ONE, True], transactions[CLAIMS_OF_ONE, False]) == (2, 1)
    assert [outcome(world, item) for item in arrivals] == ["routed", "duplicate", "routed"]
    assert current_receipt(world.stores, arrivals[1].arrival).outcomes == {
        "sales@example.com": f"duplicate {original.arrival}"
    }
    assert results(world) == {"1": 1, "2": 1, "3": 1}


def test_copies_in_one_batch_are_duplicates_of_the_first(world: ReplayFixture) -> None:
    request, arrivals = store(world, sales(1), copy(1), sales(2), sales(1, b"X-Copy: 2\r\n"))
    records = Committing(world)
    route(world, request, records)
    assert records.sizes[0] == 2 * CLAIMS_OF_ONE, "one message of each"
    assert records.made[0]
    outcomes = [outcome(world, item) for item in arrivals]
    assert Counter(outcomes) == {"routed": 2, "duplicate": 2}
    assert outcomes[2] == "routed"
    first = next(
        item for item, text in zip(arrivals, outcomes, strict=True) if text == "routed" and item != arrivals[2]
    )
    for item in arrivals:
        if outcome(world, item) == "duplicate":
            texts = current_receipt(world.stores, item.arrival).outcomes
            assert texts == {"sales@example.com": f"duplicate {first.arrival}"}
    assert results(world) == {"1": 1, "2": 1}


def test_a_message_with_more_claims_than_a_transaction_takes_them_by_fingerprint(world: ReplayFixture) -> None:
    """It neither fails nor holds up the other messages of its batch. A copy of it is its duplicate."""
    request, arrivals = store(world, sales(1), letter(MANY, 2), sales(3))
    records = Committing(world)
    assert route(world, request, records) == ["routed"] * 3
    assert max(records.sizes) <= MAX_TRANSACTION
    assert sorted(records.sizes) == [2 * CLAIMS_OF_ONE, *[MANY_RECIPIENTS + 1] * 3]
    assert all(records.made)
    assert len(world.paths("routed/list/")) == MANY_RECIPIENTS
    again, (second,) = store(world, b"X-Copy: 1\r\n" + letter(MANY, 2), mailbox="office")
    assert route(world, again) == ["duplicate"]
    texts = set(current_receipt(world.stores, second.arrival).outcomes.values())
    assert texts == {f"duplicate {arrivals[1].arrival}"}


def test_a_lost_reply_to_the_transaction_of_a_batch_leaves_every_message_its_own_claims(world: ReplayFixture) -> None:
    """The SDK sends the transaction again, and it conflicts with itself."""
    request, arrivals = store(
        world, *(sales(number) for number in range(3)), letter("sales@example.com, billing@example.com", 9)
    )

    def made_before(number: int, changes: Sequence[Change]) -> None:
        if number == 1:
            assert world.stores.records.commit(changes)

    records = Committing(world, made_before)
    assert route(world, request, records) == ["routed"] * 4
    assert records.made[0] is False
    assert len(records.sizes) > 4, "each message asked for its own"
    owners = Counter(claim.owner for claim in claims(world))
    assert owners == {item.arrival: CLAIMS_OF_ONE for item in arrivals[:3]} | {arrivals[3].arrival: 9}
    assert world.paths("duplicates/") == []
    assert len(world.paths("routed/")) == 5


def test_a_storage_that_fails_in_the_transaction_requeues_the_batch(world: ReplayFixture) -> None:
    """Whether the transaction was made is not known: the next try finds the claims to be its own."""
    for number, is_made in enumerate((False, True)):
        request, arrivals = store(world, sales(10 * number), sales(10 * number + 1))

        def fail(at: int, changes: Sequence[Change], *, is_made: bool = is_made) -> None:
            if is_made:
                assert world.stores.records.commit(changes)
            raise ServiceUnavailable(f"the table is unavailable at {at}")

        assert route(world, request, Committing(world, fail)) == []
        assert sum(claim.owner in {item.arrival for item in arrivals} for claim in claims(world)) == 12 * is_made
        # The request is published with a delay.
        assert world.stores.queues[QueueName.ROUTE_REQUESTS].length() == number + 1
        for item in arrivals:
            assert route(world, route_request(item, retries=1)) == ["routed"]
    assert results(world) == {"0": 1, "1": 1, "10": 1, "11": 1}


FAILURES = [(way, recipients) for way in FailureMode for recipients in ("sales@example.com", MANY)]


@pytest.mark.parametrize(
    ("storage", "way", "to"),
    [
        *(("folder", *failure) for failure in FAILURES),
        ("azure", FailureMode.GONE_AFTER, "sales@example.com"),
        *(pytest.param("azure", *failure, marks=pytest.mark.soak) for failure in FAILURES),
    ],
    indirect=["storage"],
    ids=lambda value: "many" if value == MANY else None,
)
def test_4_4_a_worker_that_fails_at_any_operation_of_a_batch_costs_no_message_its_result(
    world: ReplayFixture, way: FailureMode, to: str
) -> None:
    """A batch with copies of its own messages and of one that another worker routed, and the copies follow before its
    arrivals come back: between the transaction of the batch and those of its messages, too.
    """
    step = size(1 if way is FailureMode.GONE_BEFORE and to != MANY else 5, soak=1)
    failed = []
    for at in count(1, step):
        numbers = [1000 * at + number for number in range(3)]
        known, own, large = numbers
        before = set(world.paths("routed/"))
        _, (original,) = store(world, sales(known), mailbox="office")
        route(world, route_request(original))
        request, arrivals = store(world, sales(own), copy(known), copy(own), letter(to, large))
        faults = FaultInjector(at, way)
        with suppress(ProcessKilled, ServiceUnavailable):
            route(world, request, stores=faults.stores(world.stores))
        failed.append(faults.count >= at)
        world.take_route_requests()
        later = b"X-Later: 1\r\n"
        _, copies = store(world, sales(own, later), later + letter(to, large), mailbox="office")
        for item in copies:
            route(world, route_request(item))
        route_what_remains(world)
        counts = results(world, before)
        assert [counts[str(number)] for number in numbers] == [1, 1, to.count("@")], (at, faults.names[-3:])
        assert outcome(world, arrivals[1]) == "duplicate"
        assert Counter(outcome(world, item) for item in (arrivals[0], arrivals[2], copies[0])) == {
            "routed": 1,
            "duplicate": 2,
        }
        assert sorted([outcome(world, arrivals[3]), outcome(world, copies[1])]) == ["duplicate", "routed"]
        if not failed[-1]:
            break
    paths = set(world.paths("routed/"))
    for path in world.paths("duplicates/"):
        assert all(entry["duplicate_of"]["result"] in paths for entry in world.read(path)["duplicates"])
    assert failed.count(True) > 5


@pytest.mark.parametrize("retries", [0, 1], ids=["first delivery", "published again"])
def test_claims_of_a_batch_whose_worker_died_are_found_again(world: ReplayFixture, retries: int) -> None:
    """Right after its transaction, and whatever the routes are by then: a duplicate names the owner already."""
    request, arrivals = store(world, sales(1), sales(2))

    def die_after(_number: int, changes: Sequence[Change]) -> None:
        assert world.stores.records.commit(changes)
        raise ProcessKilled

    with suppress(ProcessKilled):
        route(world, request, Committing(world, die_after))
    assert Counter(claim.owner for claim in claims(world)) == {item.arrival: CLAIMS_OF_ONE for item in arrivals}
    assert world.paths("routed/") == []
    again, (later,) = store(world, copy(1), mailbox="office")
    assert route(world, again) == ["duplicate"]
    assert current_receipt(world.stores, later.arrival).outcomes == {
        "sales@example.com": f"duplicate {arrivals[0].arrival}"
    }
    again, (wildcards,) = store(world, copy(2), mailbox="office")
    assert world.app(WILDCARD).router.route(again) == ["duplicate"]
    assert current_receipt(world.stores, wildcards.arrival).outcomes == {"*": f"duplicate {arrivals[1].arrival}"}
    routes = {"ROUTES__rest__ADDRESS": "rest@example.com"} if retries else LIST
    router = world.app(routes).router
    assert router.route(replace(request, retries=retries)) == ["routed", "routed"]
    assert results(world) == {"1": 1, "2": 1}
    for item in arrivals:
        assert set(current_receipt(world.stores, item.arrival).results()) == {"sales@example.com"}


def test_a_blank_claim_of_an_erased_message_conflicts_and_stops_no_message(world: ReplayFixture) -> None:
    """The claim on the Message-ID keeps its place, so that the transaction fails. The new message takes the next."""
    erased = sales(1)
    first, (gone,) = store(world, erased)
    route(world, first)
    run_forget(world, identity(erased))
    assert current_receipt(world.stores, gone.arrival).state is State.ERASED
    blank = [claim for claim in claims(world) if not claim.owner]
    assert len(blank) == 2, "for the recipient and `*`"
    request, arrivals = store(world, erased, sales(2), copy(1))
    records = Committing(world)
    route(world, request, records)
    assert records.made[0] is False
    assert outcome(world, arrivals[1]) == "routed"
    assert Counter(outcome(world, item) for item in (arrivals[0], arrivals[2])) == {"routed": 1, "duplicate": 1}
    assert results(world) == {"1": 1, "2": 1}
    assert [claim for claim in claims(world) if not claim.owner] == blank
    owners = Counter(claim.owner for claim in claims(world) if claim.recipient != "*")
    assert owners[gone.arrival] == 0
    # The arrivals with a result hold all three claims.
    assert [owners[item.arrival] for item in arrivals if outcome(world, item) == "routed"] == [3, 3]
