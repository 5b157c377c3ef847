"""`forget` (rule 8.5) that crashes at any step, and its leases on the mailboxes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from shared.errors import MessageMissing, ServiceUnavailable
from shared.lease import RenewingLease
from shared.operations.erasure import Eraser
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import KEEP, SUBJECT, TO_BOTH, dump_storage, run_forget
from tests.integration.replay_fixture import BOTH, ReplayFixture
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def test_8_5_no_mailbox_is_drained_meanwhile(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, TO_BOTH)
    reported: list[str] = []
    lease = RenewingLease.acquire(world.stores.leases, "office")
    assert lease is not None
    eraser = Eraser(world.stores, {"office", "support"}, lease_timeout=0.5)
    with (
        lease,
        pytest.raises(ServiceUnavailable, match="office is being drained"),
        eraser.hold_mailboxes(reported.append),
    ):
        pytest.fail("it is drained")
    assert set(reported) == {"office"}
    with eraser.hold_mailboxes() as ensure:
        ensure()
        assert RenewingLease.acquire(world.stores.leases, "support") is None


@pytest.mark.parametrize(
    ("way", "what"),
    [(FailureMode.GONE_BEFORE, identity(TO_BOTH)), (FailureMode.REPLY_LOST, "a@b.example")],
    ids=["id", "address"],
)
def test_8_5_a_crash_at_any_step_is_finished_by_the_next_erasure(
    storage_of: str, way: FailureMode, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Receipts are truncated, so that recipients have to be found by the claims.
    monkeypatch.setattr("shared.dispatch.attempt.MAX_OUTCOME_LENGTH", 0)
    world = ReplayFixture(storage_of)
    try:
        at = 0
        while True:
            at += 1
            world.poll_and_route(KEEP, TO_BOTH)
            world.poll_and_route(KEEP, TO_BOTH, mailbox="office")
            assert "'sent'" in dump_storage(world.stores)
            faults = FaultInjector(at, way)
            stores = replace(world.stores, blobs=faults.around(world.stores.blobs, ServiceUnavailable))
            stores = replace(stores, records=faults.around(world.stores.records, ServiceUnavailable))
            with suppress(ProcessKilled, ServiceUnavailable):
                run_forget(world, what, stores=stores)
            done = faults.count < at
            with suppress(MessageMissing):
                run_forget(world, what)
            assert list(world.stores.blobs.list()) == [], (at, faults.names[-3:])
            reported = dump_storage(world.stores)
            erased = (identity(TO_BOTH), "@b.example", "sales@", SUBJECT, "'sent'")
            assert not [gone for gone in erased if gone in reported], faults.names[-3:]
            assert all(receipt.is_fully_erased for receipt in world.receipts())
            if done:
                assert at > 10
                return
    finally:
        world.stores.close()


@pytest.fixture
def storage_of(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder: Azurite behaves the same at each step, and takes longer."""
    return f"folder:{tmp_path_factory.mktemp('forgotten')}"
