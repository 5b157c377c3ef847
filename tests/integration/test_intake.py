"""Intake: which messages are collected, and never twice (rules 1.3, 1.11, 8.2, 8.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.documents.blob_paths import raw_path
from shared.errors import RemovalRefused
from shared.receipts import State
from shared.storage.base import Table
from tests.integration.intake_fixture import DAY, IntakeFixture, letter


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeFixture]:
    fixture = IntakeFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def test_1_3_nothing_is_removed_before_it_is_stored_recorded_and_published(world: IntakeFixture) -> None:
    removed: list[bytes] = []

    def must_be_stored(data: bytes) -> None:
        message = hashlib.sha256(data).hexdigest()
        assert world.stores.blobs.read(raw_path(message)) == data
        receipts = [receipt for receipt in world.receipts() if receipt.message == message]
        assert [receipt.removed for receipt in receipts] == [False]
        entry = world.stores.records.get(Table.OUTBOX, receipts[0].outbox)
        assert entry is not None
        assert entry.values["arrival"] == receipts[0].arrival
        requests = world.route_requests()
        assert any(receipts[0].outbox.startswith(request.outbox) for request in requests)
        removed.append(data)

    letters = [letter(number) for number in range(7)]
    world.server.deliver(*letters)
    world.server.before_removal = must_be_stored
    world.poll()
    assert removed == letters
    assert all(receipt.removed for receipt in world.receipts())
    assert len(world.results()) == 7


def test_1_3_keep_downloads_nothing_twice_across_restarts(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    for _ in range(4):
        world.poll()
    world.server.deliver(letter(3))
    world.poll()
    assert sorted(world.server.messages) == [1, 2, 3]
    assert sorted(world.server.downloaded) == [1, 2, 3]
    assert len(world.results()) == 3
    assert not any(receipt.removed for receipt in world.receipts())


def test_1_3_keep_reads_no_receipt_below_the_watermark(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    world.poll()
    world.server.deliver(letter(3))
    world.poll()
    world.poll()
    assert world.server.listings == [None, "1.2", "1.3"]


def test_8_3_a_uid_reused_below_the_watermark_hides_a_message_for_a_day_at_most(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    world.poll()
    world.server.messages[1] = letter(3, 500)
    world.poll()
    assert world.server.downloaded == [1, 2]
    world.time += timedelta(days=1)
    world.poll()
    assert world.server.downloaded == [1, 2, 1]
    world.poll()
    assert world.server.downloads == 3
    assert world.server.listings[-1] == "1.2", "the watermark counts again"


def test_1_3_keep_without_a_watermark_downloads_nothing_twice(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    world.poll()
    keys = [record.key for record in world.stores.records.scan(Table.MAILBOXES)]
    world.stores.records.delete_many(Table.MAILBOXES, keys)
    world.poll()
    assert world.server.listings == [None, None]
    assert world.server.downloads == 2


def test_1_3_a_changed_limit_invalidates_the_watermark(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep", "MAX_MESSAGE_BYTES": "1000"}
    world.server.deliver(letter(1, 2000), letter(2))
    world.poll()
    world.poll()
    assert world.server.listings == [None, "1.2"]
    world.extra["MAX_MESSAGE_BYTES"] = "5000"
    world.poll()
    assert world.server.listings[-1] is None
    assert sorted(world.server.downloaded) == [1, 2]
    assert len(world.results()) == 2


def test_1_3_a_watermark_does_not_pass_a_refused_message(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.refused = {2: "NO later"}
    world.poll()
    world.server.refused = {}
    world.poll()
    assert world.server.listings == [None, "1.1"]
    assert len(world.results()) == 3


def test_1_3_from_keep_to_delete_removes_stored_messages_and_downloads_nothing_again(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    world.poll()
    world.extra = {"AFTER": "delete"}
    world.poll()
    assert world.server.messages == {}
    assert world.server.downloads == 2
    assert len(world.results()) == 2
    assert all(receipt.removed for receipt in world.receipts())


def test_1_3_move_removes_through_the_mailbox(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "move:Archive"}
    world.server.deliver(letter(1))
    world.poll()
    assert world.server.messages == {}
    assert all(receipt.removed for receipt in world.receipts())


def test_1_11_since_a_date_ignores_older_messages(world: IntakeFixture) -> None:
    world.extra = {"SINCE": "2026-11-20"}
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.received = {
        1: datetime(2026, 11, 19, 23, 59, 59, tzinfo=UTC),
        2: datetime(2026, 11, 20, tzinfo=UTC),
    }
    world.poll()
    assert list(world.server.messages) == [1]
    assert sorted(world.server.downloaded) == [2, 3], "a message without a received time is collected"


def test_1_11_since_now_counts_from_first_contact(world: IntakeFixture) -> None:
    world.extra = {"SINCE": "now"}
    world.server.deliver(letter(1))
    world.server.received = {1: DAY - timedelta(seconds=1)}
    world.poll()
    assert list(world.server.messages) == [1]
    world.time = DAY + timedelta(days=1)
    world.server.deliver(letter(2))
    world.server.received[2] = DAY + timedelta(hours=1)
    world.poll()
    assert list(world.server.messages) == [1]
    assert len(world.results()) == 1


def test_1_11_without_since_everything_is_collected_oldest_first(world: IntakeFixture) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.received = {1: DAY - timedelta(days=4000)}
    world.poll()
    assert world.server.downloaded == [1, 2, 3]
    assert world.server.messages == {}


def test_1_11_an_earlier_since_collects_the_older_messages(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep", "SINCE": "2026-11-20"}
    world.server.deliver(letter(1), letter(2))
    world.server.received = {1: DAY - timedelta(days=30), 2: DAY}
    world.poll()
    assert world.server.downloaded == [2]
    world.extra["SINCE"] = "2026-01-01"
    world.poll()
    assert sorted(world.server.downloaded) == [1, 2]


def test_8_3_a_change_of_uidvalidity_causes_duplicates_and_no_second_result(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    world.poll()
    world.server.uidvalidity = 2
    world.poll()
    assert sorted(world.server.downloaded) == [1, 1, 2, 2]
    assert len(world.results()) == 2
    assert len(list(world.stores.blobs.list("duplicates/"))) == 2
    assert {receipt.state for receipt in world.receipts()} == {State.ROUTED}
    assert "UIDVALIDITY from 1 to 2" in world.app().health.get("support").warning, "status shows it"
    world.poll()
    assert world.server.downloads == 4
    assert world.app().health.get("support").warning == ""


def test_8_3_a_server_without_keys_has_each_message_collected_once(world: IntakeFixture) -> None:
    world.server.has_keys, world.server.commits = False, True
    world.server.deliver(letter(1), letter(1), letter(2))
    world.poll()
    assert world.server.messages == {}
    assert len(world.results()) == 2
    assert len(world.receipts()) == 2


def test_8_3_a_reused_key_with_another_size_is_a_new_message(world: IntakeFixture) -> None:
    world.server.keys = {1: "uidl", 2: "uidl"}
    world.server.deliver(letter(1))
    world.poll()
    world.server.deliver(letter(2, 500))
    world.poll()
    assert world.server.messages == {}
    assert len(world.results()) == 2
    assert len(world.receipts()) == 2


def test_8_3_a_reused_key_with_another_size_under_keep_is_collected_once(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.keys = {1: "uidl", 2: "uidl"}
    world.server.deliver(letter(1))
    world.poll()
    del world.server.messages[1]
    world.server.deliver(letter(2, 500))
    for _ in range(3):
        world.poll()
    assert world.server.downloaded == [1, 2]
    assert len(world.results()) == 2


def test_8_3_a_reused_uid_with_another_time_is_a_new_message(world: IntakeFixture) -> None:
    world.server.keys = {1: "1.7", 2: "1.7"}
    world.server.received = {1: DAY, 2: DAY + timedelta(seconds=1)}
    world.server.deliver(letter(1))
    world.poll()
    world.server.deliver(letter(2))
    world.poll()
    assert world.server.downloaded == [1, 2]
    assert len(world.results()) == 2, "the sizes are the same; to remove it unread would lose it"


def test_8_3_the_same_key_with_the_same_size_is_not_downloaded_again(world: IntakeFixture) -> None:
    world.server.refuses_removal = RemovalRefused("mailbox support: NO")
    world.server.deliver(letter(1))
    world.poll()
    world.server.refuses_removal = None
    world.poll()
    assert world.server.downloads == 1
    assert world.server.messages == {}
    assert len(world.results()) == 1


def test_8_2_a_refused_removal_is_the_mailboxs_failure_and_nothing_is_downloaded_twice(world: IntakeFixture) -> None:
    world.server.refuses_removal = RemovalRefused("mailbox support: NO [NOPERM] no right to delete")
    world.server.deliver(letter(1), letter(2))
    for attempt in range(1, 4):
        app = world.poll()
        assert app.health.get("support").failures == attempt
        assert "NOPERM" in app.health.get("support").last_error
        world.time += timedelta(hours=2)
    assert sorted(world.server.downloaded) == [1, 2]
    assert len(world.results()) == 2, "what is stored is routed"
    assert not any(receipt.removed for receipt in world.receipts())


def test_8_2_a_message_that_is_gone_when_it_is_fetched_stops_nothing(world: IntakeFixture) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.gone = {2}
    world.poll()
    assert len(world.results()) == 2
    assert world.app().health.get("support").failures == 0
