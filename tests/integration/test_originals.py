"""The record of a duplicate names the arrival that has the result (docs/explanation/duplicates.md, "Which one is
named").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count, permutations
from pathlib import Path
from typing import Any

import pytest

from mailroom_cli.commands.find import find_message_histories
from mailroom_cli.commands.forget import forget
from shared.bootstrap import App
from shared.errors import ServiceUnavailable
from shared.operations.search import ArrivalQuery
from shared.queue_messages import Poll, PollReason
from shared.receipts import Receipt, State
from shared.storage.base import Storage, Table
from tests.integration.replay_fixture import BILLING, BOTH, ReplayFixture
from tests.integration.stored_arrivals import arrival_of, current_receipt, replay_request, route_request
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled
from tests.servers.whole_table import whole_table
from tests.sizes import size

SALES = {"ROUTES__sales__ADDRESS": "sales@example.com"}
WILD = {**SALES, "ROUTES__wild__ADDRESS": "*", "ROUTES__wild__SENDERS": "*@b.example"}
NOBODY = {"ROUTES__rest__ADDRESS": "rest@example.com"}


def letter(message_id: str, body: str = "text", to: str = "sales@example.com") -> bytes:
    head = f"From: a@b.example\r\nTo: {to}\r\nSubject: Chairs\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    return f"{head}Message-ID: <{message_id}@b.example>\r\n\r\n{body}\r\n".encode()


WINNER = letter("p")
SAME_CONTENT = letter("q")
SAME_ID = letter("q", "text\r\n-- \r\nwith a footer")
"""The same Message-ID, and a gateway's footer."""
FORGED = letter("q", "something else")
"""The same Message-ID, and another body."""


class OriginalsFixture(ReplayFixture):
    """A storage, and an app for each set of routes."""

    def __init__(self, storage: str) -> None:
        super().__init__(storage)
        self._apps: dict[tuple[tuple[str, str], ...], App] = {}

    def app(self, settings: Mapping[str, str], stores: Storage | None = None) -> App:
        """Return the app for these routes, the same each time; a new one if a storage is passed."""
        key = tuple(sorted(settings.items()))
        if key not in self._apps:
            self._apps[key] = super().app(settings)
        app = self._apps[key]
        return app if stores is None else replace(app, router=replace(app.router, storage=stores))


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[ReplayFixture]:
    """A fixture in a folder, for tests with a thousand routings."""
    fixture = OriginalsFixture(f"folder:{tmp_path}/mail")
    yield fixture
    fixture.stores.close()


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = OriginalsFixture(storage)
    yield fixture
    fixture.stores.close()


def stored(world: ReplayFixture, data: bytes, routes: dict[str, str] = SALES, mailbox: str = "support") -> Receipt:
    """Store a message without routing it. Return its receipt."""
    world.servers[mailbox].deliver(data)
    world.app(routes).poller.poll(Poll(mailbox, PollReason.MANUAL))
    (request,) = world.take_route_requests()
    return arrival_of(world.stores, request)


def route(world: ReplayFixture, arrival: Receipt, routes: dict[str, str] = SALES, *, tried: bool = False) -> None:
    world.app(routes).router.route(route_request(arrival), tried=tried)


def receipt(world: ReplayFixture, arrival: Receipt) -> Receipt:
    return current_receipt(world.stores, arrival.arrival)


