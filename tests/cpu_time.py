"""Limits of CPU time that hold on machines of any speed.

A limit in seconds fails on a slow machine and passes too much on a fast machine. So limits are stated for a nominal
machine, and what a test measures is converted: a fixed amount of work in Python is measured in the same process.
`python -m bench.hostile` prints seconds of the machine on which it runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final, TypeVar

_Result = TypeVar("_Result")

NOMINAL: Final = 0.010
"""Seconds that the reference work takes on the machine whose figures are in `docs/reference/parsing.md`."""

TRIES: Final = 4
"""Maximum number of measurements, of which the best counts, since other work on the machine disturbs them."""

HOPELESS: Final = 10
"""Times the limit after which one measurement is enough: repeating it would take as long again."""

_LINES: Final = "".join(
    f"Field-{number}: a word, {number} <a{number}@b.example>; name=value\n" for number in range(1_450)
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9.-]+|[^\sA-Za-z0-9.-]")

_fastest: list[float] = []


def within(seconds: float, work: Callable[[], _Result]) -> _Result:
    """Return the result of `work` after asserting that it takes less than `seconds` of CPU time.

    The first measurement is compared with the fastest reference work so far in this process. Only if it exceeds the
    limit is the reference work measured again, and the work with it.

    Args:
        seconds: the limit, in seconds of the nominal machine, for this thread.
        work: what is measured; it is called again if the first measurement exceeds the limit.

    Raises:
        AssertionError: if every measurement exceeds the limit.
    """
    __tracebackhide__ = True
    if not _fastest:
        _fastest.append(_reference())
    result, taken = _measured(work)
    best = taken * NOMINAL / _fastest[0]
    for attempt in range(TRIES):
        if best < seconds:
            return result
        before = _reference()
        if attempt and best < HOPELESS * seconds:
            _, taken = _measured(work)
        reference = min(before, _reference())
        _fastest[0] = min(_fastest[0], reference)
        best = min(best, taken * NOMINAL / reference)
    assert best < seconds, f"it took {best:.2f} s of the nominal machine, of {seconds:.2f} s"
    return result


def nominal_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of `work` in seconds of the nominal machine."""
    before = _reference()
    _, taken = _measured(work)
    return taken * NOMINAL / min(before, _reference())


def _measured(work: Callable[[], _Result]) -> tuple[_Result, float]:
    started = time.thread_time()
    result = work()
    return result, time.thread_time() - started


def _reference() -> float:
    """Return the shortest of three measurements of the reference work, in seconds."""
    return min(_measured(_reference_work)[1] for _ in range(3))


def _reference_work() -> int:
    """Do the same work on each call, of the kinds that reading mail consists of. Return a checksum."""
    counts: dict[str, int] = {}
    for line in _LINES.splitlines():
        name, _, value = line.partition(":")
        for token in _TOKEN.findall(value):
            counts[token.lower()] = counts.get(token, 0) + len(name)
    checksum = 0
    for character in _LINES:
        checksum = (checksum * 31 + ord(character)) % 65521
    return checksum + len(counts)
