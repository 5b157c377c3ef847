"""One look at a mailbox: due, leased, drained, noted (rules 1.8, 1.9, 1.10)."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.errors import ConnectFailed, LeaseLost, MailboxBusy, MailroomError, ServiceUnavailable, SignInRefused
from shared.mailboxes.protocol import Mailbox
from shared.receipts import Poll, Reason
from shared.settings import MailboxSettings
from shared.storage.folder.blobs import HIDDEN
from shared.storage.opening import open_stores
from shared.storage.protocol import Leases, QueueName
from shared.wiring import App
from tests.servers.faults import Faults
from tests.servers.memory_app import app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def letter(number: int) -> bytes:
    return f"From: a@b.example\r\nTo: support@example.com\r\nSubject: {number}\r\n\r\n".encode()


class World:
    """One mailbox, and a storage in a folder. `fails` is what the next sign-ins raise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = MemoryServer()
        self.extra: dict[str, str] = {}
        self.time = START
        self.fails: MailroomError | Exception | None = None
        self.sign_ins = 0
        settings = settings_for(f"folder:{folder}", self.values)
        self.stores = open_stores(settings.app_storage, settings.mail_storage, "mail")

    @property
    def values(self) -> dict[str, str]:
        values = {"ADDRESS": "support@example.com", **self.extra}
        return {f"MAILBOXES__support__{name}": value for name, value in values.items()}

    def app(self, faults: Faults | None = None) -> App:
        def connect(_settings: MailboxSettings) -> Mailbox:
            self.sign_ins += 1
            if self.fails is not None:
                raise self.fails
            return self.server.open()

        settings = settings_for(f"folder:{self.folder}", self.values)
        stores = self.stores if faults is None else faults.stores(self.stores)
        return app_on(settings, connect, stores=stores, now=lambda: self.time)

    def look(self, reason: Reason = Reason.CLOCK) -> bool:
        """One tick of the clock for the mailbox; whether it was drained."""
        return self.app().poller.poll(Poll("support", reason)) is not None

    def enqueued(self) -> list[Poll]:
        """The polls on the queue, which is empty then."""
        queue = self.stores.queues[QueueName.POLLS]
        found = []
        while items := queue.receive(32, hidden_for=60):
            for item in items:
                found.append(Poll.of(item.body))
                queue.delete(item)
        return found

    def tamper(self, statement: str) -> None:
        with sqlite3.connect(self.folder / HIDDEN / "state.sqlite3") as database:
            database.execute(statement)
        database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stores.close()


def alerts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage().split(":")[0] for one in caplog.records if one.levelno >= logging.ERROR]


def test_1_9_a_mailbox_that_fails_is_left_alone_until_its_time_and_never_raises(world: World) -> None:
    world.fails = ConnectFailed("mailbox support: 127.0.0.1:1 does not answer")
    tries = []
    for minute in range(70):
        world.time = START + timedelta(minutes=minute)
        before = world.sign_ins
        world.look()
        if world.sign_ins > before:
            tries.append(minute)
    assert tries == [0, 1, 3, 7, 15, 31, 63]


def test_1_9_rejected_credentials_are_tried_once_and_then_in_a_quarter_of_an_hour(world: World) -> None:
    world.fails = SignInRefused("mailbox support: the password was rejected")
    for minute in range(15):
        world.time = START + timedelta(minutes=minute)
        for reason in Reason:
            world.look(reason)
    assert world.sign_ins == 1
    world.time = START + timedelta(minutes=15)
    world.look()
    assert world.sign_ins == 2


