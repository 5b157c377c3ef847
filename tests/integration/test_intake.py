"""The way in: what is taken, what is left, and in which order (rules 1.3, 1.7, 1.8, 1.11, 8.2, 8.3)."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.errors import RemovalRefused
from shared.layout import raw_path
from shared.mailboxes.protocol import Mailbox
from shared.mailboxes.spool import Content
from shared.receipts import Poll, Receipt, State
from shared.settings import AppSettings, MailboxSettings
from shared.storage.opening import open_stores
from shared.storage.protocol import QueueName, Table
from shared.wiring import App
from tests.servers.memory_app import app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.pump import poll, work_until_idle

DAY = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def letter(number: int, size: int = 0) -> bytes:
    head = f"From: a@b.example\r\nTo: support@example.com\r\nSubject: {number}\r\n\r\n"
    return head.encode().ljust(size, b"x") + b"\r\n"


class World:
    """One mailbox on a server in memory and a storage in a folder; `app` is a new process each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = MemoryServer()
        self.extra: dict[str, str] = {}
        self.time = DAY
        self.stores = open_stores(self.settings.app_storage, self.settings.mail_storage, "mail")

    @property
    def settings(self) -> AppSettings:
        values = {"ADDRESS": "support@example.com", **self.extra}
        named = {f"MAILBOXES__support__{name}": value for name, value in values.items()}
        return settings_for(f"folder:{self.folder}", {**named, "ROUTES__support__ADDRESS": "support@example.com"})

    def app(self, budget: float = 300) -> App:
        def connect(_settings: MailboxSettings) -> Mailbox:
            return self.server.open()

        app = app_on(self.settings, connect, stores=self.stores, now=lambda: self.time)
        return replace(app, poller=replace(app.poller, budget=budget))

    def look(self, budget: float = 300) -> App:
        """Poll once and do what comes of it."""
        app = self.app(budget)
        poll(app, "support")
        work_until_idle(app)
        return app

    def results(self) -> list[str]:
        return list(self.stores.blobs.list("routed/"))

    def receipts(self) -> list[Receipt]:
        return [Receipt.of(record) for record in self.stores.records.scan(Table.RECEIPTS)]

    def read(self, path: str) -> dict[str, object]:
        data = self.stores.blobs.read(path)
        assert data is not None
        read = json.loads(data)
        assert isinstance(read, dict)
        return read


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stores.close()


def test_1_3_nothing_is_removed_before_it_is_stored_recorded_and_announced(world: World) -> None:
    removed: list[bytes] = []

    def must_be_stored(data: bytes) -> None:
        message = hashlib.sha256(data).hexdigest()
        assert world.stores.blobs.read(raw_path(message)) == data
        receipts = [receipt for receipt in world.receipts() if receipt.message == message]
        assert [receipt.removed for receipt in receipts] == [False]
        pending = {record.key for record in world.stores.records.scan(Table.PENDING)}
        assert receipts[0].arrival in pending
        assert world.stores.queues[QueueName.ARRIVALS].length() > len(removed)
        removed.append(data)

    letters = [letter(number) for number in range(7)]
    world.server.deliver(*letters)
    world.server.before_removal = must_be_stored
    world.look()
    assert removed == letters
    assert all(receipt.removed for receipt in world.receipts())
    assert len(world.results()) == 7


def test_1_3_keep_takes_nothing_twice_across_restarts(world: World) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    for _ in range(4):
        world.look()
    world.server.deliver(letter(3))
    world.look()
    assert sorted(world.server.messages) == [1, 2, 3]
    assert sorted(world.server.downloaded) == [1, 2, 3]
    assert len(world.results()) == 3
    assert not any(receipt.removed for receipt in world.receipts())


def test_1_3_keep_asks_for_nothing_below_what_it_has_dealt_with(world: World) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    world.look()
    world.server.deliver(letter(3))
    world.look()
    world.look()
    assert world.server.listings == [None, "1.2", "1.3"]


def test_1_3_keep_without_a_mark_is_held_by_the_receipts(world: World) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    world.look()
    keys = [record.key for record in world.stores.records.scan(Table.MAILBOXES)]
    world.stores.records.delete_many(Table.MAILBOXES, keys)
    world.look()
    assert world.server.listings == [None, None]
    assert world.server.downloads == 2


