"""Replays and the attempts before and beside them: previews, retries, and old errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import ServiceUnavailable
from shared.mime.parser import Message, parse
from shared.observability import metrics
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import State
from shared.storage.base import QueueName, Table
from tests.integration.replay_fixture import BILLING, BOTH, CLERK, ReplayFixture, letter
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled

ELSEWHERE = {"ROUTES__accounts__ADDRESS": "billing@example.com"}
"""The mail of billing@, by a route with another name."""
NOBODY = {"ROUTES__rest__ADDRESS": "rest@example.com"}


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def arrived(world: ReplayFixture) -> RouteRequest:
    """Store a message without routing it."""
    world.servers["support"].deliver(letter("billing@example.com"))
    world.app(BILLING).poller.poll(Poll("support", PollReason.MANUAL))
    [route_request] = world.take_route_requests()
    return route_request


def test_a_dry_run_knows_a_duplicate_that_holds_a_claim_of_its_own(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, letter("billing@example.com"))
    world.poll_and_route(BILLING, b"X-Gateway: 1\r\n" + letter("billing@example.com"), mailbox="office")
    record = world.only_path("duplicates/office/")
    assert world.read(record)["duplicates"][0]["by"] == "content", "so that the claim of the raw bytes is its own"
    foretold = world.request_replay(BILLING, record, dry_run=True).counts
    assert foretold == Counter({("duplicates", "office", "duplicate"): 1})
    world.replay(BILLING, record)
    assert len(world.paths("routed/")) == 1


@pytest.mark.parametrize(("routes", "foretold"), [(ELSEWHERE, "a new result"), (NOBODY, "no new result")])
def test_a_dry_run_says_whether_reissue_would_write_a_result(
    world: ReplayFixture, routes: dict[str, str], foretold: str
) -> None:
    world.poll_and_route(BILLING, letter("billing@example.com"))
    first = world.only_path("routed/")
    outcome = world.request_replay(routes, first, reissue=True, dry_run=True)
    assert outcome.counts == Counter({("routed", "support", foretold): 1})
    world.replay(routes, first, reissue=True)
    assert len(world.paths("routed/")) == (2 if foretold == "a new result" else 1)


def test_reissue_is_about_one_recipient_and_keeps_the_outcomes_of_the_others(world: ReplayFixture) -> None:
    mail = letter("billing@example.com, clerk@example.com, sales@example.com")
    world.poll_and_route(BILLING, mail, mailbox="office")
    world.poll_and_route(BOTH, b"X-Gateway: 1\r\n" + mail)
    first, record = world.only_path("routed/sales/"), world.only_path("duplicates/support/")
    before = world.stores.blobs.read(record)
    outcomes = {receipt.arrival: receipt.outcomes for receipt in world.receipts()}
    world.replay(CLERK, first, reissue=True)
    [new] = set(world.paths("routed/sales/")) - {first}
    [changed] = [receipt for receipt in world.receipts() if receipt.outcomes != outcomes[receipt.arrival]]
    assert changed.outcomes == {**outcomes[changed.arrival], "sales@example.com": f"routed {new}"}
    assert changed.outcomes["billing@example.com"].startswith("duplicate ")
    assert world.stores.blobs.read(record) == before
    assert world.paths("routed/clerk/") == []


def test_reissue_of_a_wildcard_result_writes_nothing_once_a_recipient_is_named(world: ReplayFixture) -> None:
    wildcard = {"ROUTES__any__ADDRESS": "*", "ROUTES__any__SENDERS": "*@b.example"}
    world.poll_and_route(wildcard, letter("sales@example.com"))
    first = world.only_path("routed/any/")
    for routes in ({**BOTH, **wildcard}, NOBODY):
        assert world.request_replay(routes, first, reissue=True, dry_run=True).counts == {
            ("routed", "support", "no new result"): 1
        }
        world.replay(routes, first, reissue=True)
        assert world.only_path("routed/") == first, "the consumers of sales did not ask for it"
    [receipt] = world.receipts()
    assert (receipt.outcome, receipt.outcomes) == ("routed", {"*": f"routed {first}"})
    assert world.outbox_size() == 0


@pytest.mark.parametrize("way", [FailureMode.GONE_BEFORE, FailureMode.REPLY_LOST])
def test_8_1_a_retry_of_reissue_after_a_change_of_routes_writes_no_second_result(
    way: FailureMode, tmp_path: Path
) -> None:
    routes = Counter[str]()
    for at in range(1, 100):
        world = ReplayFixture(f"folder:{tmp_path / str(at)}")
        world.poll_and_route(BILLING, letter("billing@example.com"))
        first = world.only_path("routed/")
        world.request_replay(BILLING, first, reissue=True)
        [route_request] = world.take_route_requests()
        faults = FaultInjector(at, way)
        with suppress(ProcessKilled, ServiceUnavailable):
            world.app(BILLING, faults.stores(world.stores)).router.route(route_request)
        world.app(ELSEWHERE).router.route(route_request)
        [replaced] = [path for path in world.paths("routed/") if world.read(path)["replaces"] == first]
        [receipt] = world.receipts()
        assert receipt.outcomes == {"billing@example.com": f"routed {replaced}"}, faults.names
        routes[replaced.split("/")[1]] += 1
        world.stores.close()
        if faults.count < at:
            break
    assert min(routes["billing"], routes["accounts"]) >= 3, "tries ended before its place was settled, and after"


def test_8_4_an_error_that_a_later_attempt_survived_does_not_dead_letter_a_replay(world: ReplayFixture) -> None:
    route_request = arrived(world)
    failing = world.app_with_failing_parser(NOBODY).router
    with pytest.raises(ValueError, match="an unexpected error") as caught:
        failing.route(route_request)
    failing.record_error(route_request, caught.value)
    assert world.receipts()[0].last_error == "an unexpected error: ValueError"
    app = world.app(NOBODY)
    app.router.route(route_request)
    assert world.receipts()[0].last_error == ""
    world.request_replay(BOTH, world.only_path("unhandled/"))
    [untried] = world.take_route_requests()
    assert app.router.dead_letter(untried) == [], "the host could not start a worker, five times"
    assert world.paths("failed/") == []
    assert world.stores.queues[QueueName.ROUTE_REQUESTS].length() == 1, "it is tried again later"
    assert world.outbox_size() == 1


@pytest.mark.parametrize("first", ["given up", "routed"])
def test_8_4_a_dead_letter_beside_a_successful_attempt_leaves_no_unresolved_record(
    world: ReplayFixture, first: str
) -> None:
    """Two route requests of one arrival, whichever ends first."""
    route_request = arrived(world)
    router, app = world.app_with_failing_parser(BILLING).router, world.app(BILLING)
    router.record_error(route_request, ValueError("an unexpected error"))

    if first == "given up":

        def read(data: bytes) -> Message:
            assert len(router.dead_letter(route_request)) == 1
            return parse(data)

        assert replace(app.router, parse=read).route(route_request) == ["routed"]
    else:
        create = router.storage.blobs.create

        class _Late:
            """Another worker routes the arrival between the write of its receipt and of its record."""

            def __getattr__(self, name: str) -> object:
                return getattr(world.stores.blobs, name)

            def create(self, path: str, data: bytes, *, content_type: str) -> bool:
                world.stores.records.merge(*routed)
                return create(path, data, content_type=content_type)

        [before] = world.receipts()
        values = {"state": "routed", "outcome": "routed", "outcomes": '{"billing@example.com": "routed routed/x"}'}
        routed = (Table.RECEIPTS, before.arrival, values)
        late = replace(router.storage, blobs=_Late())  # type: ignore[arg-type]  # the rest is the storage's own
        replace(router, storage=late).dead_letter(route_request)
    [receipt] = world.receipts()
    assert receipt.state is State.ROUTED
    resolved = world.read(world.only_path("failed/"))["resolved"]
    assert resolved["outcome"] == "routed"
    assert resolved["results"] == list(receipt.results().values())


def test_the_age_of_a_replayed_message_is_not_measured(world: ReplayFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    ages: list[float] = []

    class _Ages:
        def record(self, age: float, _attributes: object) -> None:
            ages.append(age)

    monkeypatch.setattr(metrics, "routed_age", _Ages())
    world.poll_and_route(BILLING, letter("sales@example.com"))
    assert len(ages) == 1
    world.replay(BOTH, "unhandled/")
    assert len(world.paths("routed/sales/")) == 1
    assert len(ages) == 1