def test_1_9_a_mailbox_stops_aloud_and_recovers_aloud(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.extra = {"DISABLE_AFTER": "3"}
    world.fails = ConnectFailed("mailbox support: 127.0.0.1:1 does not answer")
    for hour in range(0, 60, 2):
        world.time = START + timedelta(hours=hour)
        world.look()
    assert world.sign_ins == 3
    assert alerts(caplog) == ["mailbox-disabled"]
    world.fails = None
    assert not world.look()
    world.app().health.enable("support")
    assert world.look()
    world.time += timedelta(minutes=1)
    assert world.look()
    assert alerts(caplog) == ["mailbox-disabled", "mailbox-recovered"]


def test_1_9_changed_sign_in_settings_enable_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.extra = {"DISABLE_AFTER": "1"}
    world.fails = SignInRefused("mailbox support: the password was rejected")
    world.look()
    world.fails = None
    assert not world.look()
    world.extra["PASSWORD"] = "another"
    assert world.look()
    assert alerts(caplog) == ["mailbox-disabled", "mailbox-recovered"]


def test_1_9_a_busy_server_is_no_failure(world: World) -> None:
    world.extra = {"DISABLE_AFTER": "1"}
    world.fails = MailboxBusy("[IN-USE] another session has it", retry_after=120)
    for _ in range(3):
        world.look()
    assert world.sign_ins == 1
    assert world.app().health.of("support").failures == 0
    world.fails = None
    world.time += timedelta(seconds=120)
    assert world.look()


def test_1_9_poll_every(world: World) -> None:
    world.extra = {"POLL_EVERY": "600"}
    for minute in range(31):
        world.time = START + timedelta(minutes=minute)
        for request in world.app().poller.due(Reason.CLOCK):
            world.app().poller.poll(request)
    assert world.sign_ins == 4


def test_two_polls_of_one_tick_are_one_look(world: World) -> None:
    assert [world.look(), world.look()] == [True, False]


def test_1_9_a_fault_of_ours_is_a_failure_and_does_not_raise(world: World) -> None:
    world.fails = ZeroDivisionError("ours")
    assert not world.look()
    health = world.app().health.of("support")
    assert health.failures == 1
    assert "ZeroDivisionError" in health.last_error


def test_a_poll_for_a_mailbox_that_is_configured_no_more_is_dropped(world: World) -> None:
    assert world.app().poller.poll(Poll("gone", Reason.CLOCK)) is None
    assert world.sign_ins == 0


def test_a_faulty_mailbox_is_said_aloud_and_does_not_stop_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    poller = replace(world.app().poller, faulty={"office": ("MAILBOXES__office__HOST is missing",)})
    assert poller.due(Reason.CLOCK, "00-aa-bb-01") == [Poll("support", Reason.CLOCK, traceparent="00-aa-bb-01")]
    assert "MAILBOXES__office__HOST" in caplog.text


@pytest.mark.parametrize("at", range(1, 8))
def test_an_ill_storage_puts_the_poll_back_with_a_delay(world: World, at: int) -> None:
    world.server.deliver(letter(1))
    app = world.app(Faults(at))
    app.poller.poll(Poll("support", Reason.AGAIN, retries=1))
    assert world.app().health.of("support").failures == 0
    assert world.enqueued() == [], "it is hidden until its pause is over"
    assert world.stores.queues[QueueName.POLLS].length() == 1
    world.tamper("UPDATE messages SET visible = 0 WHERE queue = 'polls'")
    assert world.enqueued() == [Poll("support", Reason.AGAIN, retries=2)]


def test_1_10_a_poll_that_finds_the_lease_held_makes_the_holder_look_again(world: World) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    second: list[object] = []

    def look_as_another_instance() -> None:
        if not second:
            second.append(world.app().poller.poll(Poll("support", Reason.AGAIN)))

    world.server.before_batch = look_as_another_instance
    assert world.look()
    assert second == [None]
    assert world.sign_ins == 1, "one worker at a time"
    assert world.enqueued() == [Poll("support", Reason.AGAIN)]
    assert world.look(Reason.AGAIN)
    assert world.enqueued() == [], "once more, and not for ever"


def test_1_10_ten_polls_that_find_the_lease_held_are_one_more_look(world: World) -> None:
    world.server.deliver(letter(1))

    def ask_ten_times() -> None:
        assert not any(world.look(Reason.AGAIN) for _ in range(10))

    world.server.before_batch = ask_ten_times
    assert world.look()
    assert world.enqueued() == [Poll("support", Reason.AGAIN)]


def test_1_10_the_holder_looks_again_although_it_failed_once_it_may(world: World) -> None:
    world.server.deliver(letter(1))

    def ask_and_break() -> None:
        world.look(Reason.AGAIN)
        raise ConnectFailed("mailbox support: 127.0.0.1:1 does not answer")

    world.server.before_batch = ask_and_break
    assert not world.look()
    [again] = world.enqueued()
    before = world.sign_ins
    world.app().poller.poll(again)
    assert world.sign_ins == before, "backoff holds for it too"


def test_1_10_another_mailboxs_lease_is_none_of_ours(world: World) -> None:
    assert world.stores.leases.acquire("office", 60) is not None
    assert world.look()


def test_1_10_a_worker_that_slept_past_its_lease_removes_nothing_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 30)))
    slept = 0.0

    def sleep() -> None:
        nonlocal slept
        if len(world.server.messages) < 29:
            slept = 55.0

    monkeypatch.setattr("shared.leasing.time", SimpleNamespace(monotonic=lambda: slept))
    removed_late = []
    world.server.before_batch = sleep
    world.server.before_removal = lambda data: removed_late.append(data) if slept else None
    assert not world.look()
    assert 0 < len(world.server.messages) < 29
    assert len(removed_late) < 2, "at most what was begun before"
    assert world.app().health.of("support").failures == 0, "no failure of the mailbox"

    # Whoever looks next finishes it, and downloads nothing that is stored already.
    slept = 0.0
    world.server.before_batch = lambda: None
    world.time += timedelta(minutes=2)
    assert world.look()
    assert world.server.messages == {}
    assert len(world.server.downloaded) == len(set(world.server.downloaded))


@pytest.mark.parametrize("commits", [False, True], ids=["at once", "on commit"])
@pytest.mark.parametrize("good", range(4))
def test_1_10_nothing_is_removed_after_the_lease_is_lost(world: World, commits: bool, good: int) -> None:
    world.server.commits = commits
    world.server.deliver(*(letter(number) for number in range(1, 12)))
    guard = LosesIt(world.server, good)
    app = world.app()
    with pytest.raises(LeaseLost):
        app.poller.intake.drain(
            app.settings.mailboxes["support"], world.server.open(), guard, budget=300, first_contact=START
        )
    assert guard.lost_with is not None
    assert list(world.server.messages) == guard.lost_with


class LosesIt:
    """A lease that is lost after so many good answers."""

    def __init__(self, server: MemoryServer, good: int) -> None:
        self._server = server
        self._good = good
        self.lost_with: list[int] | None = None

    def ensure(self) -> None:
        self._good -= 1
        if self._good < 0:
            self.lost_with = list(self._server.messages)
            raise LeaseLost("mailbox support: the lease is lost")


def test_1_10_a_lease_that_cannot_be_released_ends_by_itself(world: World) -> None:
    stores = replace(world.stores, leases=Unreleased(world.stores.leases))
    app = world.app()
    poller = replace(app.poller, intake=replace(app.poller.intake, stores=stores))
    assert poller.poll(Poll("support", Reason.CLOCK)) is not None
    assert world.app().health.of("support").failures == 0


class Unreleased:
    """Leases that are acquired and cannot be given up."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    def acquire(self, name: str, seconds: int) -> str | None:
        return self._leases.acquire(name, seconds)

    def renew(self, name: str, token: str) -> None:
        self._leases.renew(name, token)

    def release(self, name: str, token: str) -> None:
        raise ServiceUnavailable("ill")
