"""Intake while batches are stored: two are uploaded at a time, and recorded in order; an upload may fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.documents.blob_paths import raw_path
from shared.errors import ServiceUnavailable
from shared.mailboxes.spool import MEMORY_LIMIT
from shared.receipts import State
from shared.storage.base import Change, NewBlob
from tests.end_to_end.command import identity
from tests.integration.intake_fixture import DAY, IntakeFixture, count_contents, letter

BATCH = 2
"""Messages that the server in memory delivers together."""

LETTERS = [letter(number) for number in range(4 * BATCH)]


class Unlimited:
    """A lease that is never lost."""

    def ensure(self) -> None:
        """Return."""


RUN: dict[str, Any] = {"budget": 300, "first_contact": DAY}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeFixture]:
    world = IntakeFixture(tmp_path / "mail")
    world.server.deliver(*LETTERS)
    yield world
    world.stores.close()


def batch_of(path: str) -> int:
    """Return the number of the batch that has the message of a path."""
    paths = [raw_path(identity(data)) for data in LETTERS]
    return paths.index(path) // BATCH


def test_two_batches_are_uploaded_at_a_time_and_recorded_in_order(
    world: IntakeFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_began = threading.Event()
    uploaded: list[int] = []
    recorded: list[int] = []
    create_many, commit = world.stores.blobs.create_many, world.stores.records.commit
    batch_by_message = {identity(data): number // BATCH for number, data in enumerate(LETTERS)}

    def uploading(blobs: Sequence[NewBlob]) -> list[bool]:
        number = batch_of(blobs[0].path)
        if number == 0:
            assert second_began.wait(10), "the first upload ends after the second one"
        created = create_many(blobs)
        uploaded.append(number)
        if number == 1:
            second_began.set()
        return created

    def committing(changes: Sequence[Change]) -> bool:
        messages = {str(getattr(change, "values", {}).get("message")) for change in changes}
        batches = {batch_by_message[message] for message in messages & batch_by_message.keys()}
        assert batches <= set(uploaded)
        recorded.extend(batches)
        return commit(changes)

    monkeypatch.setattr(world.stores.blobs, "create_many", uploading)
    monkeypatch.setattr(world.stores.records, "commit", committing)
    app = world.app()
    app.poller.intake.run(app.settings.mailboxes["support"], world.server.open(), Unlimited(), **RUN)
    assert uploaded[0] == 1
    assert sorted(uploaded) == [0, 1, 2, 3]
    assert recorded == [0, 1, 2, 3]
    assert world.server.messages == {}


@pytest.mark.parametrize("failing", range(4))
def test_8_1_after_an_upload_failed_nothing_is_lost_and_the_next_poll_continues(
    world: IntakeFixture, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    create_many = world.stores.blobs.create_many
    uploading: set[int] = set()

    def failing_upload(blobs: Sequence[NewBlob]) -> list[bool]:
        if blobs[0].path.endswith(".eml") and batch_of(blobs[0].path) == failing:
            create_many(blobs[:1])
            raise ServiceUnavailable("the storage is unavailable")
        uploading.add(threading.get_ident())
        try:
            return create_many(blobs)
        finally:
            uploading.discard(threading.get_ident())

    with monkeypatch.context() as patch:
        patch.setattr(world.stores.blobs, "create_many", failing_upload)
        opened, closed = count_contents(patch)
        app = world.app()
        with pytest.raises(ServiceUnavailable, match="the storage is unavailable"):
            app.poller.intake.run(app.settings.mailboxes["support"], world.server.open(), Unlimited(), **RUN)
        assert uploading == set()
    assert len(closed) >= len(opened) >= (failing + 1) * BATCH
    stored = {receipt.message for receipt in world.receipts()}
    assert not stored.intersection(identity(data) for data in LETTERS[failing * BATCH : (failing + 1) * BATCH])
    remaining = list(world.server.messages.values())
    assert set(remaining) >= set(LETTERS[failing * BATCH :]), "no batch is removed after the one that failed"
    assert all(identity(data) in stored for data in LETTERS if data not in remaining)
    world.poll()
    assert world.server.messages == {}
    assert sorted(receipt.message for receipt in world.receipts()) == sorted(map(identity, LETTERS))
    assert {receipt.state for receipt in world.receipts()} == {State.ROUTED}
    assert len(world.results()) == len(LETTERS)


def test_1_7_a_message_that_is_spooled_is_fetched_alone(world: IntakeFixture) -> None:
    world.server.messages.clear()
    world.server.deliver(*LETTERS[:3])
    first = min(world.server.messages)
    world.server.reported_sizes[first + 1] = MEMORY_LIMIT + 1
    fetched: list[int] = []
    world.server.before_batch = lambda: fetched.append(len(world.server.downloaded))
    world.poll()
    assert fetched == [0, 1, 2]
    assert len(world.results()) == 3