def test_1_3_a_changed_limit_makes_the_mark_void(world: World) -> None:
    world.extra = {"AFTER": "keep", "MAX_MESSAGE_BYTES": "1000"}
    world.server.deliver(letter(1, 2000), letter(2))
    world.look()
    world.look()
    assert world.server.listings == [None, "1.2"]
    world.extra["MAX_MESSAGE_BYTES"] = "5000"
    world.look()
    assert world.server.listings[-1] is None
    assert sorted(world.server.downloaded) == [1, 2]
    assert len(world.results()) == 2


def test_1_3_a_mark_does_not_pass_a_message_that_was_refused(world: World) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.refused = {2: "NO later"}
    world.look()
    world.server.refused = {}
    world.look()
    assert world.server.listings == [None, "1.1"]
    assert len(world.results()) == 3


def test_1_3_from_keep_to_delete_removes_what_was_taken_and_takes_nothing_again(world: World) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    world.look()
    world.extra = {"AFTER": "delete"}
    world.look()
    assert world.server.messages == {}
    assert world.server.downloads == 2
    assert len(world.results()) == 2
    assert all(receipt.removed for receipt in world.receipts())


def test_1_3_move_removes_through_the_mailbox(world: World) -> None:
    world.extra = {"AFTER": "move:Archive"}
    world.server.deliver(letter(1))
    world.look()
    assert world.server.messages == {}
    assert all(receipt.removed for receipt in world.receipts())


def test_1_7_an_oversized_message_is_recorded_once_and_stays(world: World) -> None:
    world.extra = {"MAX_MESSAGE_BYTES": "1000"}
    world.server.deliver(letter(1, 2000), letter(2))
    for days in range(3):
        world.time = DAY + timedelta(days=days)
        world.look()
    assert list(world.server.messages) == [1]
    assert world.server.downloaded == [2], "never downloaded"
    [path] = world.stores.blobs.list("oversized/")
    assert path.startswith("oversized/support/2026/11/23/")
    record = world.read(path)
    assert record["size"] == 2002
    assert "MAILBOXES__support__MAX_MESSAGE_BYTES" in str(record["words"])
    assert "1.1" in json.dumps(record["arrival"])
    assert len(world.results()) == 1
    assert world.app().health.of("support").left == 1


def test_1_7_an_oversized_message_is_taken_when_the_limit_grows(world: World) -> None:
    world.extra = {"MAX_MESSAGE_BYTES": "1000"}
    world.server.deliver(letter(1, 2000))
    world.look()
    world.extra["MAX_MESSAGE_BYTES"] = "3000"
    world.time = DAY + timedelta(days=2)
    world.look()
    assert world.server.messages == {}
    [result] = world.results()
    assert result.startswith("routed/support/2026/11/23/"), "the day is the receipt's"
    [receipt] = world.receipts()
    assert receipt.state is State.ROUTED
    assert receipt.message == hashlib.sha256(letter(1, 2000)).hexdigest()
    assert receipt.size == 2002


def test_1_7_a_message_that_overflows_while_it_streams_is_recorded_and_not_downloaded_at_every_look(
    world: World,
) -> None:
    world.extra = {"MAX_MESSAGE_BYTES": "1000"}
    world.server.deliver(letter(1, 2000), letter(2))
    world.server.told = {1: 10}
    for _ in range(3):
        world.look()
    assert list(world.server.messages) == [1]
    assert len(list(world.stores.blobs.list("oversized/"))) == 1
    assert len(world.results()) == 1
    assert world.server.downloaded.count(1) == 1
    world.extra["MAX_MESSAGE_BYTES"] = "1500"
    for _ in range(3):
        world.look()
    assert world.server.downloaded.count(1) == 2, "once more under the new limit"
    world.extra["MAX_MESSAGE_BYTES"] = "3000"
    world.look()
    assert world.server.messages == {}
    assert len(world.results()) == 2


def test_1_7_an_oversized_message_without_a_key_is_recorded_as_well(world: World) -> None:
    world.extra = {"MAX_MESSAGE_BYTES": "1000"}
    world.server.has_keys = False
    world.server.deliver(letter(1, 2000), letter(2))
    for _ in range(2):
        world.look()
    assert list(world.server.messages) == [1]
    assert world.server.downloaded == [2], "never downloaded"
    assert len(list(world.stores.blobs.list("oversized/"))) == 1
    assert world.app().health.of("support").left == 1