def assert_originals(world: ReplayFixture) -> int:
    """Check that every entry of a duplicate names an arrival that has the result. Return the number of entries."""
    receipts = {
        item.arrival: item for item in map(Receipt.from_record, whole_table(world.stores.records, Table.RECEIPTS))
    }
    named = 0
    for path in world.paths("duplicates/"):
        document: dict[str, Any] = world.read(path)
        own = receipts[document["arrival"]["id"]]
        for entry in document["duplicates"]:
            named += 1
            original = entry["duplicate_of"]
            assert own.outcomes[entry["recipient"]] == f"duplicate {original['arrival']}"
            owner = receipts[original["arrival"]]
            assert (owner.message, owner.state) == (original["message"], State.ROUTED)
            assert original["result"] in owner.results().values(), f"{path} names {original}"
            result: dict[str, Any] = world.read(original["result"])
            assert result["arrival"]["id"] == original["arrival"]
            assert result["recipient"] == entry["recipient"] or entry["recipient"] == "*"
    for value in receipts.values():
        for outcome in value.outcomes.values():
            fate, _, what = outcome.partition(" ")
            assert fate != "duplicate" or receipts[what].results()
    return named


def duplicate(world: ReplayFixture, arrival: Receipt) -> dict[str, Any]:
    (path,) = [path for path in world.paths("duplicates/") if arrival.arrival[:12] in path]
    (entry,) = world.read(path)["duplicates"]
    assert isinstance(entry, dict)
    return entry


def test_4_1_a_copy_of_a_duplicate_names_the_arrival_that_has_the_result(world: ReplayFixture) -> None:
    first, second = stored(world, WINNER), stored(world, SAME_CONTENT, mailbox="office")
    route(world, first)
    route(world, second)
    third = stored(world, SAME_CONTENT)
    route(world, third)
    assert assert_originals(world) == 2
    for copy in (second, third):
        entry = duplicate(world, copy)
        assert entry["duplicate_of"]["arrival"] == first.arrival
        assert entry["by"] == "content", "their bytes differ from the original's"


def test_4_1_explain_and_find_name_the_arrival_that_has_the_result(world: ReplayFixture, tmp_path: Path) -> None:
    first, second = stored(world, WINNER), stored(world, SAME_CONTENT)
    route(world, first)
    route(world, second)
    file = tmp_path / "one.eml"
    file.write_bytes(SAME_CONTENT)
    lines = [line.strip() for line in world.explain(SALES, file, "office")]
    original = receipt(world, first)
    line = lines.index(f"a duplicate of message {original.message[:8]}, by the same content")
    assert lines[line + 1] == f"which arrived in mailbox support, {original.stored_at:%Y-%m-%d %H:%M} UTC"
    third = stored(world, SAME_CONTENT, mailbox="office")
    route(world, third)
    (story,), _ = find_message_histories(world.stores, ArrivalQuery(id=third.arrival), 10)
    assert story["outcomes"] == {"sales@example.com": f"duplicate {first.arrival}"}


def test_4_1_a_chain_by_content_and_message_id_is_followed_to_its_end(world: ReplayFixture) -> None:
    """The copy shares its bytes with a duplicate by content of a duplicate by Message-ID."""
    root, middle = stored(world, SAME_ID), stored(world, SAME_CONTENT)
    route(world, root)
    route(world, middle)
    for _ in range(2):
        copy = stored(world, WINNER)
        route(world, copy)
        entry = duplicate(world, copy)
        assert entry["duplicate_of"]["arrival"] == root.arrival
        assert entry["by"] == "content", "it shares nothing more with the original than with the copy between"
    again = stored(world, SAME_CONTENT, mailbox="office")
    route(world, again)
    assert duplicate(world, again)["by"] == "message-id"
    assert assert_originals(world) == 4


MESSAGES = {
    "content": (WINNER, SAME_CONTENT, SAME_CONTENT),
    "message-id": (SAME_ID, SAME_CONTENT, SAME_CONTENT),
    "chain": (SAME_ID, SAME_CONTENT, WINNER),
    "both": (SAME_CONTENT, SAME_CONTENT, WINNER),
    "forged": (FORGED, SAME_CONTENT, SAME_ID),
    "forged twice": (FORGED, SAME_CONTENT, FORGED.replace(b"else", b"other")),
}
RESULTS = {"forged": 2, "forged twice": 3}
"""The number of results of the three, if it is not one."""


