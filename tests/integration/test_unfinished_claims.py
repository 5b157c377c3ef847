"""Claims of one attempt are finished by the next, whatever the current routes are (docs/explanation/receipts.md,
"Dispatch").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count

import pytest

from shared.queue_messages import Poll, PollReason, RouteRequest
from tests.integration.replay_fixture import BOTH, ReplayFixture, letter
from tests.integration.stored_arrivals import arrival_of, current_receipt
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled
from tests.servers.pump import work_until_idle
from tests.sizes import size

NOBODY = {"ROUTES__rest__ADDRESS": "rest@example.com"}
ELSEWHERE = {"ROUTES__accounts__ADDRESS": "billing@example.com"}
BLOCKED = {**BOTH, "MAILBOXES__support__BLOCKED_SENDERS": "a@b.example"}
BCC = {"ROUTES__bcc__ADDRESS": "*", "ROUTES__bcc__SENDERS": "*@b.example"}


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def arrived(world: ReplayFixture, number: int) -> RouteRequest:
    """Store a message to two recipients without routing it."""
    world.servers["support"].deliver(letter("billing@example.com, sales@example.com", number))
    world.app(BOTH).poller.poll(Poll("support", PollReason.MANUAL))
    [route_request] = world.take_route_requests()
    return route_request


def dies(
    world: ReplayFixture,
    route_request: RouteRequest,
    at: int,
    way: FailureMode,
    routes: dict[str, str] = BOTH,
    *,
    tried: bool = False,
) -> bool:
    """Run an attempt that ends at one operation; return False if it finished before."""
    faults = FaultInjector(at, way)
    with suppress(ProcessKilled):
        world.app(routes, faults.stores(world.stores)).router.route(route_request, tried=tried)
    return faults.count >= at


LATER = {"nobody": NOBODY, "elsewhere": ELSEWHERE, "blocked": BLOCKED}
CRASHES = [
    (way, later, tried)
    for way in (FailureMode.GONE_BEFORE, FailureMode.GONE_AFTER)
    for later in LATER
    for tried in (False, True)
]
"""A first try creates its claims in one transaction, a second one kind by kind."""


@pytest.mark.parametrize(
    ("storage", "way", "later", "tried"),
    [
        *(("folder", *crash) for crash in CRASHES),
        ("azure", FailureMode.GONE_AFTER, "elsewhere", False),
        *(pytest.param("azure", *crash, marks=pytest.mark.soak) for crash in CRASHES),
    ],
    indirect=["storage"],
)
def test_4_1_after_a_crash_at_any_operation_other_routes_give_every_recipient_one_result(
    world: ReplayFixture, way: FailureMode, later: str, *, tried: bool
) -> None:
    step = size(3, soak=1) if world.storage.startswith("Default") else 1
    numbers = []
    for number in count(1, step):
        numbers.append(number)
        route_request = arrived(world, number)
        died = dies(world, route_request, number, way, tried=tried)
        copy = b"X-Gateway: 1\r\n" + letter("billing@example.com, sales@example.com", number)
        world.poll_and_route(BOTH, copy, mailbox="office")
        world.app(LATER[later]).router.route(route_request, tried=True)
        if not died:
            break
    results = [world.read(path) for path in world.paths("routed/")]
    result_counts = Counter((result["recipient"], result["envelope"]["subject"]) for result in results)
    expected = {(f"{who}@example.com", str(n)): 1 for who in ("billing", "sales") for n in numbers}
    assert result_counts == expected
    paths = set(world.paths("routed/"))
    assert all(world.read(path)["route"] == path.split("/")[1] for path in paths)
    for path in world.paths("duplicates/"):
        assert all(duplicate["duplicate_of"]["result"] in paths for duplicate in world.read(path)["duplicates"])
    assert number > 8, "it died at operations"


def test_a_finished_claim_is_recorded_as_routed_and_not_as_unhandled(world: ReplayFixture) -> None:
    route_request = arrived(world, 1)
    at = next(n for n in range(1, 30) if _first_result_at(world, n))
    route_request = arrived(world, 2)
    arrival = arrival_of(world.stores, route_request)
    assert dies(world, route_request, at, FailureMode.GONE_AFTER)
    assert len([path for path in world.paths("routed/") if world.read(path)["envelope"]["subject"] == "2"]) == 1
    world.app(NOBODY).router.route(route_request, tried=True)
    assert not [path for path in world.paths("unhandled/") if world.read(path)["envelope"]["subject"] == "2"]
    receipt = current_receipt(world.stores, arrival.arrival)
    assert receipt.outcome == "routed"
    # All recipients are claimed before the first result is written.
    assert set(receipt.results()) == {"billing@example.com", "sales@example.com"}


def _first_result_at(world: ReplayFixture, at: int) -> bool:
    """Return whether an attempt that ends after this operation leaves the first result; uses messages of its own."""
    route_request = arrived(world, 100 + at)
    dies(world, route_request, at, FailureMode.GONE_AFTER)
    return bool(world.paths("routed/"))


def test_a_wildcard_claim_is_finished_and_a_named_recipients_claim_is_not(world: ReplayFixture) -> None:
    for at in range(1, 25):
        route_request = arrived(world, at)
        died = dies(world, route_request, at, FailureMode.GONE_AFTER, BCC)
        world.app(NOBODY).router.route(route_request, tried=True)
        if not died:
            break
    else:
        pytest.fail("it did not come to its end")
    assert world.results().keys() <= {("bcc", "*")}
    unhandled = {world.read(path)["envelope"]["subject"] for path in world.paths("unhandled/")}
    routed = {world.read(path)["envelope"]["subject"] for path in world.paths("routed/")}
    assert unhandled | routed == {str(n) for n in range(1, at + 1)}
    assert not unhandled & routed
    assert unhandled
    assert routed


def test_an_arrival_whose_request_is_published_again_counts_as_tried(world: ReplayFixture) -> None:
    """By the sweep, and by a poll that finds it stored and not routed."""
    route_request = arrived(world, 1)
    assert route_request.retries == 0
    assert world.app(BOTH).router.sweep(timedelta(0)) == 1
    [again] = world.take_route_requests()
    assert again.retries == 1
    world.servers["support"].messages[1] = letter("billing@example.com, sales@example.com", 1)
    world.app(BOTH).poller.poll(Poll("support", PollReason.MANUAL))
    [again] = world.take_route_requests()
    assert again.retries == 1
    work_until_idle(world.app(BOTH))
