"""Rules 8.1 and 4.4 for batches: a fault at every storage operation, and several workers at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from shared.dispatch.outbox import Replay, publish_replays
from shared.errors import TransientError
from shared.receipts import Receipt
from tests.end_to_end.command import identity
from tests.integration.batch_fixture import BatchFixture, letter, run_and_die
from tests.integration.interleaving import Job, naming_seed, route_in_turns
from tests.servers.azurite import ACCOUNTS, Azurite, _unused
from tests.servers.faults import FailureMode, FaultInjector, failure_points
from tests.sizes import size

PLAIN = letter(1)
TO_BOTH = letter(2, "sales@example.com, support@example.com")
ATTACHED = letter(3, headers="Content-Type: text/csv; name=a.csv\r\nContent-Disposition: attachment\r\n")
UNHANDLED = letter(4, "nobody@unknown.example")
REPLY = letter(5, headers="In-Reply-To: <2@b.example>\r\n")
SAME_TEXT = PLAIN.replace(b"<1@b", b"<6@b")
MAIL = (PLAIN, PLAIN, TO_BOTH, UNHANDLED, ATTACHED, REPLY, SAME_TEXT)
SEEDS = {"folder": size(12, soak=200), "azure": size(2, soak=20)}
AZURE_STEP = size(24, soak=1)
"""Between two operations that fail on Azurite, where a run takes a second."""


def assert_routed_once(world: BatchFixture, *, at_once: bool = False) -> None:
    """Check that each group of copies has one result for each recipient, and that nothing else is left.

    Args:
        world: the fixture.
        at_once: whether several workers routed the mail at once: a reply and its parent may not have found each other.
    """
    world.assert_all_routed()
    results = world.results()
    originals = {identity(PLAIN), identity(SAME_TEXT)}
    [original] = [message for _, message in results if message in originals]
    assert results == Counter(
        {
            ("sales@example.com", original): 1,
            ("sales@example.com", identity(TO_BOTH)): 1,
            ("support@example.com", identity(TO_BOTH)): 1,
            ("sales@example.com", identity(ATTACHED)): 1,
            ("sales@example.com", identity(REPLY)): 1,
        }
    )
    receipts = world.receipts()
    assert Counter(receipt.outcome for receipt in receipts) == {"routed": 4, "duplicate": 2, "unhandled": 1}
    owners = {receipt.arrival for receipt in receipts if receipt.outcome == "routed"}
    duplicates = [world.read(path) for path in world.paths("duplicates/") if world.read(path)["resolved"] is None]
    assert len(duplicates) == 2
    for record in duplicates:
        for entry in record["duplicates"]:
            assert entry["duplicate_of"]["arrival"] in owners
            assert world.stores.blobs.exists(entry["duplicate_of"]["result"])
    assert [world.read(path)["message"] for path in world.paths("unhandled/")] == [identity(UNHANDLED)]
    assert world.queue.bodies() == world.poison.bodies() == []
    conversations = {receipt.message: receipt.conversation for receipt in receipts}
    assert at_once or conversations[identity(REPLY)] == conversations[identity(TO_BOTH)]
    for path in world.paths("routed/"):
        result = world.read(path)
        assert at_once or result["conversation"] == conversations[result["message"]]
        for document in (result["paths"]["raw"], result["paths"]["message"], *result["paths"]["attachments"]):
            assert world.stores.blobs.exists(document)


def places(storage: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the addresses of new storages of one kind."""
    yield storage
    if kind_of(storage) == "folder":
        number = 0
        while True:
            number += 1
            yield f"{storage}-{number}"
    azurite: Azurite = request.getfixturevalue("azurite")
    while True:
        yield azurite.connection_string(ACCOUNTS[next(_unused)])


def kind_of(storage: str) -> str:
    return "folder" if storage.startswith("folder:") else "azure"


@contextmanager
def stored_mail(place: str) -> Iterator[BatchFixture]:
    """Store the mail in a new storage: seven arrivals of one batch, with a route request."""
    world = BatchFixture(place)
    try:
        world.store(*MAIL)
        assert len(world.queue.bodies()) == 1
        yield world
    finally:
        world.stores.close()


def operations(place: str) -> list[str]:
    """Return the names of the operations of an undisturbed run."""
    with stored_mail(place) as world:
        faults = FaultInjector()
        run_and_die(world, world.app(faults.stores(world.stores)))
        assert_routed_once(world)
        return faults.names