def test_1_8_a_refused_message_does_not_stop_those_behind_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 6)))
    world.server.refused = {1: "NO [SERVERBUG] cannot read it", 3: "NO [SERVERBUG] cannot read it"}
    for _ in range(2):
        world.look()
    assert sorted(world.server.messages) == [1, 3]
    assert len(world.results()) == 3
    assert world.stores.queues[QueueName.POLLS].length() == 0
    assert world.app().health.of("support").left == 2
    assert world.app().health.of("support").failures == 0
    assert "1.3" in caplog.text


def rounds(world: World, at_most: int, budget: float = 0) -> int:
    """How many polls it takes until no other is enqueued; the test's failure if it is more than `at_most`."""
    app = world.app(budget)
    poll(app, "support")
    polls = world.stores.queues[QueueName.POLLS]
    for taken in itertools.count():
        items = polls.receive(4, hidden_for=600)
        if not items:
            return taken
        assert taken < at_most, "a poll enqueues itself for ever"
        for item in items:
            app.poller.poll(Poll.of(item.body))
            polls.delete(item)
    raise AssertionError


BIG = 3 * 1024 * 1024
"""As told: each message is a batch of its own."""


def test_1_8_refused_messages_never_make_a_poll_repeat_itself_for_ever(world: World) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 6)))
    world.server.told = dict.fromkeys(range(1, 6), BIG)
    world.server.refused = {1: "NO", 2: "NO"}
    assert rounds(world, 12) <= 12
    assert sorted(world.server.messages) == [1, 2], "those behind were taken"


def test_1_8_refused_messages_do_not_hold_up_a_session_that_commits_now_and_then(world: World) -> None:
    """POP3 commits and lists anew after so many; what was refused must not be all that is asked for again."""
    world.server.commits = True
    world.server.deliver(*(letter(number) for number in range(1, 9)))
    world.server.told = dict.fromkeys(range(1, 9), BIG)
    world.server.refused = {1: "-ERR", 2: "-ERR", 3: "-ERR"}
    rounds(world, 6, budget=0.3)
    assert sorted(world.server.messages) == [1, 2, 3]
    assert world.server.downloads < 30
    assert world.stores.queues[QueueName.POLLS].length() == 0


def test_a_drain_whose_time_is_up_hands_on_and_finishes_in_the_end(world: World) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 8)))
    world.server.told = dict.fromkeys(range(1, 8), BIG)
    assert rounds(world, 20) > 1
    assert world.server.messages == {}
    assert sorted(world.server.downloaded) == list(range(1, 8))
    assert len(world.receipts()) == 7


def test_a_drain_under_keep_whose_time_is_up_goes_on_behind_what_it_took(world: World) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(*(letter(number) for number in range(1, 8)))
    world.server.told = dict.fromkeys(range(1, 8), BIG)
    assert rounds(world, 20) > 1
    assert sorted(world.server.downloaded) == list(range(1, 8))


def test_a_drain_in_time_enqueues_nothing(world: World) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 4)))
    app = world.app()
    poll(app, "support")
    assert rounds(world, 3) == 1


def test_1_11_since_a_date_leaves_what_came_before(world: World) -> None:
    world.extra = {"SINCE": "2026-11-20"}
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.received = {
        1: datetime(2026, 11, 19, 23, 59, 59, tzinfo=UTC),
        2: datetime(2026, 11, 20, tzinfo=UTC),
    }
    world.look()
    assert list(world.server.messages) == [1]
    assert sorted(world.server.downloaded) == [2, 3], "a message whose time nobody tells is taken"


def test_1_11_since_now_counts_from_first_contact(world: World) -> None:
    world.extra = {"SINCE": "now"}
    world.server.deliver(letter(1))
    world.server.received = {1: DAY - timedelta(seconds=1)}
    world.look()
    assert list(world.server.messages) == [1]
    world.time = DAY + timedelta(days=1)
    world.server.deliver(letter(2))
    world.server.received[2] = DAY + timedelta(hours=1)
    world.look()
    assert list(world.server.messages) == [1]
    assert len(world.results()) == 1


