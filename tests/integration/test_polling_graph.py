"""When a mailbox that Graph notifies us of is polled, and when the poll is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate, pairwise
from pathlib import Path

import pytest

from shared.errors import ConnectFailed, MailboxBusy
from shared.intake.poller import MAX_RETRIES, NOTIFIED_SPACING, RECHECK_DELAY
from shared.queue_messages import Poll, PollReason
from tests.integration.polling_fixture import START, GraphPollingFixture, PollingFixture, letter
from tests.servers.faults import FaultInjector

DOWN = ConnectFailed("mailbox support: graph.microsoft.com:443 does not answer")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GraphPollingFixture]:
    fixture = GraphPollingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def asked_now(world: GraphPollingFixture) -> Poll:
    return Poll("support", PollReason.NOTIFIED, requested_at=world.time)


def test_a_notification_triggers_a_poll_whatever_the_interval(world: GraphPollingFixture) -> None:
    world.server.deliver(letter(1))
    assert world.poll()
    world.advance(5)
    world.server.deliver(letter(2))
    drained = world.poll_notified()
    assert drained is not None
    assert drained.collected == 1
    assert world.take_delayed_polls() == []
    assert world.app().health.get("support").last_notified == world.time


def test_a_notification_that_came_before_the_last_poll_began_is_served_by_it(world: GraphPollingFixture) -> None:
    world.server.deliver(letter(1))
    came = world.time
    world.advance(10)
    assert world.poll()
    assert world.poll_notified(asked=came) is None
    assert world.poll_notified(asked=came + timedelta(seconds=8)) is None
    assert world.sign_ins == 1
    assert world.take_delayed_polls() == []


def test_a_notification_within_a_second_of_the_last_poll_triggers_another_poll(
    world: GraphPollingFixture,
) -> None:
    """The system times of two instances differ."""
    world.server.deliver(letter(1))
    assert world.poll()
    world.advance(30)
    assert world.poll_notified(asked=START - timedelta(seconds=1)) is not None


def test_a_notification_right_after_a_poll_is_postponed_and_served(world: GraphPollingFixture) -> None:
    world.server.deliver(letter(1))
    assert world.poll_notified() is not None
    world.advance(0.5)
    world.server.deliver(letter(2))
    early = asked_now(world)
    assert world.run_poll(early) is None
    assert world.take_delayed_polls() == [(early, NOTIFIED_SPACING)], "as it came, its time included"
    world.advance(NOTIFIED_SPACING)
    drained = world.run_poll(early)
    assert drained is not None
    assert drained.collected == 1


def test_a_burst_of_notifications_triggers_two_polls(world: GraphPollingFixture) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 8)))
    burst = [
        Poll("support", PollReason.NOTIFIED, requested_at=START + timedelta(milliseconds=10 * ms)) for ms in range(30)
    ]
    polls = world.run(*burst, at_most=80)
    assert [reason for reason, _ in polls[:2]] == ["notified", "notified"]
    assert polls[1][1] == pytest.approx(NOTIFIED_SPACING)
    assert [reason for reason, _ in polls[2:]] in ([], ["recheck"]), "the second found nothing, since all was taken"


def test_a_poll_that_finds_nothing_is_repeated_once_20_seconds_later(world: GraphPollingFixture) -> None:
    assert world.run(asked_now(world)) == [("notified", 0.0), ("recheck", RECHECK_DELAY)]
    assert RECHECK_DELAY == 20


def test_a_message_that_only_the_recheck_sees_is_collected(world: GraphPollingFixture) -> None:
    assert world.poll_notified() is not None
    [(repeat, delay)] = world.take_delayed_polls()
    world.advance(delay)
    world.server.deliver(letter(1))
    drained = world.run_poll(repeat)
    assert drained is not None
    assert drained.collected == 1
    assert world.take_delayed_polls() == []


def test_a_recheck_that_another_poll_made_unnecessary_is_dropped(world: GraphPollingFixture) -> None:
    assert world.poll_notified() is not None
    [(repeat, delay)] = world.take_delayed_polls()
    world.advance(delay - 5)
    world.server.deliver(letter(1))
    assert world.poll_notified() is not None
    world.advance(5)
    assert world.run_poll(repeat) is None
    assert world.sign_ins == 2
    assert world.take_delayed_polls() == []


def test_a_poll_that_finds_mail_is_not_repeated(world: GraphPollingFixture) -> None:
    world.server.deliver(letter(1), letter(2))
    assert world.run(asked_now(world)) == [("notified", 0.0)]


def test_8_3_a_poll_that_met_messages_graph_reports_as_missing_is_repeated(world: GraphPollingFixture) -> None:
    world.server.deliver(letter(1), letter(2))
    world.server.gone = {2}
    drained = world.poll_notified()
    assert drained is not None
    assert (drained.collected, drained.gone) == (1, 1)
    assert [(poll.reason, delay) for poll, delay in world.take_delayed_polls()] == [(PollReason.RECHECK, RECHECK_DELAY)]


@pytest.mark.parametrize("reason", [PollReason.TIMER, PollReason.RECHECK, PollReason.MANUAL])
def test_a_poll_without_a_notification_is_not_repeated(world: GraphPollingFixture, reason: PollReason) -> None:
    assert world.poll(reason)
    assert world.take_delayed_polls() == []


def test_polls_over_other_protocols_are_never_repeated(tmp_path: Path) -> None:
    world = PollingFixture(tmp_path)
    for reason in (PollReason.NOTIFIED, PollReason.FOLLOW_UP):
        assert world.poll(reason)
    assert world.take_polls() == []
    world.stores.close()


def test_1_10_a_notification_during_a_drain_triggers_a_poll_after_it(world: GraphPollingFixture) -> None:
    world.server.deliver(letter(1))

    def notify_as_another_instance() -> None:
        world.server.before_batch = lambda: None
        world.advance(NOTIFIED_SPACING)
        world.server.deliver(letter(2))
        assert world.poll_notified() is None

    world.server.before_batch = notify_as_another_instance
    assert world.poll_notified() is not None
    assert world.sign_ins == 1, "one worker at a time"
    [(again, delay)] = world.take_delayed_polls()
    assert (again, delay) == (Poll("support", PollReason.FOLLOW_UP), NOTIFIED_SPACING)
    world.advance(delay)
    assert world.run(again) == [("follow-up", 0.0)]
    assert world.server.messages == {}


def test_1_10_a_follow_up_poll_may_be_repeated_once_too(world: GraphPollingFixture) -> None:
    assert world.run(Poll("support", PollReason.FOLLOW_UP)) == [("follow-up", 0.0), ("recheck", RECHECK_DELAY)]


def test_mail_that_is_left_when_the_time_is_up_is_polled_at_once(world: GraphPollingFixture) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.reported_sizes = dict.fromkeys((1, 2, 3), 3 * 1024 * 1024)
    app = world.app()
    replace(app.poller, budget=0).poll(asked_now(world))
    assert world.take_delayed_polls() == [(Poll("support", PollReason.FOLLOW_UP), 0)]


def test_1_9_the_timer_polls_every_15_minutes_while_graph_notifies_us(world: GraphPollingFixture) -> None:
    minutes = looks_by_the_clock(world, 61)
    assert paces(minutes) <= {14, 15}, "a tick that comes a little early counts"
    assert len(minutes) in (4, 5)


def test_1_9_the_timer_polls_every_minute_without_notifications(world: GraphPollingFixture) -> None:
    world.subscribed = False
    assert looks_by_the_clock(world, 20) == list(range(20))
    world.subscribed = True
    assert looks_by_the_clock(world, 30, start=20) == []
    world.subscribed = False
    assert looks_by_the_clock(world, 33, start=30) == [30, 31, 32]


def test_1_9_a_configured_interval_applies_despite_notifications(world: GraphPollingFixture) -> None:
    world.extra = {"POLL_EVERY": "300"}
    assert looks_by_the_clock(world, 16) == [0, 5, 10, 15]


def test_1_9_the_backoff_of_a_failing_mailbox_applies_despite_notifications(
    world: GraphPollingFixture,
) -> None:
    world.fails = DOWN
    assert looks_by_the_clock(world, 20) == [0, 1, 3, 7, 15]
    world.fails = None
    minutes = looks_by_the_clock(world, 70, start=20)
    assert minutes[0] == 31
    assert paces(minutes) <= {14, 15}


def test_1_9_notifications_do_not_shorten_a_backoff(world: GraphPollingFixture) -> None:
    world.fails = DOWN
    assert world.poll_notified() is None
    for _ in range(5):
        world.advance(10)
        assert world.poll_notified() is None
    assert world.sign_ins == 1
    assert world.take_delayed_polls() == []


def looks_by_the_clock(world: GraphPollingFixture, until: int, start: int = 0) -> list[int]:
    """Return the minutes at which timer ticks polled the mailbox."""
    minutes = []
    for minute in range(start, until):
        world.time = START + timedelta(minutes=minute)
        before = world.sign_ins
        for poll in world.app().poller.due_polls(PollReason.TIMER):
            world.run_poll(poll)
        minutes += [minute] * (world.sign_ins - before)
    assert world.take_delayed_polls() == []
    return minutes


def paces(minutes: list[int]) -> set[int]:
    return {later - earlier for earlier, later in pairwise(minutes)}


@pytest.mark.parametrize(("requested", "pause"), [(120.0, 121.0), (None, 61), (0.0, 61)])
def test_1_9_a_busy_graph_is_polled_again_after_the_requested_delay(
    world: GraphPollingFixture, requested: float | None, pause: float
) -> None:
    world.fails = MailboxBusy("mailbox support: ApplicationThrottled", retry_after=requested)
    assert world.poll_notified() is None
    assert world.app().health.get("support").failures == 0
    [(again, delay)] = world.take_delayed_polls()
    assert (again.reason, again.retries, delay) == (PollReason.FOLLOW_UP, 1, pause)
    world.advance(delay - 2)
    assert world.poll_notified() is None
    assert world.sign_ins == 1, "not before its time"
    world.advance(2)
    world.fails = None
    world.server.deliver(letter(1))
    assert world.run(again) == [("follow-up", 0.0)]


def test_1_9_a_graph_that_stays_busy_is_retried_and_then_polled_by_the_timer(world: GraphPollingFixture) -> None:
    world.fails = MailboxBusy("mailbox support: ApplicationThrottled", retry_after=30)
    polls = world.run(asked_now(world))
    times = accumulate(30.0 * 2**busy + 1 for busy in range(MAX_RETRIES))
    assert polls == [("notified", 0.0), *(("follow-up", time) for time in times)]
    world.fails = None
    world.advance(900)
    assert world.poll(PollReason.TIMER)


def test_1_9_over_other_protocols_a_busy_mailbox_waits_for_the_timer(tmp_path: Path) -> None:
    world = PollingFixture(tmp_path)
    world.fails = MailboxBusy("[IN-USE]", retry_after=1)
    assert not world.poll()
    assert world.take_polls() == []
    world.stores.close()


def test_a_notified_poll_is_requeued_as_a_follow_up_when_storage_is_unavailable(world: GraphPollingFixture) -> None:
    world.server.deliver(letter(1))
    world.app(FaultInjector(1)).poller.poll(asked_now(world))
    [(again, delay)] = world.take_delayed_polls()
    assert (again.reason, again.retries, again.requested_at) == (PollReason.FOLLOW_UP, 1, None)
    assert delay > 0
    drained = world.run_poll(again)
    assert drained is not None
    assert drained.collected == 1


def test_8_1_a_notification_redelivered_after_a_crash_is_not_treated_as_served(world: GraphPollingFixture) -> None:
    """The poll that died had begun since: it does not count, since it did not succeed."""
    came = world.time
    world.advance(5)
    world.server.deliver(letter(1))
    app = world.app()
    app.health.record_contact(app.settings.mailboxes["support"], PollReason.NOTIFIED)
    world.advance(600)
    drained = world.poll_notified(asked=came)
    assert drained is not None
    assert drained.collected == 1
