"""The health of mailboxes (rule 1.9)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.config import MailboxSettings
from shared.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    MailboxBusy,
    MailboxError,
    ServiceUnavailable,
    without_mailbox,
)
from shared.mailbox_health import HealthRecords
from shared.queue_messages import PollReason
from shared.storage.base import Records
from shared.storage.factory import open_storage
from tests.servers.memory_app import settings_for

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
DOWN = ConnectFailed("mailbox support: mail.example.com:993 does not answer")
BUSY = MailboxBusy("mailbox support: [IN-USE] maildrop already locked")
REFUSED = AuthenticationError(
    "mailbox support: mail.example.com rejected the password; set MAILBOXES__support__PASSWORD"
)


class Clock:
    """A time that is set."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def pass_(self, **by: float) -> None:
        self.time += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    settings = settings_for(f"folder:{tmp_path}")
    stores = open_storage(settings.app_storage, settings.mail_storage, "mail")
    yield stores.records
    stores.close()


@pytest.fixture
def health(records: Records, clock: Clock) -> HealthRecords:
    return HealthRecords(records, clock)


def mailbox(**extra: str) -> MailboxSettings:
    """The settings of a mailbox."""
    values = {f"MAILBOXES__support__{name}": value for name, value in extra.items()}
    values = {"MAILBOXES__support__ADDRESS": "support@example.com", **values}
    return settings_for("folder:somewhere", values).mailboxes["support"]


def pause_after(health: HealthRecords, settings: MailboxSettings, error: MailboxError, clock: Clock) -> timedelta:
    health.record_failure(settings, error)
    next_try = health.get("support").next_try
    assert next_try is not None
    return next_try - clock.time


