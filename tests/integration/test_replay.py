"""Replays (docs/how-to/replay.md, rule 8.4): results are kept, added recipients get one, and records are marked."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.clock import utc_now
from shared.dispatch.outbox import Replay
from shared.documents.blob_paths import raw_path
from shared.errors import ConfigurationError, MessageMissing
from shared.mime.parser import Message, parse
from shared.operations.replay_preview import ReplayPreview
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import State
from shared.storage.base import Table
from tests.end_to_end.command import identity
from tests.integration.replay_fixture import BILLING, BOTH, CLERK, ReplayFixture, letter
from tests.servers.pump import work_until_idle

TO_BOTH = letter("sales@example.com, billing@example.com")


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def test_8_4_a_dead_letter_is_routed_by_a_replay_and_its_record_marked(world: ReplayFixture) -> None:
    record = world.dead_letter(BILLING, TO_BOTH)
    assert world.receipts()[0].state is State.FAILED
    before = world.read(record)
    assert before["resolved"] is None
    world.replay(BOTH, record)
    assert world.results() == Counter({("sales", "sales@example.com"): 1, ("billing", "billing@example.com"): 1})
    [receipt] = world.receipts()
    assert receipt.state is State.ROUTED
    after = world.read(record)
    assert after["resolved"]["outcome"] == "routed"
    assert sorted(after["resolved"]["results"]) == world.paths("routed/")
    assert {**after, "resolved": None} == before, "but for the mark it is what it was"
    assert world.outbox_size() == 0


def test_8_4_a_replay_that_fails_is_recorded_and_keeps_the_outcome(
    world: ReplayFixture, caplog: pytest.LogCaptureFixture
) -> None:
    world.poll_and_route(BILLING, letter("sales@example.com"))
    record = world.only_path("unhandled/")
    world.request_replay(BOTH, record)
    [route_request] = world.take_route_requests()
    router = world.app_with_failing_parser(BOTH).router
    with pytest.raises(ValueError, match="an unexpected error") as caught:
        router.route(route_request)
    router.record_error(route_request, caught.value)
    [path] = router.dead_letter(route_request)
    assert path == world.only_path("failed/")
    assert "message-failed" in caplog.text
    assert world.read(record)["resolved"] is None
    assert world.receipts()[0].state is State.ROUTED
    assert world.outbox_size() == 0
    world.replay(BOTH, path)
    assert world.results() == Counter({("sales", "sales@example.com"): 1})
    assert [world.read(item)["resolved"]["outcome"] for item in (path, record)] == ["routed", "routed"]
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1


def test_8_4_a_replay_that_fails_a_second_time_opens_its_record_again(world: ReplayFixture) -> None:
    record = world.dead_letter(BILLING, letter("sales@example.com"))
    world.replay(BILLING, record)
    assert world.read(record)["resolved"]["outcome"] == "unhandled"
    world.request_replay(BOTH, world.only_path("unhandled/"))
    [route_request] = world.take_route_requests()
    router = world.app_with_failing_parser(BOTH).router
    router.record_error(route_request, MessageMissing("the second time"))
    assert router.dead_letter(route_request) == [record]
    assert world.read(record)["resolved"] is None
    assert world.read(record)["error"] == "the second time"


def test_a_recipient_who_has_a_result_keeps_it_and_a_new_one_gets_one(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, letter("billing@example.com, clerk@example.com"))
    world.poll_and_route(
        BILLING, letter("billing@example.com, clerk@example.com", text="text\r\n\r\nwith a footer"), mailbox="office"
    )
    first, path = world.only_path("routed/"), world.only_path("duplicates/office/")
    before = world.stores.blobs.read(first)
    world.replay(CLERK, path)
    assert world.stores.blobs.read(first) == before
    assert world.results() == Counter({("billing", "billing@example.com"): 1, ("clerk", "clerk@example.com"): 1})
    record = world.read(path)
    assert [duplicate["recipient"] for duplicate in record["duplicates"]] == ["billing@example.com"]
    assert record["resolved"] is None, "for billing@ it is a duplicate still"
    [receipt] = [receipt for receipt in world.receipts() if receipt.mailbox == "office"]
    assert sorted(what.split(" ")[0] for what in receipt.outcomes.values()) == ["duplicate", "routed"]


def test_a_result_that_a_consumer_deleted_is_not_written_again(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, letter("billing@example.com, sales@example.com"))
    taken = world.only_path("routed/")
    world.stores.blobs.delete_many([taken])
    [receipt] = world.receipts()
    [request] = world.publish(Replay(receipt.arrival, receipt.mailbox, "failed/x"))
    assert world.app(BOTH).router.route(request) == ["routed"]
    assert world.only_path("routed/").startswith("routed/sales/")
    [receipt] = world.receipts()
    assert receipt.outcomes["billing@example.com"] == f"routed {taken}"


def test_a_replay_without_a_match_leaves_the_record_unresolved(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, letter("sales@example.com"))
    record = world.only_path("unhandled/")
    before = world.stores.blobs.read(record)
    world.replay(BILLING, record)
    assert world.stores.blobs.read(record) == before
    world.replay({**BILLING, "ROUTES__picky__ADDRESS": "sales@example.com", "ROUTES__picky__SENDERS": "x@y.z"}, record)
    assert world.read(record)["reason"] == "conditions", "it says why by the latest routes"
    assert world.read(record)["resolved"] is None
    assert world.receipts()[0].outcomes == {"*": "unhandled conditions"}


def test_a_replay_keeps_results_when_routes_are_gone(world: ReplayFixture) -> None:
    record = world.dead_letter(BILLING, letter("billing@example.com"))
    world.replay(BILLING, record)
    [before] = world.receipts()
    world.replay({"ROUTES__other__ADDRESS": "other@example.com"}, record)
    [after] = world.receipts()
    assert (after.state, after.outcomes) == (before.state, before.outcomes)
    assert world.results() == Counter({("billing", "billing@example.com"): 1})
    assert world.paths("unhandled/") == []


def test_a_blocked_message_is_routed_once_its_sender_is_not(world: ReplayFixture) -> None:
    world.poll_and_route(
        {**BILLING, "MAILBOXES__support__BLOCKED_SENDERS": "*@b.example"}, letter("billing@example.com")
    )
    record = world.only_path("blocked/")
    world.replay(BILLING, record)
    assert world.results() == Counter({("billing", "billing@example.com"): 1})
    assert world.read(record)["resolved"]["outcome"] == "routed"


def test_reissue_writes_a_new_result_that_names_the_replaced_one(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, TO_BOTH)
    first = world.only_path("routed/billing/")
    world.request_replay(BOTH, first, reissue=True)
    [route_request] = world.take_route_requests()
    app = world.app(BOTH)
    assert [app.router.route(route_request) for _ in range(2)] == [["routed"], []], "delivered twice"
    [new] = set(world.paths("routed/billing/")) - {first}
    assert new.startswith(first.removesuffix(".json") + "-")
    assert len(new) == len(first) + 13
    assert world.read(new)["replaces"] == first
    assert {**world.read(new), "replaces": None} == world.read(first)
    assert len(world.paths("routed/sales/")) == 1, "the other recipient has its result, and keeps it"
    [receipt] = world.receipts()
    assert receipt.outcomes["billing@example.com"] == f"routed {new}"
    world.replay(BOTH, new, reissue=True)
    assert len(world.paths("routed/billing/")) == 3
    world.replay(BOTH, "routed/", reissue=True)
    assert len(world.paths("routed/")) == 6, "each first result is written again, and not its replacement"
    assert world.outbox_size() == 0


def test_sweep_publishes_a_lost_replay_again_unchanged(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, TO_BOTH)
    first = world.only_path("routed/billing/")
    world.request_replay(BOTH, first, reissue=True)
    [lost] = world.take_route_requests()
    [receipt] = world.receipts()
    assert world.app(BOTH).router.route(RouteRequest(receipt.outbox)) == []
    assert world.outbox_size() == 1, "what is done is not the replay"
    app = world.app(BOTH)
    assert app.router.sweep(timedelta(0)) == 1
    assert world.take_route_requests() == [replace(lost, retries=1)], "an attempt may have been made"
    assert app.router.sweep(timedelta(0)) == 1
    work_until_idle(app)
    assert len(world.paths("routed/billing/")) == 2
    assert world.outbox_size() == 0


def test_a_first_attempt_that_a_replay_overtakes_leaves_no_unresolved_record(world: ReplayFixture) -> None:
    world.servers["support"].deliver(TO_BOTH)
    app = world.app({"ROUTES__rest__ADDRESS": "rest@example.com"})
    app.poller.poll(Poll("support", PollReason.MANUAL))
    [first] = world.take_route_requests()
    [arrived] = world.receipts()

    def read(data: bytes) -> Message:
        [request] = world.publish(Replay(arrived.arrival, arrived.mailbox, "unhandled/x"))
        assert world.app(BOTH).router.route(request) == ["routed"]
        return parse(data)

    replace(app.router, parse=read).route(first)
    assert world.read(world.only_path("unhandled/"))["resolved"]["results"] == world.paths("routed/")
    [receipt] = world.receipts()
    assert set(receipt.outcomes) == {"billing@example.com", "sales@example.com"}
    assert world.outbox_size() == 0


def test_records_are_found_by_day_kind_and_mailbox(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, letter("sales@example.com", 1), letter("clerk@example.com", 2))
    world.poll_and_route(BILLING, letter("clerk@example.com", 3), mailbox="office")
    today = utc_now().date()
    yesterday = today - timedelta(days=1)
    for options, count in (
        ({"since": today}, 3),
        ({"since": yesterday, "until": today}, 3),
        ({"since": today - timedelta(days=40), "until": today, "mailbox": "support"}, 2),
        ({"since": today, "until": today, "mailbox": "office"}, 1),
        ({"until": yesterday}, 0),
        ({"since": today + timedelta(days=1)}, 0),
        ({"since": today, "kind": "failed"}, 0),
        ({"since": today, "kind": "unhandled"}, 3),
    ):
        assert world.request_replay(BOTH, dry_run=True, **options).counts.total() == count, options
    outcome = world.request_replay(BOTH, since=today, dry_run=True)
    assert outcome.counts == Counter(
        {
            ("unhandled", "support", "routed"): 1,
            ("unhandled", "support", "unhandled"): 1,
            ("unhandled", "office", "unhandled"): 1,
        }
    )
    assert world.take_route_requests() == []
    assert world.outbox_size() == 0
    world.replay(BOTH, since=today)
    again = world.replay(BOTH, since=today)
    assert (again.counts.total(), again.resolved) == (2, 1)


def test_a_path_that_cannot_be_replayed_is_rejected_with_the_reason(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, letter("sales@example.com"), letter("billing@example.com", 2))
    record, result = world.only_path("unhandled/"), world.only_path("routed/")
    for path in (result, "messages/", "unreadable/support/x", "oversized/support/", "unhandled", "unhandled/../x", "/"):
        with pytest.raises(ConfigurationError):
            world.request_replay(BILLING, path)
    with pytest.raises(ConfigurationError):
        world.request_replay(BILLING, record, reissue=True)
    with pytest.raises(MessageMissing):
        world.request_replay(BILLING, "unhandled/nowhere/")
    world.stores.blobs.create("unhandled/support/2026/11/24/junk.json", b"[1]", content_type="application/json")
    [receipt] = [receipt for receipt in world.receipts() if "*" in receipt.outcomes]
    world.stores.records.delete_many(Table.RECEIPTS, [receipt.arrival])
    outcome = world.request_replay(BILLING, "unhandled/")
    assert outcome.counts.total() == 0
    assert sorted(outcome.failures) == sorted(
        [
            f"{record}: its arrival has no receipt, or was erased",
            "unhandled/support/2026/11/24/junk.json is not a record that Mailroom wrote: it names no arrival",
        ]
    )
    assert world.take_route_requests() == []


def test_a_replay_of_bytes_that_are_gone_says_so(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, letter("sales@example.com"))
    [receipt] = world.receipts()
    world.stores.blobs.delete_many([raw_path(receipt.message)])
    outcome = world.request_replay(BOTH, "unhandled/", dry_run=True)
    assert outcome.counts == Counter({("unhandled", "support", "bytes missing"): 1})
    world.request_replay(BOTH, "unhandled/")
    [route_request] = world.take_route_requests()
    with pytest.raises(MessageMissing, match=re.escape(raw_path(receipt.message))):
        world.app(BOTH).router.route(route_request)


def test_records_and_results_are_found_by_the_beginning_of_an_id(world: ReplayFixture) -> None:
    unhandled, routed = letter("sales@example.com"), letter("billing@example.com", 2)
    world.poll_and_route(BILLING, unhandled, routed)
    record, result = world.only_path("unhandled/"), world.only_path("routed/")
    outcome = world.request_replay(BOTH, identity(unhandled)[:8], dry_run=True)
    [message] = outcome.messages
    assert (message.record.path, message.preview) == (record, ReplayPreview("routed", ("sales",)))
    with pytest.raises(MessageMissing, match="has no record to replay; its outcome is: routed"):
        world.request_replay(BOTH, identity(routed)[:8])
    with pytest.raises(MessageMissing, match="has no result to write again; its outcome is: unhandled"):
        world.request_replay(BOTH, identity(unhandled)[:8], reissue=True)
    with pytest.raises(MessageMissing, match="there is no message"):
        world.request_replay(BOTH, "0" * 8)
    world.replay(BOTH, identity(routed)[:8], reissue=True)
    [new] = set(world.paths("routed/billing/")) - {result}
    assert world.read(new)["replaces"] == result
    world.replay(BOTH, identity(unhandled))
    assert world.read(record)["resolved"]["outcome"] == "routed"
    world.poll_and_route({**BOTH, "MAILBOXES__support__MAX_MESSAGE_BYTES": "20"}, letter("sales@example.com", 3))
    [oversized] = [receipt for receipt in world.receipts() if not receipt.message]
    with pytest.raises(ConfigurationError, match="MAX_MESSAGE_BYTES"):
        world.request_replay(BOTH, oversized.arrival[:8])


def test_an_erased_message_is_not_replayed(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, letter("sales@example.com"))
    world.request_replay(BOTH, "unhandled/")
    [route_request] = world.take_route_requests()
    [receipt] = world.receipts()
    world.stores.records.merge(Table.RECEIPTS, receipt.arrival, {"state": State.ERASED.value})
    assert world.request_replay(BOTH, "unhandled/").failures == [
        f"{world.only_path('unhandled/')}: its arrival has no receipt, or was erased"
    ]
    assert world.app(BOTH).router.route(route_request) == []
    assert world.results() == Counter()
    assert world.outbox_size() == 0