@pytest.mark.parametrize("tried", [False, True], ids=["first try", "second try"])
@pytest.mark.parametrize(
    ("way", "kind"),
    [
        *((FailureMode.GONE_AFTER, kind) for kind in MESSAGES),
        (FailureMode.REPLY_LOST, "chain"),
        (FailureMode.REPLY_LOST, "forged"),
    ],
)
def test_4_4_after_a_crash_at_any_operation_every_duplicate_names_a_result(
    quick: ReplayFixture, way: FailureMode, kind: str, *, tried: bool
) -> None:
    """One of three dies at any operation, the others follow in either order, and its retry comes last.

    A first try creates its claims in one transaction if none of them exists; a second one, kind by kind.
    `make test` uses the odd operations for one order of the others, and the even ones for the other order;
    `make test-soak` uses all operations for both.
    """
    step = size(2, soak=1)
    world, messages, operations, rounds = quick, MESSAGES[kind], 0, 0
    for dying, second, third in permutations(range(3)):
        for at in count(1 if second < third else step, step):
            operations = max(operations, at)
            mail = [
                stored(world, data.replace(b"Chairs", f"{way.name} {dying} {second} {at}".encode()))
                for data in messages
            ]
            faults = FaultInjector(at, way)
            with suppress(ProcessKilled, ServiceUnavailable):
                world.app(SALES, faults.stores(world.stores)).router.route(route_request(mail[dying]), tried=tried)
            for item in (second, third, dying):
                route(world, mail[item], tried=True)
            rounds += 1
            if faults.count < at:
                break
    assert operations > 8
    results = len(world.paths("routed/"))
    assert assert_originals(world) == 3 * rounds - results
    # In "chain" the first and the last differ: both have results if the middle message comes last.
    assert results == rounds * RESULTS.get(kind, 1) or (kind == "chain" and rounds < results < 2 * rounds)


@pytest.mark.parametrize("tried", [False, True], ids=["first try", "second try"])
@pytest.mark.parametrize("later", [NOBODY, SALES], ids=["nobody", "sales"])
def test_4_4_a_wildcard_copy_names_a_result_after_the_named_recipients_worker_crashed(
    quick: ReplayFixture, later: dict[str, str], *, tried: bool
) -> None:
    """The claim of named mail on `*` is taken before its own, and may be its only claim."""
    world = quick
    named, bcc = letter("p"), letter("q", to="sales@example.com")
    duplicates = 0
    for at in range(1, 40):
        numbered = [data.replace(b"Chairs", str(at).encode()) for data in (named, bcc)]
        first = stored(world, numbered[0], WILD)
        faults = FaultInjector(at, FailureMode.GONE_AFTER)
        with suppress(ProcessKilled):
            world.app(SALES, faults.stores(world.stores)).router.route(route_request(first), tried=tried)
        copy = stored(world, numbered[1], WILD, mailbox="office")
        route(world, copy, {key: value for key, value in WILD.items() if "sales" not in key})
        route(world, first, later, tried=True)
        duplicates = assert_originals(world)
        if faults.count < at:
            break
    else:
        pytest.fail("it did not come to its end")
    assert duplicates > 3


def test_4_4_a_wildcard_copy_of_a_duplicate_is_a_duplicate_of_the_original(
    world: ReplayFixture,
) -> None:
    first, second = stored(world, WINNER), stored(world, SAME_CONTENT)
    route(world, first)
    route(world, second)
    copy = stored(world, SAME_ID, mailbox="office")
    route(world, copy, {key: value for key, value in WILD.items() if "sales" not in key})
    entry = duplicate(world, copy)
    assert (entry["recipient"], entry["duplicate_of"]["arrival"]) == ("*", first.arrival)
    assert_originals(world)


