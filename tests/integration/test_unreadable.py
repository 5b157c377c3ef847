"""Messages that a server never delivers: recorded once, kept in the mailbox, requested again on demand (8.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ServiceUnavailable
from shared.queue_messages import Poll, PollReason
from shared.receipts import State
from shared.storage.base import QueueName
from tests.integration.intake_fixture import DAY, IntakeFixture, letter
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled
from tests.servers.memory_app import let_time_pass

WHY = "ErrorMimeContentConversionFailed The item's content cannot be converted"
TOLD: dict[str, object] = {
    "subject": "Sealed",
    "from": "a@b.example",
    "to": ["support@example.com"],
    "message_id": "<1@b.example>",
    "received": "2026-11-23T11:59:00Z",
}


@pytest.fixture(params=["delete", "keep"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[IntakeFixture]:
    fixture = IntakeFixture(tmp_path)
    fixture.extra = {"AFTER": request.param}
    yield fixture
    fixture.stores.close()


def seal(world: IntakeFixture, *numbers: int) -> None:
    """The server never delivers these."""
    world.server.refused = dict.fromkeys(numbers, WHY)
    world.server.unreadable = dict.fromkeys(numbers, TOLD)


def records(world: IntakeFixture) -> list[str]:
    return list(world.stores.blobs.list("unreadable/"))


def states(world: IntakeFixture) -> list[str]:
    return sorted(receipt.state.value for receipt in world.receipts())


def enable(world: IntakeFixture, *, unreadable: bool = True) -> None:
    world.time += timedelta(minutes=1)
    world.app().health.enable("support", unreadable=unreadable)
    world.time += timedelta(minutes=1)


def test_8_3_an_unreadable_message_is_recorded_once_and_stays_and_does_not_stop_the_others(
    world: IntakeFixture, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.deliver(letter(1), letter(2), letter(3))
    seal(world, 2)
    for days in range(3):
        world.time = DAY + timedelta(days=days)
        world.poll()
    assert 2 in world.server.messages
    assert world.server.downloaded == [1, 2, 3], "nothing is asked for again"
    assert len(world.results()) == 2
    assert states(world) == ["routed", "routed", "unreadable"]
    [path] = records(world)
    assert path.startswith("unreadable/support/2026/11/23/"), "the day is that of the first poll"
    assert [record.levelname for record in caplog.records if path in record.getMessage()] == ["WARNING"], "said once"
    health = world.app().health.get("support")
    assert (health.failures, health.last_error) == (0, "")


def test_8_3_the_record_holds_what_the_server_reports_and_the_fix(world: IntakeFixture) -> None:
    world.server.deliver(letter(1))
    seal(world, 1)
    world.poll()
    record = world.read(records(world)[0])
    assert record["schema"] == "mailroom/unreadable/1"
    assert record["message"] == TOLD
    assert record["size"] == len(letter(1))
    assert WHY in str(record["detail"])
    assert "mailroom enable support --unreadable" in str(record["detail"])
    arrival: Any = record["arrival"]
    assert (arrival["mailbox"], arrival["folder"], arrival["server_key"]) == ("support", "INBOX", "1.1")
    assert arrival["stored"] == "2026-11-23T12:00:00Z"
    assert list(world.stores.blobs.list("messages/")) == [], "there are no bytes"


def test_8_3_an_unreadable_message_is_counted_as_skipped(world: IntakeFixture) -> None:
    world.server.deliver(letter(1), letter(2))
    seal(world, 1)
    world.poll()
    assert world.app().health.get("support").left == 1
    if world.extra["AFTER"] == "delete":  # Under `keep` a poll sees only new messages.
        world.poll()
        assert world.app().health.get("support").left == 1


def test_8_3_an_unreadable_message_is_requested_again_once_on_demand(world: IntakeFixture) -> None:
    world.server.deliver(letter(1), letter(2))
    seal(world, 1)
    world.poll()
    for tries in (2, 3):
        enable(world)
        for _ in range(3):
            world.poll()
            world.time += timedelta(minutes=1)
        assert world.server.downloaded.count(1) == tries, "once for each time it is wanted"
    assert world.server.downloaded.count(2) == 1
    assert len(records(world)) == 1
    assert states(world) == ["routed", "unreadable"]
    assert len(world.results()) == 1


def test_8_3_enabling_a_mailbox_does_not_request_unreadable_messages_again(world: IntakeFixture) -> None:
    world.server.deliver(letter(1))
    seal(world, 1)
    world.poll()
    enable(world, unreadable=False)
    world.poll()
    assert world.server.downloaded == [1]


def test_8_3_a_message_that_becomes_readable_is_stored_and_routed(world: IntakeFixture) -> None:
    world.server.deliver(letter(1), letter(2))
    seal(world, 1)
    world.poll()
    seal(world)
    world.time = DAY + timedelta(days=1)
    world.poll()
    assert world.server.downloaded.count(1) == 1, "it was not requested again"
    enable(world)
    for _ in range(2):
        world.poll()
    assert states(world) == ["routed", "routed"]
    assert sorted(path[:26] for path in world.results()) == ["routed/support/2026/11/23/"] * 2
    assert (1 in world.server.messages) == (world.extra["AFTER"] == "keep")
    assert world.server.downloaded.count(1) == 2
    assert len(records(world)) == 1, "what was, was"


def test_8_3_mail_behind_an_unreadable_message_is_collected(world: IntakeFixture) -> None:
    world.server.deliver(letter(1))
    seal(world, 1)
    world.poll()
    world.server.deliver(letter(2))
    world.poll()
    assert len(world.results()) == 1
    assert world.server.downloaded == [1, 2]


def test_1_8_many_unreadable_messages_neither_delay_mail_nor_repeat_a_poll(
    world: IntakeFixture,
) -> None:
    world.server.deliver(*(letter(number) for number in range(1, 6)))
    world.server.reported_sizes = dict.fromkeys(range(1, 6), 3 * 1024 * 1024)
    seal(world, *range(1, 6))
    world.server.deliver(letter(6))
    world.poll(budget=0)
    assert sorted(world.server.downloaded) == [1, 2, 3, 4, 5, 6], "each poll continues where the one before it stopped"
    assert len(records(world)) == 5
    assert len(world.results()) == 1
    assert world.stores.queues[QueueName.POLLS].length() == 0


def test_1_7_an_unreadable_message_that_became_oversized_is_recorded_as_oversized_too(world: IntakeFixture) -> None:
    world.server.deliver(letter(1, 2000))
    seal(world, 1)
    world.poll()
    world.extra["MAX_MESSAGE_BYTES"] = "1000"
    enable(world)
    for _ in range(2):
        world.poll()
    assert world.server.downloaded == [1]
    assert len(list(world.stores.blobs.list("oversized/"))) == 1
    assert 1 in world.server.messages


def test_8_3_an_oversized_message_that_is_unreadable_is_requested_once(world: IntakeFixture) -> None:
    world.extra["MAX_MESSAGE_BYTES"] = "1000"
    world.server.deliver(letter(1, 2000))
    seal(world, 1)
    world.poll()
    assert states(world) == ["oversized"]
    world.extra["MAX_MESSAGE_BYTES"] = "3000"
    for _ in range(3):
        world.poll()
    assert world.server.downloaded == [1]
    assert states(world) == ["unreadable"]
    assert len(records(world)) == 1


def look_with(world: IntakeFixture, faults: FaultInjector) -> None:
    app = world.app()
    stores = faults.stores(world.stores)
    intake = replace(app.poller.intake, storage=stores)
    with suppress(ProcessKilled):
        replace(app.poller, intake=intake).poll(Poll("support", PollReason.MANUAL))


@pytest.mark.parametrize("way", list(FailureMode), ids=lambda way: way.value)
@pytest.mark.parametrize("after", ["delete", "keep"])
def test_8_1_any_failure_while_it_is_recorded_is_repaired_by_the_next_poll(
    tmp_path: Path, after: str, way: FailureMode
) -> None:
    for at in itertools.count(1):
        fixture = IntakeFixture(tmp_path / str(at))
        fixture.extra = {"AFTER": after}
        fixture.server.deliver(letter(1), letter(2))
        seal(fixture, 1)
        faults = FaultInjector(at, way)
        look_with(fixture, faults)
        assert_made_good(fixture)
        fixture.stores.close()
        if at > faults.count:
            assert at > 10, "there were steps to break"
            return


def assert_made_good(world: IntakeFixture) -> None:
    let_time_pass(world.folder)
    for _ in range(2):
        world.time += timedelta(minutes=10)
        world.poll()
    before = world.server.downloads
    world.poll()
    assert world.server.downloads == before, "done with"
    assert world.server.downloaded.count(1) <= 2
    [path] = records(world)
    assert world.read(path)["message"] == TOLD
    assert states(world) == ["routed", "unreadable"]
    assert len(world.results()) == 1
    assert 1 in world.server.messages


def test_8_3_a_record_that_could_not_be_written_is_written_at_the_next_poll(
    world: IntakeFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.server.deliver(letter(1))
    seal(world, 1)
    with monkeypatch.context() as broken:

        def create(*_: object, **__: object) -> bool:
            raise ServiceUnavailable("ill")

        broken.setattr(world.stores.blobs, "create", create)
        world.poll()
    [receipt] = world.receipts()
    assert (receipt.state, receipt.last_refused_at) == (State.UNREADABLE, None)
    assert records(world) == []
    world.time += timedelta(days=1)
    let_time_pass(world.folder)
    world.poll()
    world.poll()
    [path] = records(world)
    assert path.startswith("unreadable/support/2026/11/23/"), "the day is the receipt's"
    assert world.server.downloaded == [1, 1]
    [receipt] = world.receipts()
    assert receipt.last_refused_at == world.time


@pytest.mark.parametrize("commits", [False, True], ids=["at once", "on commit"])
def test_1_8_messages_that_overflow_while_they_stream_do_not_delay_mail(world: IntakeFixture, commits: bool) -> None:
    world.extra["MAX_MESSAGE_BYTES"] = "3MB"
    world.server.commits = commits
    world.server.deliver(*(letter(number, 3 * 1024 * 1024) for number in range(1, 6)), letter(6))
    world.server.reported_sizes = dict.fromkeys(range(1, 7), 3 * 1024 * 1024 - 1)  # each is a batch of its own
    world.poll(budget=0)
    assert len(world.results()) == 1
    assert world.server.downloaded == [1, 2, 3, 4, 5, 6]
    assert world.stores.queues[QueueName.POLLS].length() == 0
