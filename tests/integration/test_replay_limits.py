"""A dry run reads the newest messages up to its limit, on every storage."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from shared.clock import utc_now
from shared.operations.replay import ReplayRequests, StoredRecord
from tests.integration.replay_fixture import BILLING, BOTH, ReplayFixture, letter


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def test_a_dry_run_reads_the_newest_days_up_to_the_limit(world: ReplayFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = utc_now()
    for age in (3, 1, 2, 0):
        world.now = lambda age=age: now - timedelta(days=age)  # type: ignore[misc]
        world.poll_and_route(BILLING, letter("sales@example.com", age))
    reads: list[str] = []
    read_record = ReplayRequests.read_record

    def read(requests: ReplayRequests, path: str) -> StoredRecord | None:
        reads.append(path)
        return read_record(requests, path)

    monkeypatch.setattr(ReplayRequests, "read_record", read)
    since = now.date() - timedelta(days=7)
    outcome = world.request_replay(BOTH, since=since, dry_run=True, limit=3)
    assert [message.receipt.subject for message in outcome.messages] == ["0", "1", "2"]
    assert (outcome.counts.total(), outcome.unread, len(reads)) == (3, 1, 3)
    world.replay(BOTH, f"unhandled/support/{now - timedelta(days=1):%Y/%m/%d}")
    outcome = world.request_replay(BOTH, since=since, dry_run=True, limit=3)
    assert [message.receipt.subject for message in outcome.messages] == ["0", "2", "3"], "a resolved record is read"
    assert (outcome.resolved, outcome.unread) == (1, 0)
    assert world.request_replay(BOTH, since=since, limit=1).counts.total() == 3, "a replay has no limit"
