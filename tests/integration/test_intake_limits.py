"""Oversized messages, refused messages, and drains whose time is up (rules 1.7, 1.8)."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import RemovalRefused
from shared.queue_messages import Poll
from shared.receipts import State
from shared.storage.base import QueueName
from tests.integration.intake_fixture import DAY, IntakeFixture, count_contents, letter
from tests.servers.pump import poll


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeFixture]:
    fixture = IntakeFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def test_1_7_an_oversized_message_is_recorded_once_and_stays(world: IntakeFixture) -> None:
    world.extra = {"MAX_MESSAGE_BYTES": "1000"}
    world.server.deliver(letter(1, 2000), letter(2))
    for days in range(3):
        world.time = DAY + timedelta(days=days)
        world.poll()
    assert list(world.server.messages) == [1]
    assert world.server.downloaded == [2], "never downloaded"
    [path] = world.stores.blobs.list("oversized/")
    assert path.startswith("oversized/support/2026/11/23/")
    record = world.read(path)
    assert record["size"] == 2002
    assert "MAILBOXES__support__MAX_MESSAGE_BYTES" in str(record["detail"])
    assert "1.1" in json.dumps(record["arrival"])
    assert len(world.results()) == 1
    assert world.app().health.get("support").left == 1


def test_1_7_an_oversized_message_is_collected_when_the_limit_grows(world: IntakeFixture) -> None:
    world.extra = {"MAX_MESSAGE_BYTES": "1000"}
    world.server.deliver(letter(1, 2000))
    world.poll()
    world.extra["MAX_MESSAGE_BYTES"] = "3000"
    world.time = DAY + timedelta(days=2)
    world.poll()
    assert world.server.messages == {}
    [result] = world.results()
    assert result.startswith("routed/support/2026/11/23/"), "the day is the receipt's"
    [receipt] = world.receipts()
    assert receipt.state is State.ROUTED
    assert receipt.message == hashlib.sha256(letter(1, 2000)).hexdigest()
    assert receipt.size == 2002


def test_1_7_a_message_that_overflows_while_it_streams_is_recorded_and_not_downloaded_at_every_poll(
    world: IntakeFixture,
) -> None:
    world.extra = {"MAX_MESSAGE_BYTES": "1000"}
    world.server.deliver(letter(1, 2000), letter(2))
    world.server.reported_sizes = {1: 10}
    for _ in range(3):
        world.poll()
    assert list(world.server.messages) == [1]
    assert len(list(world.stores.blobs.list("oversized/"))) == 1
    assert len(world.results()) == 1
    assert world.server.downloaded.count(1) == 1
    world.extra["MAX_MESSAGE_BYTES"] = "1500"
    for _ in range(3):
        world.poll()
    assert world.server.downloaded.count(1) == 2, "once more under the new limit"
    world.extra["MAX_MESSAGE_BYTES"] = "3000"
    world.poll()
    assert world.server.messages == {}
    assert len(world.results()) == 2


def test_1_7_an_oversized_message_without_a_key_is_recorded_as_well(world: IntakeFixture) -> None:
    world.extra = {"MAX_MESSAGE_BYTES": "1000"}
    world.server.has_keys = False
    world.server.deliver(letter(1, 2000), letter(2))
    for _ in range(2):
        world.poll()
    assert list(world.server.messages) == [1]
    assert world.server.downloaded == [2], "never downloaded"
    assert len(list(world.stores.blobs.list("oversized/"))) == 1
    assert world.app().health.get("support").left == 1


def test_1_8_a_refused_message_does_not_stop_the_messages_behind_it(
    world: IntakeFixture, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 6)))
    world.server.refused = {1: "NO [SERVERBUG] cannot read it", 3: "NO [SERVERBUG] cannot read it"}
    for _ in range(2):
        world.poll()
    assert sorted(world.server.messages) == [1, 3]
    assert len(world.results()) == 3
    assert world.stores.queues[QueueName.POLLS].length() == 0
    assert world.app().health.get("support").left == 2
    assert world.app().health.get("support").failures == 0
    assert "1.3" in caplog.text


def rounds(world: IntakeFixture, at_most: int, budget: float = 0) -> int:
    """Return the number of polls until no other is enqueued; fail if it is more than `at_most`."""
    app = world.app(budget)
    poll(app, "support")
    polls = world.stores.queues[QueueName.POLLS]
    for taken in itertools.count():
        items = polls.receive(4, hidden_for=600)
        if not items:
            return taken
        assert taken < at_most, "a poll enqueues itself for ever"
        for item in items:
            app.poller.poll(Poll.from_json(item.body))
            polls.delete(item)
    raise AssertionError


BIG = 3 * 1024 * 1024
"""As reported: each message is a batch of its own."""


def test_1_8_refused_messages_never_make_a_poll_repeat_itself_forever(world: IntakeFixture) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 6)))
    world.server.reported_sizes = dict.fromkeys(range(1, 6), BIG)
    world.server.refused = {1: "NO", 2: "NO"}
    assert rounds(world, 12) <= 12
    assert sorted(world.server.messages) == [1, 2], "those behind were taken"


def test_1_8_refused_messages_do_not_delay_a_session_that_commits_periodically(world: IntakeFixture) -> None:
    """POP3 commits and lists again after so many; the next batch must not consist of refused messages only."""
    world.server.commits = True
    world.server.deliver(*(letter(number) for number in range(1, 9)))
    world.server.reported_sizes = dict.fromkeys(range(1, 9), BIG)
    world.server.refused = {1: "-ERR", 2: "-ERR", 3: "-ERR"}
    rounds(world, 6, budget=0.3)
    assert sorted(world.server.messages) == [1, 2, 3]
    assert world.server.downloads < 30
    assert world.stores.queues[QueueName.POLLS].length() == 0


def test_a_drain_whose_time_is_up_is_continued_by_the_next_poll(world: IntakeFixture) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 8)))
    world.server.reported_sizes = dict.fromkeys(range(1, 8), BIG)
    assert rounds(world, 20) > 1
    assert world.server.messages == {}
    assert sorted(world.server.downloaded) == list(range(1, 8))
    assert len(world.receipts()) == 7


def test_a_drain_under_keep_whose_time_is_up_continues_at_the_watermark(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(*(letter(number) for number in range(1, 8)))
    world.server.reported_sizes = dict.fromkeys(range(1, 8), BIG)
    assert rounds(world, 20) > 1
    assert sorted(world.server.downloaded) == list(range(1, 8))


def test_a_drain_in_time_enqueues_nothing(world: IntakeFixture) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 4)))
    app = world.app()
    poll(app, "support")
    assert rounds(world, 3) == 1


def test_1_7_contents_are_closed_whatever_happens(world: IntakeFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, closed = count_contents(monkeypatch)
    world.server.deliver(*(letter(number) for number in range(1, 12)))
    world.server.refuses_removal = RemovalRefused("mailbox support: NO")
    world.poll()
    assert opened
    assert len(closed) >= len(opened)


def test_1_10_messages_already_stored_are_removed_a_batch_at_a_time_under_the_lease(world: IntakeFixture) -> None:
    """It may be a whole mailbox, after `keep` was changed to `delete`."""
    world.server.deliver(*[letter(number) for number in range(250)])
    world.extra = {"AFTER": "keep"}
    world.poll()
    assert len(world.server.messages) == 250
    world.extra = {"AFTER": "delete"}
    sizes: list[int] = []
    app = world.app()
    mailbox = world.server.open()

    class Guard:
        def ensure(self) -> None:
            sizes.append(len(world.server.messages))

    settings = app.settings.mailboxes["support"]
    drained = app.poller.intake.run(settings, mailbox, Guard(), budget=300, first_contact=world.time)
    assert (drained.already_stored, drained.removed, drained.more) == (250, 250, False)
    assert sizes[:3] == [250, 150, 50]


def test_1_8_a_used_up_budget_leaves_the_other_stored_messages_to_the_next_poll(world: IntakeFixture) -> None:
    world.server.deliver(*[letter(number) for number in range(250)])
    world.extra = {"AFTER": "keep"}
    world.poll()
    world.extra = {"AFTER": "delete"}
    app = world.app()
    settings = app.settings.mailboxes["support"]

    class Guard:
        def ensure(self) -> None:
            pass

    drained = app.poller.intake.run(settings, world.server.open(), Guard(), budget=0, first_contact=world.time)
    assert drained.more
    assert len(world.server.messages) == 150
    world.poll()
    assert world.server.messages == {}
