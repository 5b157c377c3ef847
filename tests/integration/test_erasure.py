"""`forget` (rule 8.5) erases the bytes, records and results of a message or a person, on every storage."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mailroom_cli.commands.forget import refusals
from shared.documents.blob_paths import parsed_path, raw_path
from shared.errors import ConfigurationError, MessageMissing
from shared.keys import batch_prefix
from shared.operations.search import ArrivalQuery, find_arrivals
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import Storage, Table
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import KEEP, OFFICE_ONLY, SUBJECT, TO_BOTH, dump_storage, run_forget
from tests.integration.replay_fixture import BILLING, BOTH, CLERK, ReplayFixture, letter
from tests.integration.stored_arrivals import route_request
from tests.servers.pump import work_until_idle

OTHER = letter("billing@example.com", 2, "another text").replace(b"a@b.example", b"ann@customer.example")


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def left_of(stores: Storage, message: str) -> list[str]:
    """Return the paths that contain a message's id."""
    return [path for path in stores.blobs.list() if message in path]


def test_8_5_a_message_is_erased_with_all_its_artifacts_and_nothing_else(world: ReplayFixture) -> None:
    world.poll_and_route(KEEP, TO_BOTH, OTHER)
    world.poll_and_route(KEEP, TO_BOTH, mailbox="office")
    assert len(world.receipts()) == 3
    before = {path: world.stores.blobs.read(path) for path in world.stores.blobs.list()}
    [other] = find_arrivals(world.stores.records, ArrivalQuery(sender="ann@customer.example"))
    claims = {
        record.key for record in world.stores.records.scan(Table.CLAIMS) if record.values["owner"] == other.arrival
    }

    assert {receipt.subject for receipt in world.receipts()} == {SUBJECT, "2"}
    assert {receipt.sent for receipt in world.receipts()} == {datetime(2026, 11, 24, 9, tzinfo=UTC)}
    listed = run_forget(world, identity(TO_BOTH)[:10], really=False)
    assert {path: world.stores.blobs.read(path) for path in world.stores.blobs.list()} == before
    assert len(world.receipts()) == 3
    went = run_forget(world, identity(TO_BOTH)[:10])

    assert went.artifacts == listed.artifacts, "the list says what goes"
    [artifacts] = went.artifacts
    assert {*artifacts.results, *artifacts.records, *artifacts.bytes} == {
        path for path in before if identity(TO_BOTH) in path
    }
    after = {path: world.stores.blobs.read(path) for path in world.stores.blobs.list()}
    assert after == {path: data for path, data in before.items() if identity(TO_BOTH) not in path}
    left = list(world.stores.records.scan(Table.CLAIMS))
    assert {record.key for record in left if record.values["owner"]} == claims
    assert {record.values["kind"] for record in left if not record.values["owner"]} == {"message-id"}
    content = dump_storage(world.stores)
    for gone in (identity(TO_BOTH), "sales@example.com", "a@b.example", "1@b.example", SUBJECT):
        assert gone not in content, gone
    for receipt in world.receipts():
        assert (receipt.sent is None) == (receipt.state is State.ERASED)
    assert identity(OTHER) in content
    assert sorted(receipt.state for receipt in world.receipts()) == [State.ERASED, State.ERASED, State.ROUTED]
    assert run_forget(world, other.arrival, really=False).groups[0].message == identity(OTHER)


def test_8_5_an_erased_message_kept_in_the_mailbox_is_not_collected_again(world: ReplayFixture) -> None:
    world.poll_and_route(KEEP, TO_BOTH)
    run_forget(world, identity(TO_BOTH))
    assert list(world.servers["support"].messages.values()) == [TO_BOTH]
    for record in list(world.stores.records.scan(Table.MAILBOXES)):
        world.stores.records.delete_many(Table.MAILBOXES, [record.key])  # the mark that it is passed over by, too
    world.poll_and_route(KEEP)
    assert world.servers["support"].downloads == 1
    assert left_of(world.stores, identity(TO_BOTH)) == []
    assert next(
        iter(find_arrivals(world.stores.records, ArrivalQuery(id=world.receipts()[0].arrival[:8])))
    ).is_fully_erased


