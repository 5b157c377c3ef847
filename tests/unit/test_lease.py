"""A held lease renews itself, and knows when it may be lost (rule 1.10)."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from shared.errors import LeaseLost, ServiceUnavailable
from shared.lease import RenewingLease


class Clock:
    """A time source that the test advances: a wait of the lease's thread ends in `next_wait`, without real time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.waits = 0
        self._ended = 0
        self.changed = changed = threading.Condition()
        clock = self

        class Event(threading.Event):
            def set(self) -> None:
                with changed:
                    super().set()
                    changed.notify_all()

            def wait(self, timeout: float | None = None) -> bool:
                with changed:
                    clock.waits += 1
                    changed.notify_all()
                    assert changed.wait_for(lambda: self.is_set() or clock._ended == clock.waits, 30)
                    clock.now += timeout or 0
                    return self.is_set()

        monkeypatch.setattr("shared.lease.time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr("shared.lease.threading", SimpleNamespace(Event=Event, Thread=threading.Thread))

    def next_wait(self, count: int = 1) -> None:
        """End the current wait of the lease's thread, and return when it waits again; repeat this."""
        for _ in range(count):
            self.end_wait()
            with self.changed:
                assert self.changed.wait_for(lambda: self.waits == self._ended + 1, 30)

    def end_wait(self) -> None:
        """End the current wait of the lease's thread."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.waits == self._ended + 1, 30)
            self._ended += 1
            self.changed.notify_all()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class CountedLeases:
    """Leases that count renewals; the next renewals raise the errors in `answers`."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.renewals = 0
        self.released = 0

    def acquire(self, name: str, seconds: int) -> str | None:
        return "token"

    def renew(self, name: str, token: str) -> None:
        self.renewals += 1
        if self.answers:
            raise self.answers.pop(0)

    def release(self, name: str, token: str) -> None:
        self.released += 1


def test_1_10_a_held_lease_renews_itself_and_is_released(clock: Clock) -> None:
    leases = CountedLeases()
    lease = RenewingLease.acquire(leases, "support", 60)
    assert lease is not None
    with lease:
        clock.next_wait(8)
        assert (clock.now, leases.renewals) == (120, 8)
        lease.ensure()
    assert leases.released == 1
    assert leases.renewals == 8
    assert not lease._renewer.is_alive()


def test_1_10_a_lease_that_another_worker_holds_is_lost_at_once(clock: Clock) -> None:
    leases = CountedLeases(LeaseLost("gone"))
    lease = RenewingLease.acquire(leases, "support", 60)
    assert lease is not None
    with lease:
        lease.ensure()
        clock.end_wait()
        lease._renewer.join(30)
        assert leases.renewals == 1
        with pytest.raises(LeaseLost, match="support"):
            lease.ensure()


def test_1_10_an_unavailable_storage_loses_the_lease_only_when_it_expires(clock: Clock) -> None:
    leases = CountedLeases(*[ServiceUnavailable("ill")] * 100)
    lease = RenewingLease.acquire(leases, "support", 60)
    assert lease is not None
    with lease:
        clock.next_wait(3)
        assert clock.now == 45
        lease.ensure()
        clock.now = 53.9
        lease.ensure()
        clock.now = 54.1
        with pytest.raises(LeaseLost):
            lease.ensure()


def test_1_10_a_storage_that_recovers_in_time_keeps_the_lease(clock: Clock) -> None:
    leases = CountedLeases(ServiceUnavailable("ill"))
    lease = RenewingLease.acquire(leases, "support", 60)
    assert lease is not None
    with lease:
        clock.next_wait(5)
        assert clock.now == 75
        lease.ensure()