@pytest.mark.parametrize("way", FailureMode, ids=lambda way: way.value.replace(" ", "-"))
def test_8_1_a_fault_at_every_operation_of_a_batch(
    storage: str, way: FailureMode, request: pytest.FixtureRequest
) -> None:
    """The worker dies before or after the operation; storage is unavailable; or its reply is lost.

    The four modes together leave every state. `make test-soak` uses every operation in every mode, also on Azurite.
    """
    new = places(storage, request)
    names = operations(next(new))
    assert names.count("scan") == 1, "one batch"
    assert len(names) > 30
    is_folder = kind_of(storage) == "folder"
    for at in failure_points(names, way) if is_folder else range(1, len(names) + 1, AZURE_STEP):
        with stored_mail(next(new)) as world:
            faults = FaultInjector(at, way)
            run_and_die(world, world.app(faults.stores(world.stores)))
            world.recover()
            try:
                assert_routed_once(world)
            except AssertionError as error:
                raise AssertionError(f"operation {at} of {len(names)}, {names[at - 1]}: {error}") from error


@pytest.mark.parametrize("way", [FailureMode.GONE_AFTER, FailureMode.REPLY_LOST], ids=["gone", "reply-lost"])
def test_8_1_a_batch_whose_requests_are_lost_after_a_fault_is_finished_by_sweep(
    storage: str, way: FailureMode, request: pytest.FixtureRequest
) -> None:
    new = places(storage, request)
    names = operations(next(new))
    for at in range(1, len(names) + 1, 2 * (1 if kind_of(storage) == "folder" else AZURE_STEP)):
        with stored_mail(next(new)) as world:
            faults = FaultInjector(at, way)
            run_and_die(world, world.app(faults.stores(world.stores)))
            world.seconds += 7200
            world.take_requests()
            left = len(world.entries())
            app = world.app()
            assert app.router.sweep() == left
            world.run_until_idle(app)
            try:
                assert_routed_once(world)
            except AssertionError as error:
                raise AssertionError(f"operation {at} of {len(names)}, {names[at - 1]}: {error}") from error


@pytest.mark.parametrize("way", [FailureMode.GONE_BEFORE, FailureMode.REPLY_LOST], ids=["gone", "reply-lost"])
def test_8_1_a_second_fault_during_the_retries_changes_nothing(way: FailureMode, tmp_path_factory: object) -> None:
    folder = tmp_path_factory.mktemp("twice")  # type: ignore[attr-defined]  # pytest's class
    names = operations(f"folder:{folder / 'undisturbed'}")
    random = Random(16)
    for at in range(1, len(names) + 1, size(3, soak=1)):
        with stored_mail(f"folder:{folder / str(at)}") as world:
            run_and_die(world, world.app(FaultInjector(at, way).stores(world.stores)))
            for _ in range(4):
                world.seconds += 600
                faults = FaultInjector(random.randrange(1, 40), random.choice(list(FailureMode)))
                run_and_die(world, world.app(faults.stores(world.stores)))
            world.recover()
            try:
                assert_routed_once(world)
            except AssertionError as error:
                raise AssertionError(f"operation {at} of {len(names)}, {names[at - 1]}: {error}") from error


def run_in_turns(world: BatchFixture, jobs: list[Job], random: Random, deaths: float) -> None:
    """Run jobs at once, one storage operation at a time. Deliver those again that died or failed."""
    for app, request in route_in_turns(jobs, random, deaths):
        with suppress(TransientError):
            app.router.route(request, tried=True)
    world.recover()


@pytest.mark.parametrize("deaths", [0.0, 0.02])
def test_4_4_two_workers_that_route_one_batch_at_once_give_one_result(
    storage: str, deaths: float, request: pytest.FixtureRequest
) -> None:
    new = places(storage, request)
    for seed in range(SEEDS[kind_of(storage)]):
        with stored_mail(next(new)) as world, naming_seed(seed):
            [batch] = world.take_requests()
            jobs = [(world.app(), batch), (world.app(), replace(batch, retries=seed % 2))]
            run_in_turns(world, jobs, Random(seed), deaths)
            assert_routed_once(world, at_once=True)


@pytest.mark.parametrize("deaths", [0.0, 0.02])
def test_4_4_replays_during_the_first_attempt_of_their_batch_give_one_result(
    storage: str, deaths: float, request: pytest.FixtureRequest
) -> None:
    new = places(storage, request)
    for seed in range(SEEDS[kind_of(storage)]):
        with stored_mail(next(new)) as world, naming_seed(seed):
            [batch] = world.take_requests()
            replayed: list[Receipt] = Random(seed).sample(world.receipts(), 2)
            replays = [Replay(receipt.arrival, receipt.mailbox, "unhandled/x") for receipt in replayed]
            publish_replays(world.stores, replays, world.app().router.now())
            requests = [batch, *world.take_requests()]
            assert len(requests) == 3
            run_in_turns(world, [(world.app(), item) for item in requests], Random(seed), deaths)
            assert_routed_once(world, at_once=True)
            assert world.app().router.sweep(timedelta(0)) == 0