def alerts(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log lines about an alert, by the alert's name."""
    names = [record.getMessage().split(":")[0] for record in caplog.records if record.levelno >= logging.WARNING]
    return [name for name in names if name.startswith("mailbox-")]


def test_a_mailbox_that_was_never_polled_is_due(health: HealthRecords) -> None:
    assert all(health.skip_reason(mailbox(), reason) is None for reason in PollReason)


def test_a_mailbox_that_is_switched_off_is_never_due(health: HealthRecords) -> None:
    assert all("__ENABLED" in (health.skip_reason(mailbox(ENABLED="false"), reason) or "") for reason in PollReason)


def test_1_9_backoff_doubles_and_is_capped(health: HealthRecords, clock: Clock) -> None:
    settings = mailbox(DISABLE_AFTER="100")
    minutes = [pause_after(health, settings, DOWN, clock) / timedelta(minutes=1) for _ in range(40)]
    assert minutes[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert set(minutes[8:]) == {60}


def test_1_9_a_failed_mailbox_is_not_polled_before_its_backoff_ends(health: HealthRecords, clock: Clock) -> None:
    settings = mailbox()
    health.record_failure(settings, DOWN)
    clock.pass_(seconds=59)
    why_not = health.skip_reason(settings, PollReason.TIMER)
    assert why_not is not None
    assert "does not answer" in why_not
    assert health.skip_reason(settings, PollReason.FOLLOW_UP) is not None
    assert health.skip_reason(settings, PollReason.MANUAL) is None
    clock.pass_(seconds=1)
    assert health.skip_reason(settings, PollReason.TIMER) is None


def test_1_9_a_success_ends_the_backoff(health: HealthRecords, clock: Clock) -> None:
    settings = mailbox(POLL_EVERY="60")
    for _ in range(3):
        health.record_failure(settings, DOWN)
    health.record_success(settings, collected=2, left=1)
    now = health.get("support")
    assert (now.failures, now.last_error, now.next_try, now.collected, now.left) == (0, "", None, 2, 1)
    assert health.skip_reason(settings, PollReason.TIMER) is None
    assert pause_after(health, settings, DOWN, clock) == timedelta(minutes=1)


def test_1_9_rejected_credentials_back_off_at_once(health: HealthRecords, clock: Clock) -> None:
    settings = mailbox(DISABLE_AFTER="100")
    minutes = [pause_after(health, settings, REFUSED, clock) / timedelta(minutes=1) for _ in range(8)]
    assert minutes == [15, 30, 60, 120, 240, 240, 240, 240]


def test_1_9_rejected_credentials_are_not_tried_again_even_manually(health: HealthRecords, clock: Clock) -> None:
    settings = mailbox()
    health.record_failure(settings, REFUSED)
    assert all(health.skip_reason(settings, reason) is not None for reason in PollReason)
    clock.pass_(minutes=15)
    assert health.skip_reason(settings, PollReason.TIMER) is None


def test_1_9_changed_credentials_are_tried_at_once(health: HealthRecords) -> None:
    health.record_failure(mailbox(), REFUSED)
    assert health.skip_reason(mailbox(PASSWORD="another"), PollReason.TIMER) is None
    assert health.skip_reason(mailbox(POLL_EVERY="120"), PollReason.TIMER) is not None, "no sign-in setting"


def test_1_9_one_alert_when_it_stops_and_one_when_it_recovers(
    health: HealthRecords, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    settings = mailbox(DISABLE_AFTER="3")
    for _ in range(2):
        health.record_failure(settings, DOWN)
    assert alerts(caplog) == []
    assert not health.get("support").disabled
    for _ in range(3):
        health.record_failure(settings, DOWN)
    assert alerts(caplog) == ["mailbox-disabled"]
    clock.pass_(days=400)
    why_not = [health.skip_reason(settings, reason) for reason in PollReason]
    assert all("mailroom enable support" in (item or "") for item in why_not)

    health.enable("support")
    assert health.skip_reason(settings, PollReason.TIMER) is None
    assert alerts(caplog) == ["mailbox-disabled"], "it has not worked yet"
    for _ in range(2):
        health.record_success(settings, collected=0, left=0)
    assert alerts(caplog) == ["mailbox-disabled", "mailbox-recovered"]
    assert all("support" in record.getMessage() for record in caplog.records), "each line says which mailbox"


def test_1_9_ten_failures_disable_by_default(health: HealthRecords) -> None:
    settings = mailbox()
    for _ in range(9):
        health.record_failure(settings, DOWN)
    assert not health.get("support").disabled
    health.record_failure(settings, DOWN)
    assert health.get("support").disabled


def test_1_9_failures_count_only_in_a_row(health: HealthRecords) -> None:
    settings = mailbox(DISABLE_AFTER="2")
    for _ in range(3):
        health.record_failure(settings, DOWN)
        health.enable("support")
        health.record_success(settings, collected=0, left=0)
    health.record_failure(settings, DOWN)
    assert not health.get("support").disabled


def test_1_9_changed_sign_in_settings_enable_it(health: HealthRecords, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        health.record_failure(mailbox(DISABLE_AFTER="2"), REFUSED)
    mended = mailbox(DISABLE_AFTER="2", PASSWORD="another")
    assert health.skip_reason(mended, PollReason.TIMER) is None
    health.record_failure(mended, REFUSED)
    now = health.get("support")
    assert (now.failures, now.disabled) == (1, False), "the new credentials have tries of their own"
    health.enable("support")
    health.record_success(mended, collected=0, left=0)
    assert alerts(caplog) == ["mailbox-disabled", "mailbox-recovered"]


def test_1_9_changed_sign_in_settings_enable_it_though_the_server_is_busy_then(
    health: HealthRecords, clock: Clock
) -> None:
    for _ in range(2):
        health.record_failure(mailbox(DISABLE_AFTER="2"), REFUSED)
    mended = mailbox(DISABLE_AFTER="2", PASSWORD="another")
    health.record_busy(mended, BUSY)
    clock.pass_(minutes=2)
    assert health.skip_reason(mended, PollReason.TIMER) is None


def test_1_9_a_second_disabling_raises_the_alert_again(health: HealthRecords, caplog: pytest.LogCaptureFixture) -> None:
    settings = mailbox(DISABLE_AFTER="2")
    for _ in range(2):
        health.record_failure(settings, DOWN)
    health.enable("support")
    for _ in range(2):
        health.record_failure(settings, DOWN)
    assert health.get("support").disabled
    assert alerts(caplog) == ["mailbox-disabled", "mailbox-disabled"]


def test_1_9_a_busy_server_is_not_a_failure_at_first(
    health: HealthRecords, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    settings = mailbox(DISABLE_AFTER="1")
    assert health.record_busy(settings, MailboxBusy("[LOGIN-DELAY] once in 90 s", retry_after=90)) == 90
    now = health.get("support")
    assert (now.failures, now.is_failing(clock.time)) == (0, False)
    assert "LOGIN-DELAY" in (health.skip_reason(settings, PollReason.TIMER) or ""), "status and logs quote the server"
    clock.pass_(seconds=90)
    assert health.skip_reason(settings, PollReason.TIMER) is None
    assert alerts(caplog) == []


def test_1_9_the_backoff_of_a_busy_server_grows_past_half_an_hour(health: HealthRecords) -> None:
    settings = mailbox()
    assert [health.record_busy(settings, BUSY) / 60 for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    health.record_success(settings, collected=0, left=0)
    assert health.record_busy(settings, BUSY) == 60, "a poll that finished ends the growth"


def test_1_9_a_server_that_is_busy_for_an_hour_raises_one_alert(
    health: HealthRecords, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    settings = mailbox(DISABLE_AFTER="1")
    busy_at, alerted_at = 0.0, None
    while alerted_at is None:
        pause = health.record_busy(settings, BUSY)
        alerted_at = busy_at if alerts(caplog) else None
        busy_at += pause / 60
        clock.pass_(seconds=pause)
    assert 60 <= alerted_at < 120, "the first poll after an hour"
    assert alerts(caplog) == ["mailbox-failing"]
    assert "IN-USE" in caplog.text
    health.record_busy(settings, BUSY)
    assert alerts(caplog) == ["mailbox-failing"], "one alert, not one a poll"
    now = health.get("support")
    assert (now.is_failing(clock.time), now.disabled, now.busy_since) == (True, False, START)
    health.record_success(settings, collected=0, left=0)
    assert alerts(caplog) == ["mailbox-failing", "mailbox-recovered"]
    now = health.get("support")
    assert (now.is_failing(clock.time), now.busy_since, now.busy_reason) == (False, None, "")


def test_1_9_a_busy_hour_counts_from_the_last_poll_that_finished(health: HealthRecords, clock: Clock) -> None:
    settings = mailbox()
    for _ in range(5):
        health.record_busy(settings, BUSY)
        clock.pass_(minutes=50)
        health.record_success(settings, collected=0, left=0)
    health.record_busy(settings, BUSY)
    clock.pass_(minutes=59)
    assert not health.get("support").is_failing(clock.time)
    clock.pass_(minutes=1)
    assert health.get("support").is_failing(clock.time)


def test_1_9_a_service_that_never_responds_counts_like_a_busy_server(
    health: HealthRecords, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    settings = mailbox()
    down = ServiceUnavailable("the token service answers 503")
    health.record_unavailable(settings, down)
    assert health.skip_reason(settings, PollReason.TIMER) is None, "the queue's own delay is the backoff"
    clock.pass_(minutes=61)
    health.record_unavailable(settings, down)
    assert alerts(caplog) == ["mailbox-failing"]
    assert health.get("support").is_failing(clock.time)


def test_1_9_recovery_is_not_logged_as_an_error(health: HealthRecords, caplog: pytest.LogCaptureFixture) -> None:
    settings = mailbox(DISABLE_AFTER="1")
    health.record_failure(settings, DOWN)
    health.enable("support")
    health.record_success(settings, collected=0, left=0)
    [recovered] = [record for record in caplog.records if "mailbox-recovered" in record.getMessage()]
    assert recovered.levelno == logging.WARNING


def test_a_warning_is_kept_until_a_poll_without_it(health: HealthRecords, caplog: pytest.LogCaptureFixture) -> None:
    health.record_success(mailbox(), collected=0, left=0, warnings=["folder 'INBOX': UIDVALIDITY changed"])
    assert health.get("support").warning == "folder 'INBOX': UIDVALIDITY changed"
    assert "UIDVALIDITY changed" in caplog.text
    health.record_success(mailbox(), collected=0, left=0)
    assert health.get("support").warning == ""


def test_1_9_poll_every_applies_to_the_timer_alone(health: HealthRecords, clock: Clock) -> None:
    settings = mailbox(POLL_EVERY="600")
    health.record_contact(settings)
    clock.pass_(minutes=8)
    assert health.skip_reason(settings, PollReason.TIMER) is not None
    assert health.skip_reason(settings, PollReason.FOLLOW_UP) is None
    assert health.skip_reason(settings, PollReason.MANUAL) is None
    clock.pass_(minutes=2)
    assert health.skip_reason(settings, PollReason.TIMER) is None


def test_1_9_a_slightly_early_timer_tick_is_not_skipped(health: HealthRecords, clock: Clock) -> None:
    health.record_contact(mailbox())
    clock.pass_(seconds=58)
    assert health.skip_reason(mailbox(), PollReason.TIMER) is None


def test_1_11_first_contact_is_recorded_once(health: HealthRecords, clock: Clock) -> None:
    assert health.record_contact(mailbox()).first_contact == START
    clock.pass_(days=3)
    assert health.record_contact(mailbox()).first_contact == START
    assert health.get("support").last_poll == START + timedelta(days=3)


def test_a_configuration_error_counts_as_a_failure(health: HealthRecords) -> None:
    health.record_failure(mailbox(), ConfigurationError("MAILBOXES__support__CA_FILE names no file"))
    assert health.get("support").failures == 1
    assert "CA_FILE" in health.get("support").last_error


def test_an_endless_error_text_is_cut(health: HealthRecords) -> None:
    health.record_failure(mailbox(), ConnectFailed("x\r\n" * 100_000))
    assert len(health.get("support").last_error) <= 1000
    assert health.get("support").last_error.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "mailbox support: no route to host",
        "mailbox support at mail.example.com:993: no route to host",
        "mailbox support, INBOX: no route to host",
        "no route to host",
    ],
)
def test_every_line_about_a_mailbox_names_it_once(
    text: str, health: HealthRecords, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "mailroom")
    once = mailbox(DISABLE_AFTER="1")
    health.record_busy(once, MailboxBusy(text))
    lines = [str(health.skip_reason(once, PollReason.TIMER))]
    clock.pass_(hours=2)
    health.record_busy(once, MailboxBusy(text))
    health.record_failure(once, ConnectFailed(text))
    lines += [f"mailbox support: {health.get('support').last_error}", str(health.skip_reason(once, PollReason.TIMER))]
    lines += [record.getMessage() for record in caplog.records]
    assert len(lines) == 6
    for line in lines:
        assert line.count("mailbox support") == 1, line
        assert "no route to host" in line, line


def test_another_mailbox_with_a_similar_name_is_kept_in_the_text() -> None:
    assert without_mailbox("mailbox support2: down", "support") == "mailbox support2: down"
    assert without_mailbox(ConnectFailed("mailbox support at h:1: down"), "support") == "h:1: down"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (REFUSED, "correct the sign-in, then run `mailroom enable support`"),
        (DOWN, "to poll it now, run `mailroom enable support`"),
    ],
)
def test_1_9_a_mailbox_that_backs_off_names_the_command_that_ends_it(
    error: MailboxError, advice: str, health: HealthRecords
) -> None:
    health.record_failure(mailbox(), error)
    assert str(health.skip_reason(mailbox(), PollReason.TIMER)).endswith(advice)
    health.enable("support")
    assert health.skip_reason(mailbox(), PollReason.TIMER) is None


def test_1_9_a_busy_mailbox_that_works_again_is_logged(health: HealthRecords, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailroom")
    health.record_busy(mailbox(), BUSY)
    health.record_success(mailbox(), collected=0, left=0)
    assert "mailbox support works again; its server or the storage was busy since 2026-11-23 10:00:00Z" in caplog.text
