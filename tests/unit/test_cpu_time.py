"""Limits of CPU time hold on machines of any speed."""

from __future__ import annotations

import pytest

from tests import cpu_time
from tests.cpu_time import HOPELESS, NOMINAL, TRIES, within


class Work:
    """Work that takes a multiple of the reference work.

    Args:
        times: the multiple.

    Attributes:
        calls: how often it was done.
    """

    def __init__(self, times: int) -> None:
        self._times = times
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        for _ in range(self._times):
            cpu_time._reference_work()
        return self.calls


def test_work_within_its_limit_is_done_once() -> None:
    work = Work(1)
    assert within(4 * NOMINAL, work) == 1
    assert work.calls == 1


def test_work_beyond_its_limit_fails_after_several_tries() -> None:
    work = Work(6)
    with pytest.raises(AssertionError, match=r"of the nominal machine, of 0\.02 s"):
        within(2 * NOMINAL, work)
    assert work.calls == TRIES


def test_work_far_beyond_its_limit_is_not_repeated() -> None:
    work = Work(3 * HOPELESS)
    with pytest.raises(AssertionError, match="of the nominal machine"):
        within(NOMINAL, work)
    assert work.calls == 1


def test_a_slow_measurement_is_compared_with_the_machine_of_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_time, "_fastest", [NOMINAL / 1000])  # The machine was a thousand times as fast before.
    assert within(4 * NOMINAL, Work(1)) >= 1
