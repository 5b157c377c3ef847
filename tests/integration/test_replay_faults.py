"""Rules 8.1 and 4.4 for replays: injected faults at every step, and concurrent work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from shared.dispatch.outbox import Replay
from shared.errors import ServiceUnavailable
from shared.queue_messages import Poll, PollReason
from shared.receipts import State
from tests.integration.interleaving import Job, naming_seed, route_in_turns
from tests.integration.replay_fixture import BILLING, BOTH, CLERK, ReplayFixture, letter
from tests.servers.azurite import ACCOUNTS, Azurite, _unused
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled, failure_points
from tests.servers.memory_app import let_time_pass
from tests.servers.pump import work_until_idle
from tests.sizes import size

NOBODY = {"ROUTES__rest__ADDRESS": "rest@example.com"}
TO_THREE = letter("sales@example.com, billing@example.com, clerk@example.com")
SEEDS = {"folder": size(15, soak=200), "azure": size(2, soak=20)}


def beginning(storage: str) -> tuple[ReplayFixture, str]:
    """Store a message with a result for billing@ and a copy with a duplicates record; return the record's path."""
    world = ReplayFixture(storage)
    world.poll_and_route(BILLING, TO_THREE)
    world.poll_and_route(BILLING, TO_THREE, mailbox="office")
    return world, world.only_path("duplicates/office/")


def assert_as_after_one_replay(world: ReplayFixture, path: str, first: str) -> None:
    assert world.results() == Counter(
        {("billing", "billing@example.com"): 1, ("sales", "sales@example.com"): 1, ("clerk", "clerk@example.com"): 1}
    )
    assert world.only_path("routed/billing/") == first
    assert world.paths("unhandled/", "failed/", "blocked/") == []
    assert [duplicate["recipient"] for duplicate in world.read(path)["duplicates"]] == ["billing@example.com"]
    receipts = {receipt.mailbox: receipt for receipt in world.receipts()}
    assert {receipt.state for receipt in receipts.values()} == {State.ROUTED}
    outcomes = sorted(what.partition(" ")[0] for what in receipts["office"].outcomes.values())
    assert outcomes == ["duplicate", "routed", "routed"]
    for what in receipts["office"].outcomes.values():
        assert not what.startswith("routed ") or world.stores.blobs.exists(what.removeprefix("routed "))
    assert world.outbox_size() == 0


def work_with(world: ReplayFixture, faults: FaultInjector) -> None:
    """Run a process on the queues until an injected fault ends it, or until it is idle."""
    with suppress(ProcessKilled, Exception):
        work_until_idle(world.app(CLERK, faults.stores(world.stores)))


def steps(folder: Path) -> list[str]:
    """Return the names of the operations of an undisturbed replay."""
    world, path = beginning(f"folder:{folder}")
    first = world.only_path("routed/")
    world.request_replay(CLERK, path)
    faults = FaultInjector()
    work_with(world, faults)
    assert_as_after_one_replay(world, path, first)
    world.stores.close()
    return faults.names


@pytest.mark.parametrize("way", FailureMode, ids=lambda way: way.value.replace(" ", "-"))
def test_8_1_a_replay_with_an_injected_fault_at_any_step_is_done_once(way: FailureMode, tmp_path: Path) -> None:
    """The four modes together leave every state. `make test-soak` uses every operation in every mode."""
    names = steps(tmp_path / "steps")
    assert len(names) > 20
    for at in failure_points(names, way):
        folder = tmp_path / str(at)
        world, path = beginning(f"folder:{folder}")
        first = world.only_path("routed/")
        world.request_replay(CLERK, path)
        faults = FaultInjector(at, way)
        work_with(world, faults)
        let_time_pass(folder)
        work_until_idle(world.app(CLERK))
        try:
            assert_as_after_one_replay(world, path, first)
        except AssertionError as error:
            raise AssertionError(f"at operation {at}, {faults.names[at - 1]}, {way.value}: {error}") from error
        finally:
            world.stores.close()


@pytest.mark.parametrize("way", FailureMode, ids=lambda way: way.value.replace(" ", "-"))
def test_8_1_a_fault_while_a_replay_is_requested_duplicates_nothing(way: FailureMode, tmp_path: Path) -> None:
    for at in range(1, 6):
        world, path = beginning(f"folder:{tmp_path / str(at)}")
        first = world.only_path("routed/")
        with suppress(ProcessKilled, ServiceUnavailable):
            world.request_replay(CLERK, path, stores=FaultInjector(at, way).stores(world.stores))
        app = world.app(CLERK)
        app.router.sweep(timedelta(0))
        work_until_idle(app)
        world.request_replay(CLERK, path)  # the operator asks once more, not knowing how far it came
        work_until_idle(app)
        assert_as_after_one_replay(world, path, first)
        world.stores.close()


