"""The lease of a mailbox: one worker at a time. It renews itself, and knows when it may be lost (rule 1.10)."""

from __future__ import annotations

import logging
import threading
import time
from contextvars import copy_context
from types import TracebackType
from typing import Self

from shared.errors import LeaseLost, TransientError
from shared.storage.base import Leases

LEASE_SECONDS = 60
"""The longest length of a blob lease that ends by itself: the lease of a worker that died ends no later."""

MAX_HOLD_SECONDS = 1800.0
"""Seconds that a function may run on Flex Consumption. Work that takes longer is not finished by the same worker."""

_log = logging.getLogger("mailroom.lease")


class RenewingLease:
    """An acquired lease, renewed in the background at a quarter of its length until it is released.

    Args:
        leases: where it is held.
        name: the name of the leased mailbox.
        token: the token that `acquire` of the storage returned.
        seconds: the length of the lease.
        requested_at: `time.monotonic()` before it was acquired.
        max_hold: seconds after which it is no longer renewed, so that work that hangs does not hold it forever.
    """

    def __init__(
        self, leases: Leases, name: str, token: str, seconds: int, *, requested_at: float, max_hold: float
    ) -> None:
        self._leases = leases
        self._name = name
        self._token = token
        self._seconds = seconds
        self._renewed_at = requested_at
        self._renewed_until = requested_at + max_hold
        self._is_lost = False
        self._is_released = threading.Event()
        # In the holder's context, so that its log lines name the same mailbox and belong to the same trace.
        self._renewer = threading.Thread(
            target=copy_context().run, args=[self._renew], name=f"lease-{name}", daemon=True
        )
        self._renewer.start()

    @classmethod
    def acquire(
        cls, leases: Leases, name: str, seconds: int = LEASE_SECONDS, max_hold: float = MAX_HOLD_SECONDS
    ) -> Self | None:
        """Acquire the lease. Return None if another worker holds it."""
        requested_at = time.monotonic()
        token = leases.acquire(name, seconds)
        return (
            None if token is None else cls(leases, name, token, seconds, requested_at=requested_at, max_hold=max_hold)
        )

    def ensure(self) -> None:
        """Return if no other worker can hold the lease now.

        The lease counts from the request of the last renewal, not from its response. A tenth of its length is reserved
        for the caller's next step.

        Raises:
            LeaseLost: it is lost, or was not renewed for so long that it may be.
        """
        if self._is_lost or time.monotonic() > self._renewed_at + self._seconds * 0.9:
            raise LeaseLost(f"mailbox {self._name}: the lease is lost; the worker that holds it now continues")

    def release(self) -> None:
        """Stop renewing the lease and release it. If storage is unavailable, the lease ends by itself."""
        self._is_released.set()
        self._renewer.join()
        try:
            self._leases.release(self._name, self._token)
        except TransientError as error:
            _log.warning("mailbox %s: the lease was not released and ends by itself: %s", self._name, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _renew(self) -> None:
        while not self._is_released.wait(self._seconds / 4):
            requested_at = time.monotonic()
            if requested_at > self._renewed_until:
                _log.error("mailbox %s: its drain hangs; the lease is no longer renewed", self._name)
                self._is_lost = True
                return
            try:
                self._leases.renew(self._name, self._token)
            except LeaseLost:
                self._is_lost = True
                return
            except TransientError as error:
                _log.warning("mailbox %s: the lease was not renewed, trying again: %s", self._name, error)
            else:
                self._renewed_at = requested_at
