"""When a mailbox with notifications is polled, and when the poll is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate, pairwise
from pathlib import Path

import pytest

from shared.errors import ConnectFailed, MailboxBusy
from shared.intake.poller import MOST_RETRIES, REPEAT_AFTER, SPACING
from shared.queue_messages import Poll, PollReason
from tests.integration.polling_fixture import START, GraphWorld, World, letter
from tests.servers.faults import Faults

DOWN = ConnectFailed("mailbox support: graph.microsoft.com:443 does not answer")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GraphWorld]:
    fixture = GraphWorld(tmp_path)
    yield fixture
    fixture.stores.close()


def notification_now(world: GraphWorld) -> Poll:
    return Poll("support", PollReason.NOTIFIED, requested_at=world.time)


def test_a_notification_causes_a_poll_regardless_of_the_interval(world: GraphWorld) -> None:
    world.server.deliver(letter(1))
    assert world.look()
    world.later(5)
    world.server.deliver(letter(2))
    drained = world.notified()
    assert drained is not None
    assert drained.collected == 1
    assert world.taken_off() == []
    assert world.app().health.get("support").last_notified == world.time


def test_a_notification_before_the_last_poll_is_already_served(world: GraphWorld) -> None:
    world.server.deliver(letter(1))
    came = world.time
    world.later(10)
    assert world.look()
    assert world.notified(asked=came) is None
    assert world.notified(asked=came + timedelta(seconds=8)) is None
    assert world.sign_ins == 1
    assert world.taken_off() == []


def test_a_notification_within_a_second_of_a_poll_causes_another_poll(
    world: GraphWorld,
) -> None:
    """The system times of two instances differ."""
    world.server.deliver(letter(1))
    assert world.look()
    world.later(30)
    assert world.notified(asked=START - timedelta(seconds=1)) is not None


def test_a_notification_right_after_a_poll_is_delayed(world: GraphWorld) -> None:
    world.server.deliver(letter(1))
    assert world.notified() is not None
    world.later(0.5)
    world.server.deliver(letter(2))
    early = notification_now(world)
    assert world.serve(early) is None
    assert world.taken_off() == [(early, SPACING)], "as it came, its time included"
    world.later(SPACING)
    drained = world.serve(early)
    assert drained is not None
    assert drained.collected == 1


def test_a_burst_of_notifications_causes_two_polls(world: GraphWorld) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 8)))
    burst = [
        Poll("support", PollReason.NOTIFIED, requested_at=START + timedelta(milliseconds=10 * ms)) for ms in range(30)
    ]
    polls = world.run(*burst, at_most=80)
    assert [reason for reason, _ in polls[:2]] == ["notified", "notified"]
    assert polls[1][1] == pytest.approx(SPACING)
    assert [reason for reason, _ in polls[2:]] in ([], ["repeat"]), "the second found nothing, since all was taken"


def test_an_empty_poll_is_repeated_once_after_20_seconds(world: GraphWorld) -> None:
    assert world.run(notification_now(world)) == [("notified", 0.0), ("repeat", REPEAT_AFTER)]
    assert REPEAT_AFTER == 20


def test_mail_that_only_the_repeated_poll_sees_is_stored(world: GraphWorld) -> None:
    assert world.notified() is not None
    [(repeat, delay)] = world.taken_off()
    world.later(delay)
    world.server.deliver(letter(1))
    drained = world.serve(repeat)
    assert drained is not None
    assert drained.collected == 1
    assert world.taken_off() == []


def test_an_empty_poll_is_not_repeated_after_a_newer_poll(world: GraphWorld) -> None:
    assert world.notified() is not None
    [(repeat, delay)] = world.taken_off()
    world.later(delay - 5)
    world.server.deliver(letter(1))
    assert world.notified() is not None
    world.later(5)
    assert world.serve(repeat) is None
    assert world.sign_ins == 2
    assert world.taken_off() == []


def test_a_poll_that_finds_mail_is_not_repeated(world: GraphWorld) -> None:
    world.server.deliver(letter(1), letter(2))
    assert world.run(notification_now(world)) == [("notified", 0.0)]


def test_8_3_a_poll_with_missing_messages_is_repeated(world: GraphWorld) -> None:
    world.server.deliver(letter(1), letter(2))
    world.server.gone = {2}
    drained = world.notified()
    assert drained is not None
    assert (drained.collected, drained.gone) == (1, 1)
    assert [(poll.reason, delay) for poll, delay in world.taken_off()] == [(PollReason.RECHECK, REPEAT_AFTER)]


@pytest.mark.parametrize("reason", [PollReason.TIMER, PollReason.RECHECK, PollReason.MANUAL])
def test_a_poll_without_a_notification_is_not_repeated(world: GraphWorld, reason: PollReason) -> None:
    assert world.look(reason)
    assert world.taken_off() == []


def test_polls_of_other_protocols_are_not_repeated(tmp_path: Path) -> None:
    world = World(tmp_path)
    for reason in (PollReason.NOTIFIED, PollReason.FOLLOW_UP):
        assert world.look(reason)
    assert world.enqueued() == []
    world.stores.close()


def test_1_10_a_notification_during_a_drain_causes_another_poll(world: GraphWorld) -> None:
    world.server.deliver(letter(1))

    def notify_as_another_instance() -> None:
        world.server.before_batch = lambda: None
        world.later(SPACING)
        world.server.deliver(letter(2))
        assert world.notified() is None

    world.server.before_batch = notify_as_another_instance
    assert world.notified() is not None
    assert world.sign_ins == 1, "one worker at a time"
    [(follow_up, delay)] = world.taken_off()
    assert (follow_up, delay) == (Poll("support", PollReason.FOLLOW_UP), SPACING)
    world.later(delay)
    assert world.run(follow_up) == [("again", 0.0)]
    assert world.server.messages == {}


def test_1_10_the_follow_up_poll_is_repeated_once(world: GraphWorld) -> None:
    assert world.run(Poll("support", PollReason.FOLLOW_UP)) == [("again", 0.0), ("repeat", REPEAT_AFTER)]


def test_a_drain_that_runs_out_of_time_continues_at_once(world: GraphWorld) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    world.server.told = dict.fromkeys((1, 2, 3), 3 * 1024 * 1024)
    app = world.app()
    replace(app.poller, budget=0).poll(notification_now(world))
    assert world.taken_off() == [(Poll("support", PollReason.FOLLOW_UP), 0)]


def test_1_9_the_timer_polls_every_15_minutes_with_notifications(world: GraphWorld) -> None:
    minutes = minutes_of_timer_polls(world, 61)
    assert intervals(minutes) <= {14, 15}, "a tick that comes a little early counts"
    assert len(minutes) in (4, 5)


def test_1_9_the_timer_polls_every_minute_without_notifications(world: GraphWorld) -> None:
    world.subscribed = False
    assert minutes_of_timer_polls(world, 20) == list(range(20))
    world.subscribed = True
    assert minutes_of_timer_polls(world, 30, start=20) == []
    world.subscribed = False
    assert minutes_of_timer_polls(world, 33, start=30) == [30, 31, 32]


def test_1_9_a_configured_interval_holds_with_notifications(world: GraphWorld) -> None:
    world.extra = {"POLL_EVERY": "300"}
    assert minutes_of_timer_polls(world, 16) == [0, 5, 10, 15]


def test_1_9_a_failing_mailbox_is_retried_by_its_backoff_with_notifications(world: GraphWorld) -> None:
    world.fails = DOWN
    assert minutes_of_timer_polls(world, 20) == [0, 1, 3, 7, 15]
    world.fails = None
    minutes = minutes_of_timer_polls(world, 70, start=20)
    assert minutes[0] == 31
    assert intervals(minutes) <= {14, 15}


def test_1_9_notifications_do_not_shorten_a_backoff(world: GraphWorld) -> None:
    world.fails = DOWN
    assert world.notified() is None
    for _ in range(5):
        world.later(10)
        assert world.notified() is None
    assert world.sign_ins == 1
    assert world.taken_off() == []


def minutes_of_timer_polls(world: GraphWorld, until: int, start: int = 0) -> list[int]:
    """Return the minutes at which timer runs caused polls."""
    minutes = []
    for minute in range(start, until):
        world.time = START + timedelta(minutes=minute)
        before = world.sign_ins
        for poll in world.app().poller.due(PollReason.TIMER):
            world.serve(poll)
        minutes += [minute] * (world.sign_ins - before)
    assert world.taken_off() == []
    return minutes


def intervals(minutes: list[int]) -> set[int]:
    return {later - earlier for earlier, later in pairwise(minutes)}


@pytest.mark.parametrize(("retry_after", "expected_delay"), [(120.0, 121.0), (None, 61), (0.0, 61)])
def test_1_9_a_busy_mailbox_is_polled_again_after_retry_after(
    world: GraphWorld, retry_after: float | None, expected_delay: float
) -> None:
    world.fails = MailboxBusy("mailbox support: ApplicationThrottled", retry_after=retry_after)
    assert world.notified() is None
    assert world.app().health.get("support").failures == 0
    [(follow_up, delay)] = world.taken_off()
    assert (follow_up.reason, follow_up.retries, delay) == (PollReason.FOLLOW_UP, 1, expected_delay)
    world.later(delay - 2)
    assert world.notified() is None
    assert world.sign_ins == 1, "not before its time"
    world.later(2)
    world.fails = None
    world.server.deliver(letter(1))
    assert world.run(follow_up) == [("again", 0.0)]


def test_1_9_a_mailbox_that_stays_busy_is_left_to_the_timer(world: GraphWorld) -> None:
    world.fails = MailboxBusy("mailbox support: ApplicationThrottled", retry_after=30)
    polls = world.run(notification_now(world))
    times = accumulate(30.0 * 2**busy + 1 for busy in range(MOST_RETRIES))
    assert polls == [("notified", 0.0), *(("again", time) for time in times)]
    world.fails = None
    world.later(900)
    assert world.look(PollReason.TIMER)


def test_1_9_other_protocols_wait_for_the_timer_when_busy(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fails = MailboxBusy("[IN-USE]", retry_after=1)
    assert not world.look()
    assert world.enqueued() == []
    world.stores.close()


def test_unavailable_storage_requeues_a_notification_as_a_poll(world: GraphWorld) -> None:
    world.server.deliver(letter(1))
    world.app(Faults(1)).poller.poll(notification_now(world))
    [(follow_up, delay)] = world.taken_off()
    assert (follow_up.reason, follow_up.retries, follow_up.requested_at) == (PollReason.FOLLOW_UP, 1, None)
    assert delay > 0
    drained = world.serve(follow_up)
    assert drained is not None
    assert drained.collected == 1


def test_8_1_a_notification_after_a_crashed_poll_is_not_treated_as_served(world: GraphWorld) -> None:
    """The crashed poll began later, but does not count because it did not finish."""
    came = world.time
    world.later(5)
    world.server.deliver(letter(1))
    app = world.app()
    app.health.contacted(app.settings.mailboxes["support"], PollReason.NOTIFIED)
    world.later(600)
    drained = world.notified(asked=came)
    assert drained is not None
    assert drained.collected == 1
