"""The lock by which one of several hosts runs a timer."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from functions_host.invoker import FunctionInvoker
from shared.errors import LeaseLost, TransientError
from shared.storage.base import Leases

log = logging.getLogger("mailroom.host")

LEASE_SECONDS = 60
"""Seconds after which the lock of a host that died is free."""

RENEW_EVERY = 30.0
"""Seconds between two renewals of the lock."""

RETRY_EVERY = 60.0
"""Seconds between two tries of a host that does not hold the lock, counted from its own start."""

RENEW_RETRY = 1.0
"""Seconds until a renewal that failed is tried again."""


class TimerLock:
    """The lock on one timer function.

    Args:
        leases: the leases of the app's own storage.
        function: the function's name.
        invoker: makes the storage calls.
    """

    def __init__(self, leases: Leases, function: str, invoker: FunctionInvoker) -> None:
        self._leases = leases
        self._name = f"{function}.Listener"  # a mailbox's lease has the mailbox's name, which has no dot
        self._invoker = invoker
        self._token = ""
        self._renewing: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()

    async def acquire(self, stopped: asyncio.Event) -> bool:
        """Wait until the lock is acquired, and renew it from then on. Return False if `stopped` is set first."""
        loop = asyncio.get_running_loop()
        next_try = loop.time()
        while not await self._try_to_acquire():
            next_try += RETRY_EVERY
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), next_try - loop.time())
            if stopped.is_set():
                return False
        self.lost.clear()
        self._renewing = asyncio.create_task(self._renew())
        return True

    async def release(self) -> None:
        """End the lease, so that another host can take over at its next try."""
        if self._renewing is not None:
            self._renewing.cancel()
        if not self.lost.is_set():
            with suppress(TransientError):
                await self._invoker.call_in_thread(self._leases.release, self._name, self._token)

    def abandon(self) -> None:
        """Stop renewing the lease, and leave it to end by itself."""
        if self._renewing is not None:
            self._renewing.cancel()

    async def _try_to_acquire(self) -> bool:
        try:
            token = await self._invoker.call_in_thread(self._leases.acquire, self._name, LEASE_SECONDS)
        except TransientError as error:
            log.warning("the lock %s cannot be acquired, next try in %d s: %s", self._name, RETRY_EVERY, error)
            return False
        self._token = token or ""
        return token is not None

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        renewed, wait = loop.time(), RENEW_EVERY
        while True:
            await asyncio.sleep(wait)
            try:
                await self._invoker.call_in_thread(self._leases.renew, self._name, self._token)
            except TransientError as error:
                if not isinstance(error, LeaseLost) and loop.time() - renewed < LEASE_SECONDS:
                    wait = RENEW_RETRY
                    continue
                log.warning("the lock %s is lost: %s", self._name, error)
                self.lost.set()
                return
            renewed, wait = loop.time(), RENEW_EVERY
