"""One worker a mailbox (rule 1.10)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.errors import ConnectFailed, LeaseLost, ServiceUnavailable
from shared.queue_messages import Poll, PollReason
from shared.storage.base import Leases
from tests.integration.polling_fixture import START, PollingFixture, letter
from tests.servers.memory_mailbox import MemoryServer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PollingFixture]:
    fixture = PollingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def test_1_10_a_poll_that_finds_the_lease_held_makes_the_holder_poll_again(world: PollingFixture) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    second: list[object] = []

    def look_as_another_instance() -> None:
        if not second:
            second.append(world.app().poller.poll(Poll("support", PollReason.FOLLOW_UP)))

    world.server.before_batch = look_as_another_instance
    assert world.poll()
    assert second == [None]
    assert world.sign_ins == 1, "one worker at a time"
    assert world.take_polls() == [Poll("support", PollReason.FOLLOW_UP)]
    assert world.poll(PollReason.FOLLOW_UP)
    assert world.take_polls() == [], "once more, and not for ever"


def test_1_10_ten_polls_that_find_the_lease_held_trigger_one_more_poll(world: PollingFixture) -> None:
    world.server.deliver(letter(1))

    def ask_ten_times() -> None:
        assert not any(world.poll(PollReason.FOLLOW_UP) for _ in range(10))

    world.server.before_batch = ask_ten_times
    assert world.poll()
    assert world.take_polls() == [Poll("support", PollReason.FOLLOW_UP)]


def test_1_10_the_holder_polls_again_after_its_backoff_if_it_failed(world: PollingFixture) -> None:
    world.server.deliver(letter(1))

    def ask_and_break() -> None:
        world.poll(PollReason.FOLLOW_UP)
        raise ConnectFailed("mailbox support: 127.0.0.1:1 does not answer")

    world.server.before_batch = ask_and_break
    assert not world.poll()
    [again] = world.take_polls()
    before = world.sign_ins
    world.app().poller.poll(again)
    assert world.sign_ins == before, "backoff holds for it too"


def test_1_10_another_mailboxs_lease_does_not_matter(world: PollingFixture) -> None:
    assert world.stores.leases.acquire("office", 60) is not None
    assert world.poll()


def test_1_10_a_worker_that_was_suspended_past_its_lease_removes_nothing(
    world: PollingFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 30)))
    slept = 0.0

    def sleep() -> None:
        nonlocal slept
        if len(world.server.messages) < 29:
            slept = 55.0

    monkeypatch.setattr("shared.lease.time", SimpleNamespace(monotonic=lambda: slept))
    removed_late = []
    world.server.before_batch = sleep
    world.server.before_removal = lambda data: removed_late.append(data) if slept else None
    assert not world.poll()
    assert 0 < len(world.server.messages) < 29
    assert len(removed_late) < 2, "at most what was begun before"
    assert world.app().health.get("support").failures == 0, "no failure of the mailbox"

    # The next poll finishes it, and downloads nothing that is stored already.
    slept = 0.0
    world.server.before_batch = lambda: None
    world.time += timedelta(minutes=2)
    assert world.poll()
    assert world.server.messages == {}
    assert len(world.server.downloaded) == len(set(world.server.downloaded))


@pytest.mark.parametrize("commits", [False, True], ids=["at once", "on commit"])
@pytest.mark.parametrize("good", range(4))
def test_1_10_nothing_is_removed_after_the_lease_is_lost(world: PollingFixture, commits: bool, good: int) -> None:
    world.server.commits = commits
    world.server.deliver(*(letter(number) for number in range(1, 12)))
    guard = LosesIt(world.server, good)
    app = world.app()
    with pytest.raises(LeaseLost):
        app.poller.intake.run(
            app.settings.mailboxes["support"], world.server.open(), guard, budget=300, first_contact=START
        )
    assert guard.lost_with is not None
    assert list(world.server.messages) == guard.lost_with


class LosesIt:
    """A lease that is lost after a number of successful checks."""

    def __init__(self, server: MemoryServer, good: int) -> None:
        self._server = server
        self._good = good
        self.lost_with: list[int] | None = None

    def ensure(self) -> None:
        self._good -= 1
        if self._good < 0:
            self.lost_with = list(self._server.messages)
            raise LeaseLost("mailbox support: the lease is lost")


def test_1_10_a_lease_that_cannot_be_released_ends_by_itself(world: PollingFixture) -> None:
    stores = replace(world.stores, leases=Unreleased(world.stores.leases))
    app = world.app()
    poller = replace(app.poller, intake=replace(app.poller.intake, storage=stores))
    assert poller.poll(Poll("support", PollReason.TIMER)) is not None
    assert world.app().health.get("support").failures == 0


class Unreleased:
    """Leases that are acquired and cannot be released."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    def acquire(self, name: str, seconds: int) -> str | None:
        return self._leases.acquire(name, seconds)

    def renew(self, name: str, token: str) -> None:
        self._leases.renew(name, token)

    def release(self, name: str, token: str) -> None:
        raise ServiceUnavailable("ill")
