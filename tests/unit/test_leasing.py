"""A held lease renews itself, and knows when it cannot be trusted (rule 1.10)."""

from __future__ import annotations

import threading
import time

import pytest

from shared.errors import LeaseLost, ServiceUnavailable
from shared.leasing import HeldLease


class CountedLeases:
    """Leases that count; what is put into `answers` is raised by the next renewals."""

    def __init__(self) -> None:
        self.answers: list[Exception] = []
        self.renewals = 0
        self.released = 0
        self.renewed = threading.Event()

    def acquire(self, name: str, seconds: int) -> str | None:
        return "token"

    def renew(self, name: str, token: str) -> None:
        self.renewals += 1
        self.renewed.set()
        if self.answers:
            raise self.answers.pop(0)

    def release(self, name: str, token: str) -> None:
        self.released += 1


def test_1_10_a_held_lease_renews_itself_and_is_released() -> None:
    leases = CountedLeases()
    lease = HeldLease.acquire(leases, "support", 1)
    assert lease is not None
    with lease:
        time.sleep(1.3)
        lease.ensure()
        assert leases.renewals >= 3
    assert leases.released == 1
    after = leases.renewals
    time.sleep(0.4)
    assert leases.renewals == after


def test_1_10_a_lease_that_another_has_is_lost_at_once() -> None:
    leases = CountedLeases()
    leases.answers = [LeaseLost("gone")]
    lease = HeldLease.acquire(leases, "support", 2)
    assert lease is not None
    with lease:
        lease.ensure()
        assert leases.renewed.wait(5)
        time.sleep(0.05)
        with pytest.raises(LeaseLost, match="support"):
            lease.ensure()


def test_1_10_an_ill_storage_loses_the_lease_only_when_its_time_is_up() -> None:
    leases = CountedLeases()
    leases.answers = [ServiceUnavailable("ill")] * 100
    lease = HeldLease.acquire(leases, "support", 2)
    assert lease is not None
    with lease:
        assert leases.renewed.wait(5)
        lease.ensure()
        time.sleep(1.4)
        with pytest.raises(LeaseLost):
            lease.ensure()


def test_1_10_a_storage_that_is_well_again_saves_the_lease() -> None:
    leases = CountedLeases()
    leases.answers = [ServiceUnavailable("ill")]
    lease = HeldLease.acquire(leases, "support", 1)
    assert lease is not None
    with lease:
        time.sleep(1.2)
        lease.ensure()