def test_1_11_without_since_everything_is_taken_oldest_first(world: World) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.received = {1: DAY - timedelta(days=4000)}
    world.look()
    assert world.server.downloaded == [1, 2, 3]
    assert world.server.messages == {}


def test_1_11_an_earlier_since_takes_the_older_ones(world: World) -> None:
    world.extra = {"AFTER": "keep", "SINCE": "2026-11-20"}
    world.server.deliver(letter(1), letter(2))
    world.server.received = {1: DAY - timedelta(days=30), 2: DAY}
    world.look()
    assert world.server.downloaded == [2]
    world.extra["SINCE"] = "2026-01-01"
    world.look()
    assert sorted(world.server.downloaded) == [1, 2]


def test_8_3_a_change_of_uidvalidity_gives_duplicates_and_no_second_result(world: World) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    world.look()
    world.server.uidvalidity = 2
    world.look()
    assert sorted(world.server.downloaded) == [1, 1, 2, 2]
    assert len(world.results()) == 2
    assert len(list(world.stores.blobs.list("duplicates/"))) == 2
    assert {receipt.state for receipt in world.receipts()} == {State.ROUTED}
    world.look()
    assert world.server.downloads == 4


def test_8_3_a_server_without_keys_gives_each_message_once(world: World) -> None:
    world.server.has_keys, world.server.commits = False, True
    world.server.deliver(letter(1), letter(1), letter(2))
    world.look()
    assert world.server.messages == {}
    assert len(world.results()) == 2
    assert len(world.receipts()) == 2


def test_8_3_a_reused_key_with_another_size_is_a_new_message(world: World) -> None:
    world.server.keys = {1: "uidl", 2: "uidl"}
    world.server.deliver(letter(1))
    world.look()
    world.server.deliver(letter(2, 500))
    world.look()
    assert world.server.messages == {}
    assert len(world.results()) == 2
    assert len(world.receipts()) == 2


def test_8_3_a_reused_key_with_another_size_under_keep_is_taken_once(world: World) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.keys = {1: "uidl", 2: "uidl"}
    world.server.deliver(letter(1))
    world.look()
    del world.server.messages[1]
    world.server.deliver(letter(2, 500))
    for _ in range(3):
        world.look()
    assert world.server.downloaded == [1, 2]
    assert len(world.results()) == 2


def test_8_3_the_same_key_with_the_same_size_is_not_downloaded_again(world: World) -> None:
    world.server.refuses_removal = RemovalRefused("mailbox support: NO")
    world.server.deliver(letter(1))
    world.look()
    world.server.refuses_removal = None
    world.look()
    assert world.server.downloads == 1
    assert world.server.messages == {}
    assert len(world.results()) == 1


def test_8_2_a_refused_removal_is_the_mailboxs_failure_and_nothing_is_downloaded_twice(world: World) -> None:
    world.server.refuses_removal = RemovalRefused("mailbox support: NO [NOPERM] no right to delete")
    world.server.deliver(letter(1), letter(2))
    for attempt in range(1, 4):
        app = world.look()
        assert app.health.of("support").failures == attempt
        assert "NOPERM" in app.health.of("support").last_error
        world.time += timedelta(hours=2)
    assert sorted(world.server.downloaded) == [1, 2]
    assert len(world.results()) == 2, "what is stored is routed"
    assert not any(receipt.removed for receipt in world.receipts())


def test_8_2_a_message_that_is_gone_when_asked_for_stops_nothing(world: World) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.gone = {2}
    world.look()
    assert len(world.results()) == 2
    assert world.app().health.of("support").failures == 0


def test_1_7_contents_are_closed_whatever_happens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, closed = [], []
    of, close = Content.of, Content.close

    def counted_of(data: bytes) -> Content:
        opened.append(data)
        return of(data)

    def counted_close(content: Content) -> None:
        closed.append(content)
        close(content)

    monkeypatch.setattr(Content, "of", staticmethod(counted_of))
    monkeypatch.setattr(Content, "close", counted_close)
    world.server.deliver(*(letter(number) for number in range(1, 12)))
    world.server.refuses_removal = RemovalRefused("mailbox support: NO")
    world.look()
    assert opened
    assert len(closed) >= len(opened)