def test_8_5_an_erased_message_that_arrives_again_is_new_mail(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, TO_BOTH)
    run_forget(world, identity(TO_BOTH))
    world.poll_and_route(BOTH, TO_BOTH)
    assert world.stores.blobs.read(raw_path(identity(TO_BOTH))) == TO_BOTH
    assert sum(world.results().values()) == 2
    assert not world.paths("duplicates/")


def test_8_5_a_sender_is_erased_for_all_recipients(world: ReplayFixture) -> None:
    spam = letter("nobody@example.com", 3).replace(b"a@b.example", b"ann@customer.example")
    world.poll_and_route(BOTH, TO_BOTH, OTHER, spam)
    world.poll_and_route(BOTH, OTHER, mailbox="office")
    outcome = run_forget(world, " Ann@Customer.Example ")
    assert {group.message for group in outcome.groups} == {identity(OTHER), identity(spam)}
    content = dump_storage(world.stores)
    for gone in ("ann@customer.example", "nobody@example.com", identity(OTHER), identity(spam)):
        assert gone not in content, gone
    assert left_of(world.stores, identity(TO_BOTH))
    assert sum(world.results().values()) == 2
    assert run_forget(world, "ann@customer.example").groups == []


def test_8_5_a_recipient_is_erased_and_the_bytes_stay_for_another_arrival(world: ReplayFixture) -> None:
    world.poll_and_route(OFFICE_ONLY, TO_BOTH)
    world.poll_and_route(OFFICE_ONLY, TO_BOTH, mailbox="office")
    assert len(world.paths("routed/")) == 2
    outcome = run_forget(world, "sales@example.com")
    assert [artifacts.kept for artifacts in outcome.artifacts] == [{identity(TO_BOTH)}]
    assert list(world.results()) == [("billing", "billing@example.com")]
    assert world.stores.blobs.read(raw_path(identity(TO_BOTH))) == TO_BOTH
    assert world.stores.blobs.exists(parsed_path(identity(TO_BOTH)))
    claimed = {str(record.values["recipient"]) for record in world.stores.records.scan(Table.CLAIMS)}
    assert claimed == {"billing@example.com", ""}, "of a claim on a Message-ID the place stays"
    assert [artifact.kept for artifact in run_forget(world, "billing@example.com").artifacts] == [set()]
    assert list(world.stores.blobs.list()) == []


def test_8_5_unhandled_mail_is_erased_with_the_recipients_it_names(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, letter("nobody@example.com"), letter("sales@example.com, nobody@example.com", 2))
    [group] = run_forget(world, "nobody@example.com").groups
    assert group.message == identity(letter("nobody@example.com"))
    assert list(world.results()) == [("sales", "sales@example.com")], "this was for another recipient"


def test_8_5_mail_that_waits_to_be_routed_is_refused(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, TO_BOTH)
    world.servers["office"].deliver(TO_BOTH)
    app = world.app(BOTH)
    app.poller.poll(Poll("office", PollReason.MANUAL))
    for what in (identity(TO_BOTH), "sales@example.com", "a@b.example"):
        outcome = run_forget(world, what)
        assert (outcome.groups, outcome.artifacts) == ([], [])
        assert outcome.unread == int("@" in what)
        assert refusals(world.stores.records, outcome) == [
            f"message {identity(TO_BOTH)[:8]}: it waits to be routed; the app routes it, or `mailroom run-once`"
        ]
    assert left_of(world.stores, identity(TO_BOTH))
    work_until_idle(world.app(BOTH))
    assert refusals(world.stores.records, run_forget(world, identity(TO_BOTH))) == []
    assert list(world.stores.blobs.list()) == []


def test_8_5_mail_that_waits_for_a_replay_is_refused(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, letter("sales@example.com"))
    world.request_replay(BOTH, world.only_path("unhandled/"))
    assert len(refusals(world.stores.records, run_forget(world, "a@b.example"))) == 1
    work_until_idle(world.app(BOTH))
    assert refusals(world.stores.records, run_forget(world, "a@b.example")) == []
    assert list(world.stores.blobs.list()) == []