def test_8_5_a_copy_of_a_duplicate_whose_original_was_erased_names_the_duplicate(world: ReplayFixture) -> None:
    first, second = stored(world, WINNER), stored(world, SAME_CONTENT)
    route(world, first)
    route(world, second)
    erased = receipt(world, first)
    forget(world.app(SALES), erased.message, really=True, progress=lambda *_: None, waiting=lambda *_: None)
    assert receipt(world, first).state is State.ERASED
    third = stored(world, SAME_CONTENT, mailbox="office")
    route(world, third)
    assert duplicate(world, third)["duplicate_of"] == duplicate(world, second)["duplicate_of"]
    assert receipt(world, third).outcomes == {"sales@example.com": f"duplicate {first.arrival}"}
    claims = [record for record in world.stores.records.scan(Table.CLAIMS) if record.values["owner"] == first.arrival]
    assert claims == [], "nothing is claimed for what was erased"


def test_8_5_a_claim_taken_for_a_copy_that_is_erased_meanwhile_is_deleted(quick: ReplayFixture) -> None:
    world = quick
    first = stored(world, SAME_CONTENT)
    faults = FaultInjector(next(at for at in range(1, 30) if _has_claimed_raw_alone(world, at)), FailureMode.GONE_AFTER)
    with suppress(ProcessKilled):
        world.app(SALES, faults.stores(world.stores)).router.route(route_request(first), tried=True)
    copy = stored(world, SAME_CONTENT, mailbox="office")

    class Erasing:
        """Records that erase the first arrival as soon as the copy claims for it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.stores.records, name)

        def create(self, table: Table, key: str, values: Any) -> bool:
            fixture = world.stores.records.create(table, key, values)
            if table is Table.CLAIMS and values["owner"] == first.arrival:
                world.stores.records.merge(Table.RECEIPTS, first.arrival, {"state": State.ERASED.value, "message": ""})
            return fixture

    erasing = replace(world.stores, records=Erasing())
    with pytest.raises(ServiceUnavailable):
        world.app(SALES, erasing).router.route(route_request(copy))
    left = [record for record in world.stores.records.scan(Table.CLAIMS) if record.values["owner"] == first.arrival]
    assert {item.values["kind"] for item in left if item.values["recipient"] != "*"} == {"raw"}
    world.stores.records.delete_many(Table.CLAIMS, [item.key for item in left])
    route(world, copy, tried=True)
    assert set(receipt(world, copy).results()) == {"sales@example.com"}


def _has_claimed_raw_alone(world: ReplayFixture, at: int) -> bool:
    """Return whether an attempt that ends after this operation holds exactly the first claim on its recipient.

    It counts as the second one: the first creates all claims in one transaction.
    """
    probe = stored(world, SAME_CONTENT.replace(b"Chairs", f"probe {at}".encode()))
    faults = FaultInjector(at, FailureMode.GONE_AFTER)
    with suppress(ProcessKilled):
        world.app(SALES, faults.stores(world.stores)).router.route(route_request(probe), tried=True)
    claims = [
        record.values for record in world.stores.records.scan(Table.CLAIMS) if record.values["owner"] == probe.arrival
    ]
    return [claim["kind"] for claim in claims if claim["recipient"] == "sales@example.com"] == ["raw"]


def test_4_4_a_replay_that_crashed_is_finished_after_routes_changed(quick: ReplayFixture) -> None:
    """It may have claimed recipients that the current routes do not match, and other mail duplicates it."""
    world = quick
    data = letter("p", to="billing@example.com, sales@example.com")
    for at in range(1, 40):
        message = data.replace(b"Chairs", str(at).encode())
        first = stored(world, message)
        route(world, first)
        request = replay_request(world.stores, first, f"unhandled/{first.mailbox}/x")
        faults = FaultInjector(at, FailureMode.GONE_AFTER)
        with suppress(ProcessKilled):
            world.app(BOTH, faults.stores(world.stores)).router.route(request)
        copy = stored(world, message, BILLING, mailbox="office")
        route(world, copy, BILLING)
        world.app(NOBODY).router.route(request, tried=True)
        assert_originals(world)
        if faults.count < at:
            return
    pytest.fail("it did not come to its end")
