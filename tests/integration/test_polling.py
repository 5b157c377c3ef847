"""Polls of a mailbox: when they run, and how failures are handled (rule 1.9)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared.config import MailboxSettings
from shared.errors import AuthenticationError, ConnectFailed, MailboxBusy, ServiceUnavailable
from shared.mailboxes.base import Mailbox
from shared.mailboxes.pop3.server_record import RECORDS
from shared.queue_messages import Poll, PollReason
from shared.storage.base import QueueName
from tests.integration.polling_fixture import START, PollingFixture, letter
from tests.servers.faults import FaultInjector


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PollingFixture]:
    fixture = PollingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def alerts(caplog: pytest.LogCaptureFixture) -> list[str]:
    names = [record.getMessage().split(":")[0] for record in caplog.records if record.levelno >= logging.WARNING]
    return [name for name in names if name.startswith("mailbox-")]


def test_1_9_a_failing_mailbox_is_not_polled_during_its_backoff_and_never_raises(world: PollingFixture) -> None:
    world.fails = ConnectFailed("mailbox support: 127.0.0.1:1 does not answer")
    tries = []
    for minute in range(70):
        world.time = START + timedelta(minutes=minute)
        before = world.sign_ins
        world.poll()
        if world.sign_ins > before:
            tries.append(minute)
    assert tries == [0, 1, 3, 7, 15, 31, 63]


def test_1_9_rejected_credentials_are_tried_once_and_then_after_15_minutes(world: PollingFixture) -> None:
    world.fails = AuthenticationError("mailbox support: the password was rejected")
    for minute in range(15):
        world.time = START + timedelta(minutes=minute)
        for reason in PollReason:
            world.poll(reason)
    assert world.sign_ins == 1
    world.time = START + timedelta(minutes=15)
    world.poll()
    assert world.sign_ins == 2


def test_1_9_a_mailbox_raises_alerts_when_it_is_disabled_and_when_it_recovers(
    world: PollingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    world.extra = {"DISABLE_AFTER": "3"}
    world.fails = ConnectFailed("mailbox support: 127.0.0.1:1 does not answer")
    for hour in range(0, 60, 2):
        world.time = START + timedelta(hours=hour)
        world.poll()
    assert world.sign_ins == 3
    assert alerts(caplog) == ["mailbox-disabled"]
    world.fails = None
    assert not world.poll()
    world.app().health.enable("support")
    assert world.poll()
    world.time += timedelta(minutes=1)
    assert world.poll()
    assert alerts(caplog) == ["mailbox-disabled", "mailbox-recovered"]


def test_1_9_changed_sign_in_settings_enable_it(world: PollingFixture, caplog: pytest.LogCaptureFixture) -> None:
    world.extra = {"DISABLE_AFTER": "1"}
    world.fails = AuthenticationError("mailbox support: the password was rejected")
    world.poll()
    world.fails = None
    assert not world.poll()
    world.extra["PASSWORD"] = "another"
    assert world.poll()
    assert alerts(caplog) == ["mailbox-disabled", "mailbox-recovered"]


def test_1_9_a_busy_server_is_not_a_failure(world: PollingFixture) -> None:
    world.extra = {"DISABLE_AFTER": "1"}
    world.fails = MailboxBusy("[IN-USE] another session has it", retry_after=120)
    for _ in range(3):
        world.poll()
    assert world.sign_ins == 1
    assert world.app().health.get("support").failures == 0
    world.fails = None
    world.time += timedelta(seconds=120)
    assert world.poll()


def test_1_9_a_mailbox_that_is_busy_for_an_hour_raises_its_alert(
    world: PollingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    world.fails = MailboxBusy("mailbox support: not now: [IN-USE] maildrop already locked")
    polls = []
    for minute in range(130):
        world.time = START + timedelta(minutes=minute)
        before = world.sign_ins
        world.poll()
        if world.sign_ins > before:
            polls.append(minute)
        expected = ["mailbox-failing"] if minute >= 63 else []
        assert alerts(caplog) == expected, f"minute {minute}"
    assert polls == [0, 1, 3, 7, 15, 31, 63, 123], "the pauses grow past half an hour"
    health = world.app().health.get("support")
    assert (health.failures, health.disabled) == (0, False)
    assert "[IN-USE]" in health.busy_reason
    world.fails = None
    world.time += timedelta(hours=1)
    assert world.poll()
    assert alerts(caplog) == ["mailbox-failing", "mailbox-recovered"]


def test_1_9_a_service_that_does_not_respond_is_shown_and_alerts_after_an_hour(
    world: PollingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    world.fails = ServiceUnavailable("the token service answers 503")
    world.poll()
    assert "503" in world.app().health.get("support").busy_reason
    world.time += timedelta(hours=1)
    world.poll()
    assert alerts(caplog) == ["mailbox-failing"]


def test_1_9_poll_every(world: PollingFixture) -> None:
    world.extra = {"POLL_EVERY": "600"}
    for minute in range(31):
        world.time = START + timedelta(minutes=minute)
        for request in world.app().poller.due_polls(PollReason.TIMER):
            world.app().poller.poll(request)
    assert world.sign_ins == 4


def test_two_polls_of_one_timer_tick_are_one_poll(world: PollingFixture) -> None:
    assert [world.poll(), world.poll()] == [True, False]


def test_1_9_an_unexpected_error_is_a_failure_and_does_not_raise(world: PollingFixture) -> None:
    world.fails = ZeroDivisionError("ours")
    assert not world.poll()
    health = world.app().health.get("support")
    assert health.failures == 1
    assert "ZeroDivisionError" in health.last_error


def test_a_poll_for_a_mailbox_that_is_no_longer_configured_is_dropped(world: PollingFixture) -> None:
    assert world.app().poller.poll(Poll("gone", PollReason.TIMER)) is None
    assert world.sign_ins == 0


def test_a_mailbox_with_invalid_settings_is_logged_and_does_not_stop_the_others(
    world: PollingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    poller = replace(world.app().poller, configuration_errors={"office": ("MAILBOXES__office__HOST is missing",)})
    assert poller.due_polls(PollReason.TIMER, "00-aa-bb-01") == [
        Poll("support", PollReason.TIMER, traceparent="00-aa-bb-01")
    ]
    assert "MAILBOXES__office__HOST" in caplog.text


@pytest.mark.parametrize("at", range(1, 8))
def test_a_poll_is_requeued_with_a_delay_when_storage_is_unavailable(world: PollingFixture, at: int) -> None:
    world.server.deliver(letter(1))
    app = world.app(FaultInjector(at))
    app.poller.poll(Poll("support", PollReason.FOLLOW_UP, retries=1))
    assert world.app().health.get("support").failures == 0
    assert world.take_polls() == [], "it is hidden until its pause is over"
    assert world.stores.queues[QueueName.POLLS].length() == 1
    world.execute_sql("UPDATE messages SET visible = 0 WHERE queue = 'polls'")
    assert world.take_polls() == [Poll("support", PollReason.FOLLOW_UP, retries=2)]


def test_the_pipelining_record_of_a_pop3_server_outlives_the_process(
    world: PollingFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.extra = {"PROTOCOL": "pop3"}
    records: list[str] = []

    def poll(learned: str) -> None:
        """Poll in a new process, and return its record of the server."""
        with monkeypatch.context() as process:
            process.setattr(RECORDS, "_records", {})
            app = world.app()

            def connect(settings: MailboxSettings) -> Mailbox:
                records.append(RECORDS.record(settings).no_pipelining)
                if learned:
                    RECORDS.record(settings).disable_pipelining(learned)
                return app.poller.connect(settings)

            replace(app.poller, connect=connect).poll(Poll("support", PollReason.MANUAL))

    poll("")
    poll("two answers were mixed up")
    poll("")
    assert records == ["", "", "two answers were mixed up"]
    world.extra["PORT"] = "2"
    poll("")
    assert records[-1] == "", "it is another server"


def test_a_mailbox_with_invalid_settings_is_reported_once_an_hour(
    world: PollingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "mailroom")
    time = [START]
    errors = {"office": ("MAILBOXES__office__HOST is missing",)}
    poller = replace(world.app().poller, configuration_errors=errors, now=lambda: time[0])
    for _ in range(61):
        poller.due_polls(PollReason.TIMER)
        time[0] += timedelta(minutes=1)
    line = "mailbox office is not polled, its settings are invalid: MAILBOXES__office__HOST is missing"
    assert [record.getMessage() for record in caplog.records] == [line, line]


def test_the_first_poll_of_an_empty_mailbox_is_logged_and_later_ones_are_not(
    world: PollingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "mailroom")
    poller = world.app().poller
    for _ in range(2):
        poller.poll(Poll("support", PollReason.MANUAL))
    lines = [record for record in caplog.records if "support: 0 collected" in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.INFO, logging.DEBUG]