def test_8_5_results_that_replays_wrote_are_erased_too(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, TO_BOTH)
    first = world.only_path("routed/")
    moved = {"ROUTES__accounts__ADDRESS": "billing@example.com"}
    world.replay(moved, first, reissue=True)
    world.replay({"ROUTES__books__ADDRESS": "billing@example.com"}, world.only_path("routed/accounts/"), reissue=True)
    assert len(world.paths("routed/")) == 3
    run_forget(world, identity(TO_BOTH))
    assert list(world.stores.blobs.list()) == []


def test_8_5_a_thread_is_erased_with_its_last_message(world: ReplayFixture) -> None:
    reply = letter("billing@example.com", 2, "yes").replace(b"\r\n\r\n", b"\r\nIn-Reply-To: <1@b.example>\r\n\r\n", 1)
    world.poll_and_route(BOTH, TO_BOTH, reply)

    def content() -> set[str]:
        return {str(record.values["text"]) for record in world.stores.records.scan(Table.CONVERSATIONS)}

    assert content() == {"1@b.example", "2@b.example"}
    run_forget(world, identity(TO_BOTH))
    assert content() == {"2@b.example"}
    run_forget(world, identity(reply))
    assert content() == set()


def test_8_5_a_dead_letter_is_erased_by_its_id(world: ReplayFixture) -> None:
    world.dead_letter(BOTH, TO_BOTH)
    assert run_forget(world, "a@b.example").unread == 1
    run_forget(world, identity(TO_BOTH))
    assert list(world.stores.blobs.list()) == []
    assert [receipt.last_error for receipt in world.receipts()] == [""]


def test_8_5_of_a_skipped_message_the_record_is_erased_and_the_mail_stays(world: ReplayFixture) -> None:
    small = {**BOTH, "MAILBOXES__support__MAX_MESSAGE_BYTES": "20"}
    world.poll_and_route(small, TO_BOTH)
    [receipt] = world.receipts()
    [artifacts] = run_forget(world, receipt.arrival).artifacts
    assert len(artifacts.records) == 1
    assert list(world.stores.blobs.list()) == []
    assert [receipt.state for receipt in world.receipts()] == [State.OVERSIZED]
    world.poll_and_route(BOTH)
    assert world.stores.blobs.exists(raw_path(identity(TO_BOTH)))


def test_8_5_an_id_prefix_that_several_messages_share_is_rejected(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, TO_BOTH)
    [record] = world.stores.records.scan(Table.RECEIPTS)
    world.create_receipt(identity(TO_BOTH)[:60] + "0000", {**record.values, "message": "ab" * 32})
    with pytest.raises(ConfigurationError, match="beginning of 2 ids") as refused:
        run_forget(world, identity(TO_BOTH)[:20])
    assert [line.split()[0] for line in refused.value.errors[1:]] == sorted(["abababab", identity(TO_BOTH)[:61]])
    with pytest.raises(MessageMissing):
        run_forget(world, "0" * 20)
    assert left_of(world.stores, identity(TO_BOTH))


def test_8_5_an_erased_message_is_not_routed_by_a_route_request(world: ReplayFixture) -> None:
    app = world.poll_and_route(BOTH, TO_BOTH)
    run_forget(world, identity(TO_BOTH))
    [receipt] = world.receipts()
    for request in (route_request(receipt), RouteRequest(batch_prefix(receipt.outbox))):
        assert app.router.route(request) == app.router.route(request, tried=True) == []
        assert app.router.dead_letter(request) == []
    assert list(world.stores.blobs.list()) == []
    assert Receipt.from_record(next(world.stores.records.scan(Table.RECEIPTS))).state is State.ERASED


def test_8_5_the_current_routes_do_not_matter(world: ReplayFixture) -> None:
    world.poll_and_route(CLERK, letter("clerk@example.com"))
    run_forget(world, identity(letter("clerk@example.com")))  # by an app that has no such route any more
    assert list(world.stores.blobs.list()) == []
