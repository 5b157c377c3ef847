"""One worker a mailbox: a lease that renews itself, and knows when it cannot be trusted any more (rule 1.10)."""

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
"""The longest that a blob lease of fixed length may be: a worker that died keeps others out no longer than this."""

MAX_HOLD_SECONDS = 1800.0
"""Seconds: a function's time on Flex Consumption. What is not done by then is not done by that worker."""

_log = logging.getLogger("mailroom.lease")


class RenewingLease:
    """A lease that was acquired; renewed in the background at a quarter of its length until it is released.

    Args:
        leases: where it is held.
        name: of what.
        token: what `acquire` gave.
        seconds: its length.
        asked_at: `time.monotonic()` before it was acquired.
        longest: seconds after which it is renewed no more, whatever happens: work that hangs must not hold it for good.
    """

    def __init__(self, leases: Leases, name: str, token: str, seconds: int, *, asked_at: float, longest: float) -> None:
        self._leases = leases
        self._name = name
        self._token = token
        self._seconds = seconds
        self._renewed = asked_at
        self._until = asked_at + longest
        self._lost = False
        self._done = threading.Event()
        # With the holder's context: what it logs is about the same mailbox, and in the same trace.
        self._renewer = threading.Thread(
            target=copy_context().run, args=[self._renew], name=f"lease-{name}", daemon=True
        )
        self._renewer.start()

    @classmethod
    def acquire(
        cls, leases: Leases, name: str, seconds: int = LEASE_SECONDS, longest: float = MAX_HOLD_SECONDS
    ) -> Self | None:
        """The lease, or None if another holds it."""
        asked_at = time.monotonic()
        token = leases.acquire(name, seconds)
        return None if token is None else cls(leases, name, token, seconds, asked_at=asked_at, longest=longest)

    def ensure(self) -> None:
        """Return if nobody else can hold the lease now.

        A renewal counts from when it was asked for, not from when it was answered, and a tenth of the length is kept in
        hand for what the caller does next.

        Raises:
            LeaseLost: it is lost, or was not renewed for so long that it may be.
        """
        if self._lost or time.monotonic() > self._renewed + self._seconds * 0.9:
            raise LeaseLost(f"mailbox {self._name}: the lease is lost; whoever holds it goes on with the mailbox")

    def release(self) -> None:
        """Stop renewing and give it up. An ill storage does not matter here: it ends by itself."""
        self._done.set()
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
        while not self._done.wait(self._seconds / 4):
            asked_at = time.monotonic()
            if asked_at > self._until:
                _log.error("mailbox %s: its drain hangs; the lease is given up", self._name)
                self._lost = True
                return
            try:
                self._leases.renew(self._name, self._token)
            except LeaseLost:
                self._lost = True
                return
            except TransientError as error:
                _log.warning("mailbox %s: the lease was not renewed, trying again: %s", self._name, error)
            else:
                self._renewed = asked_at