def run_in_turns(jobs: list[Job], random: Random, deaths: float) -> None:
    """Run jobs concurrently; retry the ones that died or failed, alone, until they are done."""
    left = route_in_turns(jobs, random, deaths)
    random.shuffle(left)
    for app, route_request in left:
        app.router.route(route_request)


def assert_routed_for_three(world: ReplayFixture, again: int) -> None:
    [receipt] = world.receipts()
    assert receipt.state is State.ROUTED
    assert set(receipt.outcomes) == {"sales@example.com", "billing@example.com", "clerk@example.com"}
    for what in receipt.outcomes.values():
        assert world.stores.blobs.exists(what.removeprefix("routed "))
    assert world.results() == Counter(
        {("sales", "sales@example.com"): 1, ("billing", "billing@example.com"): 1 + again}
        | {("clerk", "clerk@example.com"): 1}
    )
    for path in world.paths("unhandled/"):
        assert world.read(path)["resolved"] is not None, "it has results, and its record says that it has none"
    assert world.paths("duplicates/", "failed/", "blocked/") == []
    assert world.outbox_size() == 0


@pytest.mark.parametrize("deaths", [0.0, 0.03])
def test_4_4_concurrent_replays_give_each_recipient_one_result(
    storage: str, deaths: float, request: pytest.FixtureRequest
) -> None:
    for seed, place in places(storage, request):
        world = ReplayFixture(place)
        world.poll_and_route(BILLING, TO_THREE)
        billing = world.only_path("routed/")
        [receipt] = world.receipts()
        replays = [
            (CLERK, Replay(receipt.arrival, receipt.mailbox, "failed/x")),
            (BOTH, Replay(receipt.arrival, receipt.mailbox, "blocked/x")),
            (BILLING, Replay(receipt.arrival, receipt.mailbox, billing, "one")),
        ]
        jobs = [(world.app(routes), request) for routes, replay in replays for request in world.publish(replay)]
        with naming_seed(seed):
            run_in_turns(jobs, Random(seed), deaths)
            assert_routed_for_three(world, again=1)
        world.stores.close()


@pytest.mark.parametrize("deaths", [0.0, 0.03])
def test_4_4_a_replay_during_the_first_attempt_gives_each_recipient_one_result(
    storage: str, deaths: float, request: pytest.FixtureRequest
) -> None:
    for seed, place in places(storage, request):
        world = ReplayFixture(place)
        world.servers["support"].deliver(TO_THREE)
        world.app(NOBODY).poller.poll(Poll("support", PollReason.MANUAL))
        [first] = world.take_route_requests()
        [receipt] = world.receipts()
        replays = [Replay(receipt.arrival, receipt.mailbox, f"unhandled/{name}") for name in ("x", "y")]
        again, by_old_routes = world.publish(*replays)
        # The routes change between the two, and an old worker still has routes that match no recipient.
        jobs = [(world.app(NOBODY), first), (world.app(CLERK), again), (world.app(NOBODY), by_old_routes)]
        with naming_seed(seed):
            run_in_turns(jobs, Random(seed), deaths)
            assert_routed_for_three(world, again=0)
        world.stores.close()


def test_4_4_a_replay_delivered_twice_to_workers_with_different_routes_records_every_result(
    storage: str, request: pytest.FixtureRequest
) -> None:
    """The replay ends by the routes of either worker. The receipt names every result that exists."""
    for seed, place in places(storage, request):
        world = ReplayFixture(place)
        world.poll_and_route(NOBODY, TO_THREE)
        [receipt] = world.receipts()
        [again] = world.publish(Replay(receipt.arrival, receipt.mailbox, "unhandled/x"))
        jobs = [(world.app(CLERK), again), (world.app(NOBODY), again), (world.app(BILLING), again)]
        with naming_seed(seed):
            run_in_turns(jobs, Random(seed), 0.0)
            [receipt] = world.receipts()
            assert sorted(receipt.results().values()) == world.paths("routed/")
            assert world.outbox_size() == 0
            world.publish(Replay(receipt.arrival, receipt.mailbox, "unhandled/x"))
            app = world.app(CLERK)
            assert app.router.route(again) == ["routed"]
            assert_routed_for_three(world, again=0)
        world.stores.close()


def places(storage: str, request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """Return a new storage for each seed."""
    if storage.startswith("folder:"):
        yield from ((seed, f"{storage}-{seed}") for seed in range(SEEDS["folder"]))
        return
    yield 0, storage
    azurite: Azurite = request.getfixturevalue("azurite")
    yield from ((seed, azurite.connection_string(ACCOUNTS[next(_unused)])) for seed in range(1, SEEDS["azure"]))
