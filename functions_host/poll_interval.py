"""The wait between two checks of a queue that is empty."""

from __future__ import annotations

from collections.abc import Callable
from random import uniform

MIN_INTERVAL = 0.1
"""The first wait in seconds, and the unit of the longer ones."""

SPREAD = 0.2
"""The part of a wait that is random."""


class PollInterval:
    """The wait until the next check: it doubles with each empty check, by about a fifth at random, up to a maximum.

    The steps are those of `RandomizedExponentialBackoffStrategy` in the WebJobs SDK: 0.1 s, then 0.1 s more than a
    random 0.8 to 1.2 times 0.1 s, 0.2 s, 0.4 s and so on.

    Args:
        longest: the longest wait in seconds; the wait stays there.
        spread: returns a random number between its arguments.
    """

    def __init__(self, longest: float, spread: Callable[[float, float], float] = uniform) -> None:
        self._longest = longest
        self._spread = spread
        self._step = 0

    def reset(self) -> None:
        """Start with the shortest wait again, since the queue had messages."""
        self._step = 0

    def next(self) -> float:
        """Return the seconds until the next check, and lengthen the wait after it."""
        wait = MIN_INTERVAL
        if self._step:
            wait += self._spread(1 - SPREAD, 1 + SPREAD) * MIN_INTERVAL * 2.0 ** (self._step - 1)
        if wait >= self._longest:
            return self._longest
        self._step += 1
        return wait
