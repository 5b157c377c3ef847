"""How closely the local host follows the Functions host."""

from __future__ import annotations

from dataclasses import dataclass

from functions_host.worker_pool import PoolConfig


@dataclass(frozen=True, slots=True)
class HostMode:
    """Deviations from the Functions host. The default has none that was found by measuring.

    Attributes:
        fast_hops: an output binding makes the next function start at once. The Functions host finds the message with
            its next check of the queue. For demonstrations and tests.
        stay_up: keep running and retry when queue storage fails. The Functions host ends in most cases.
        pool: the functions that run one at a time in each of several processes; None: none.
    """

    fast_hops: bool = False
    stay_up: bool = False
    pool: PoolConfig | None = None


AS_IN_AZURE = HostMode()
"""No deviation."""
