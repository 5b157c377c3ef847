"""Messages that a server lists and does not deliver: skipped at the third poll, never removed (rules 1.8, 8.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from shared.intake.undelivered import MIN_UNDELIVERED_FOR_BUSY
from shared.mailbox_health import MailboxHealth
from shared.mailboxes.base import ListedMessage
from shared.queue_messages import Poll, PollReason
from shared.receipts import State
from tests.integration.intake_fixture import IntakeFixture, letter
from tests.integration.polling_fixture import GraphPollingFixture
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled
from tests.servers.memory_app import let_time_pass
from tests.servers.memory_mailbox import MemoryMailbox, MemoryServer

REFUSAL = "NO [UNAVAILABLE] UID FETCH Server error - Please try again later"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeFixture]:
    world = IntakeFixture(tmp_path)
    yield world
    world.stores.close()


def poll(world: IntakeFixture, times: int = 1) -> None:
    for _ in range(times):
        world.time += timedelta(minutes=5)
        world.poll()


def refuse(world: IntakeFixture, *numbers: int) -> None:
    world.server.refused = dict.fromkeys(numbers, REFUSAL)


def skipped(world: IntakeFixture) -> list[str]:
    return list(world.stores.blobs.list("unreadable/"))


def health(world: IntakeFixture) -> MailboxHealth:
    return world.app().health.get("support")


def test_1_8_a_message_refused_at_three_polls_is_skipped_and_stays(world: IntakeFixture) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    refuse(world, 2)
    poll(world, 2)
    assert len(world.results()) == 2, "the messages behind it are collected at once"
    assert skipped(world) == []
    poll(world)
    [path] = skipped(world)
    assert REFUSAL in str(world.read(path)["detail"])
    assert list(world.server.messages) == [2]
    downloads = world.server.downloaded.count(2)
    poll(world, 3)
    assert world.server.downloaded.count(2) == downloads == 3, "it is not asked for at every poll any more"
    assert health(world).left == 1, "status counts it"
    assert list(world.server.messages) == [2]


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_8_3_a_message_that_is_listed_and_never_exists_is_skipped_too(world: IntakeFixture, protocol: str) -> None:
    world.extra = {"PROTOCOL": protocol}
    world.server.deliver(letter(1), letter(2))
    world.server.undelivered = {1}
    poll(world, 2)
    assert skipped(world) == []
    poll(world)
    [path] = skipped(world)
    assert "does not exist" in str(world.read(path)["detail"])
    assert (list(world.server.messages), len(world.results())) == ([1], 1)


def test_8_3_three_polls_in_a_row_count(world: IntakeFixture) -> None:
    world.server.deliver(letter(1), letter(2))
    refuse(world, 1, 2)
    poll(world, 2)
    refuse(world, 2)
    poll(world)
    assert len(world.results()) == 1
    [path] = skipped(world)
    [arrival] = [receipt.arrival for receipt in world.receipts() if receipt.state is State.UNREADABLE]
    assert arrival.startswith(Path(path).stem), "the third refusal of message 2, and message 1 was delivered"


@pytest.mark.parametrize("after", ["delete", "keep"])
def test_1_8_a_skipped_message_is_tried_again_the_next_day_and_collected_when_it_comes(
    world: IntakeFixture, after: str
) -> None:
    world.extra = {"AFTER": after}
    world.server.deliver(letter(1))
    refuse(world, 1)
    poll(world, 3)
    assert len(skipped(world)) == 1
    world.time += timedelta(days=1)
    poll(world, 3)
    assert world.server.downloaded.count(1) == 4, "once a day"
    world.server.refused = {}
    poll(world)
    assert world.results() == []
    world.time += timedelta(days=1)
    poll(world)
    assert len(world.results()) == 1
    assert (1 in world.server.messages) == (after == "keep")
    assert health(world).left == 0


def test_1_8_under_keep_a_skipped_message_does_not_hold_the_watermark_back(world: IntakeFixture) -> None:
    world.extra = {"AFTER": "keep"}
    world.server.deliver(letter(1), letter(2))
    refuse(world, 1)
    poll(world, 5)
    assert len(skipped(world)) == 1
    assert world.server.listings[-1] == "1.2"
    assert health(world).left == 1, "status goes on counting it"
    refuse(world)
    world.app().health.enable("support", unreadable=True)
    poll(world, 2)
    assert len(world.results()) == 2
    assert health(world).left == 0


def test_1_9_a_server_that_delivers_nothing_at_all_is_busy_and_no_message_is_skipped(world: IntakeFixture) -> None:
    numbers = range(1, MIN_UNDELIVERED_FOR_BUSY + 1)
    world.server.deliver(*map(letter, numbers))
    refuse(world, *numbers)
    for _ in range(4):
        world.time += timedelta(hours=2)
        world.poll()
    assert skipped(world) == []
    assert REFUSAL in health(world).busy_reason
    assert health(world).is_failing(world.time)
    refuse(world)
    world.time += timedelta(hours=2)
    world.poll()
    assert len(world.results()) == MIN_UNDELIVERED_FOR_BUSY


@pytest.mark.parametrize("after", ["delete", "keep"])
def test_1_8_a_message_that_the_session_postponed_is_collected_by_the_same_poll(
    world: IntakeFixture, after: str
) -> None:
    world.extra = {"AFTER": after}
    world.server.deliver(*map(letter, range(5)))
    world.server.postponed = {2, 3}
    poll(world)
    assert len(world.results()) == 5
    assert health(world).left == 0


class Folders(MemoryMailbox):
    """A session with several folders."""

    def __init__(self, servers: Mapping[str, MemoryServer]) -> None:
        self._servers = servers
        super().__init__(next(iter(servers.values())))

    @property
    def folders(self) -> Sequence[str]:
        return tuple(self._servers)

    def list(
        self, folder: str, *, received: bool = False, above: str | None = None, since: datetime | None = None
    ) -> Sequence[ListedMessage]:
        self._server = self._servers[folder]
        return super().list(folder, received=received, above=above, since=since)


def test_1_8_a_folder_of_which_nothing_is_delivered_does_not_delay_the_next_folder(
    world: IntakeFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged, inbox = MemoryServer(), world.server
    damaged.deliver(*map(letter, range(MIN_UNDELIVERED_FOR_BUSY)))
    damaged.refused = dict.fromkeys(damaged.messages, REFUSAL)
    world.extra = {"FOLDERS": "Damaged;INBOX"}
    monkeypatch.setattr(MemoryServer, "open", lambda _server: Folders({"Damaged": damaged, "INBOX": inbox}))
    for polls in range(1, 4):
        inbox.deliver(letter(100 + polls))
        poll(world)
        assert len(world.results()) == polls
        assert health(world).busy_reason == ""
    assert len(skipped(world)) == MIN_UNDELIVERED_FOR_BUSY
    poll(world)
    assert len(damaged.messages) == health(world).left == MIN_UNDELIVERED_FOR_BUSY


def test_8_3_graphs_404_right_after_a_notification_is_not_final(tmp_path: Path) -> None:
    world = GraphPollingFixture(tmp_path)
    world.server.deliver(letter(1))
    world.server.undelivered = {1}
    for _ in range(5):
        world.time += timedelta(seconds=5)
        world.poll(PollReason.MANUAL)
    assert list(world.stores.blobs.list("unreadable/")) == []
    world.time += timedelta(minutes=5)
    world.poll(PollReason.MANUAL)
    assert len(list(world.stores.blobs.list("unreadable/"))) == 1
    world.stores.close()


@pytest.mark.parametrize("way", list(FailureMode), ids=lambda way: way.value)
def test_8_1_a_crash_at_any_step_of_the_third_poll_loses_nothing(tmp_path: Path, way: FailureMode) -> None:
    for at in itertools.count(1):
        world = IntakeFixture(tmp_path / str(at))
        world.server.deliver(letter(1), letter(2))
        refuse(world, 1)
        poll(world, 2)
        faults = FaultInjector(at, way)
        app = world.app()
        with suppress(ProcessKilled):
            intake = replace(app.poller.intake, storage=faults.stores(world.stores))
            replace(app.poller, intake=intake).poll(Poll("support", PollReason.MANUAL))
        let_time_pass(world.folder)
        poll(world, 3)
        assert len(skipped(world)) == 1
        assert [receipt.state for receipt in world.receipts() if not receipt.was_downloaded] == [State.UNREADABLE]
        assert list(world.server.messages) == [1]
        world.stores.close()
        if at > faults.count:
            assert at > 5, "there were steps to break"
            return
