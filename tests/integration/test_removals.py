"""Removals that a poll could not record are recorded by the next poll that does not list them (rule 8.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import CommitUncertain, LeaseLost, ServiceUnavailable
from shared.queue_messages import Poll, PollReason
from shared.storage.base import Change, Merge, Storage
from tests.integration.intake_fixture import IntakeFixture, letter
from tests.integration.routing_fixture import InterceptedCalls
from tests.servers.faults import ProcessKilled
from tests.servers.memory_app import let_time_pass

POLL = Poll("support", PollReason.MANUAL)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeFixture]:
    fixture = IntakeFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def removed(world: IntakeFixture) -> dict[str, bool]:
    return {receipt.server_key: receipt.removed for receipt in world.receipts()}


def watched(world: IntakeFixture, **ways: Any) -> Storage:
    """Return the storage with intercepted calls of its records."""
    records: Any = InterceptedCalls(world.stores.records, **ways)
    return replace(world.stores, records=records)


def dies_before_recording(world: IntakeFixture) -> None:
    """Poll and remove the listed messages, in a process that ends before the receipts say so."""

    def gone(changes: Sequence[Change]) -> None:
        if any(isinstance(change, Merge) and change.values == {"removed": True} for change in changes):
            raise ProcessKilled

    app = world.app()
    intake = replace(app.poller.intake, storage=watched(world, commit=gone))
    with suppress(ProcessKilled):
        replace(app.poller, intake=intake).poll(POLL)
        pytest.fail("the process was to end")
    let_time_pass(world.folder)


def operations(world: IntakeFixture) -> list[str]:
    """Return the operations on receipts, and on the record of removals, of an ordinary poll."""
    names: list[str] = []

    def note(name: str) -> Any:
        return lambda table, *_args, **_how: names.append(f"{name} {table}")

    app = world.app()

    def note_changes(changes: Sequence[Change]) -> None:
        names.extend(f"{type(change).__name__.lower()} {change.table}" for change in changes)

    ways = {name: note(name) for name in ("get", "get_many", "merge", "merge_many", "create_many", "scan")}
    stores = watched(world, commit=note_changes, **ways)
    replace(app.poller, intake=replace(app.poller.intake, storage=stores)).poll(POLL)
    return names


def test_8_2_after_a_kill_the_next_poll_records_the_removals(world: IntakeFixture) -> None:
    world.server.deliver(letter(1), letter(2))
    world.poll()
    world.server.deliver(letter(3), letter(4))
    dies_before_recording(world)
    assert not world.server.messages
    assert removed(world) == {"1.1": True, "1.2": True, "1.3": False, "1.4": False}
    world.poll()
    assert set(removed(world).values()) == {True}


def test_8_2_a_message_that_is_still_listed_is_not_recorded_as_removed(world: IntakeFixture) -> None:
    world.extra["AFTER"] = "keep"
    world.server.deliver(letter(1), letter(2))
    world.poll()
    world.extra["AFTER"] = "delete"
    world.server.deliver(letter(3))
    world.server.refuses_removal = ServiceUnavailable("not now")
    world.poll()
    del world.server.messages[1]
    world.poll()
    assert removed(world) == {"1.1": True, "1.2": False, "1.3": False}
    world.server.refuses_removal = None
    world.time += timedelta(days=1)
    world.poll()
    assert set(removed(world).values()) == {True}


@pytest.mark.parametrize("kind", ["keep", "another UIDVALIDITY", "no keys"])
def test_8_2_an_inconclusive_listing_records_nothing(world: IntakeFixture, kind: str) -> None:
    world.server.deliver(letter(1))
    dies_before_recording(world)
    world.server.deliver(letter(2))
    if kind == "keep":
        world.extra["AFTER"] = "keep"
    elif kind == "no keys":
        world.server.has_keys = False
    else:
        world.server.uidvalidity = 2
    world.poll()
    assert removed(world)["1.1"] is False


def is_stored_and_stays(world: IntakeFixture) -> None:
    """Poll and store a message, and fail before it is removed."""
    world.server.deliver(letter(1))
    world.server.refuses_removal = ServiceUnavailable("not now")
    world.poll()
    assert len(world.server.messages) == 1


def test_8_2_an_interrupted_listing_records_nothing_and_the_next_one_decides(world: IntakeFixture) -> None:
    is_stored_and_stays(world)
    world.server.unlisted = {1}
    world.poll()
    assert removed(world) == {"1.1": False}, "it is still in the mailbox"
    world.server.messages.clear()
    world.server.unlisted.clear()
    world.poll()
    assert removed(world) == {"1.1": True}


def test_8_2_a_poll_that_settles_nothing_does_not_narrow_the_next_comparison(world: IntakeFixture) -> None:
    """It ends well, long after the poll that was killed."""
    world.server.deliver(letter(0))
    world.poll()
    world.server.deliver(letter(1))
    dies_before_recording(world)
    assert not world.server.messages
    for _ in range(2):
        world.time += timedelta(hours=5)
        world.server.deliver(letter(2))
        world.server.unlisted = set(world.server.messages)
        world.poll()
    world.server.unlisted.clear()
    world.time += timedelta(hours=5)
    world.poll()
    assert len(removed(world)) == 4
    assert set(removed(world).values()) == {True}


def test_8_2_old_mail_that_is_removed_meanwhile_hides_no_older_mail(world: IntakeFixture) -> None:
    world.extra["AFTER"] = "keep"
    world.server.deliver(letter(1))
    world.poll()
    world.time += timedelta(days=100)
    world.server.deliver(letter(2))
    world.poll()
    world.time += timedelta(days=100)
    world.poll()
    world.extra["AFTER"] = "delete"
    later = {2: world.server.messages.pop(2)}
    dies_before_recording(world)
    world.server.messages = later
    world.server.incomplete = True
    world.time += timedelta(hours=5)
    world.poll()
    assert removed(world) == {"1.1": False, "1.2": True}
    world.server.incomplete = False
    world.time += timedelta(hours=5)
    world.poll()
    assert removed(world) == {"1.1": True, "1.2": True}


def test_8_2_an_empty_folder_with_another_uidvalidity_records_nothing(world: IntakeFixture) -> None:
    """The folder was renamed, and another took its name; or the server is restored, and its mail comes later."""
    is_stored_and_stays(world)
    world.server.messages.clear()
    world.server.uidvalidity = 2
    world.poll()
    assert removed(world) == {"1.1": False}


@pytest.mark.parametrize("setting", ["HOST", "USERNAME", "PROTOCOL"])
def test_8_2_the_listing_of_another_account_records_nothing(world: IntakeFixture, setting: str) -> None:
    world.server.keys = {1: "u1", 2: "u2"}
    is_stored_and_stays(world)
    messages, world.server.messages = world.server.messages, {}
    world.time += timedelta(minutes=1)
    world.extra[setting] = {"HOST": "localhost", "USERNAME": "other", "PROTOCOL": "pop3"}[setting]
    world.poll()
    assert removed(world) == {"u1": False}, "it is still in the other account"
    assert messages
    world.server.refuses_removal = None
    world.time += timedelta(minutes=1)
    world.server.messages = {2: letter(2)}
    dies_before_recording(world)
    world.poll()
    assert removed(world) == {"u1": False, "u2": True}


def test_8_2_a_message_without_a_key_may_be_listed_under_one_now(world: IntakeFixture) -> None:
    world.extra["PROTOCOL"] = "pop3"
    world.server.has_keys = False
    is_stored_and_stays(world)
    (key,) = removed(world)
    world.server.has_keys, world.server.keys = True, {1: "u1"}
    world.poll()
    assert removed(world) == {key: False, "u1": False}
    world.server.refuses_removal = None
    world.poll()
    assert removed(world)["u1"]


def test_8_2_messages_without_keys_are_settled_once_none_is_listed(world: IntakeFixture) -> None:
    world.extra["PROTOCOL"] = "pop3"
    world.server.has_keys = False
    is_stored_and_stays(world)
    world.server.refuses_removal = None
    world.server.messages.clear()
    world.server.deliver(letter(2))
    world.poll()
    assert sorted(removed(world).values()) == [False, True], "which message is listed, only a download shows"
    world.poll()
    assert set(removed(world).values()) == {True}


def test_8_2_a_worker_that_lost_its_lease_records_nothing(world: IntakeFixture) -> None:
    """Meanwhile another worker may have stored messages that arrived after the listing."""
    is_stored_and_stays(world)
    world.server.messages.clear()
    app = world.app()

    class Guard:
        def ensure(self) -> None:
            raise LeaseLost("another worker has the mailbox")

    settings = app.settings.mailboxes["support"]
    with pytest.raises(LeaseLost):
        app.poller.intake.run(
            settings, world.server.open(), Guard(), budget=300, first_contact=world.time, unsettled=True
        )
    assert removed(world) == {"1.1": False}


def test_8_2_a_commit_whose_response_was_lost_is_settled_by_the_next_poll(
    world: IntakeFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.server.commits = True
    world.server.deliver(letter(1))
    commit = type(world.server.open()).commit

    def lost(session: Any) -> None:
        commit(session)
        raise CommitUncertain("no answer to QUIT")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.server.open()), "commit", lost)
        world.poll()
    assert (world.server.messages, removed(world)) == ({}, {"1.1": False})
    world.poll()
    assert removed(world) == {"1.1": True}


def test_8_2_old_mail_that_is_removed_is_settled_too(world: IntakeFixture) -> None:
    world.extra["AFTER"] = "keep"
    world.server.deliver(letter(1), letter(2))
    world.poll()
    world.time += timedelta(days=100)
    world.poll()
    world.extra["AFTER"] = "delete"
    dies_before_recording(world)
    assert not world.server.messages
    world.poll()
    assert removed(world) == {"1.1": True, "1.2": True}


def test_8_2_ordinary_polls_read_and_write_nothing_for_it(world: IntakeFixture) -> None:
    for number in range(3):
        world.server.deliver(letter(number))
        names = operations(world)
        assert not {"scan receipts", "merge mailboxes"} & set(names)
        assert names.count("get mailboxes") == 1, "whether another poll was requested"
        world.time += timedelta(hours=5)
    world.server.deliver(letter(9))
    dies_before_recording(world)
    scans = [[name for name in operations(world) if name.startswith("scan")] for _ in range(2)]
    assert [len(names) for names in scans] == [1, 0], "once"
