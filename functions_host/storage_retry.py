"""Retries of the host's own calls of queue storage, and the errors that end the host."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import uniform
from typing import TypeVar

from shared.errors import MailroomError, Throttled, TransientError

log = logging.getLogger("mailroom.host")

T = TypeVar("T")

_JITTER = 0.2
_CLIENT_ERRORS = range(400, 500)
_RETRIED_CLIENT_ERRORS = frozenset({404, 408, 429})
_SERVER_ERROR = 500


class QueueStorageFailed(MailroomError):
    """Queue storage failed in a way that ends the Functions host.

    Attributes:
        abandoned: the number of functions that still ran when the host ended.
    """

    abandoned: int = 0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a call of queue storage is retried.

    Attributes:
        tries: the number of tries.
        first_delay: seconds from the start of the first try to the second; doubles with each try.
        is_patient: retry every error. False: an error that another try cannot cure, such as 403, is raised at once.
    """

    tries: int
    first_delay: float
    is_patient: bool = False

    async def run(self, call: Callable[[], Awaitable[T]], action: str) -> T:
        """Make a call until it succeeds, and return its result.

        Args:
            call: makes the call once.
            action: for the log line, such as "queue work cannot be read".

        Raises:
            TransientError: the last try failed.
        """
        for attempt in range(1, self.tries + 1):
            began = asyncio.get_running_loop().time()
            try:
                return await call()
            except TransientError as error:
                if attempt == self.tries or not (self.is_patient or is_retried(error)):
                    raise
                if attempt.bit_count() == 1:  # log powers of two only: the 1st, 2nd, 4th failure
                    log.warning("%s, failure %d in a row: %s", action, attempt, error)
                delay = self.first_delay * 2.0 ** (attempt - 1) * uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  no secret
                # Counted from the start: the SDK for Python has retried for a part of that time already.
                waited = asyncio.get_running_loop().time() - began
                await asyncio.sleep(max(delay - waited, error.retry_after or 0, 0))
        raise AssertionError("unreachable: the last try returns or raises")


HOST_RETRIES = RetryPolicy(tries=6, first_delay=0.8)
"""As the Functions host: 6 tries in about 25 s."""

PATIENT_RETRIES = replace(HOST_RETRIES, is_patient=True)
"""The same for a host that stays up, which expects a refusal to end, too."""


def is_retried(error: TransientError) -> bool:
    """Return whether another try may succeed, as Azure.Core decides it: not for a refusal, such as 403."""
    return error.status not in _CLIENT_ERRORS or error.status in _RETRIED_CLIENT_ERRORS


def is_survived(error: TransientError) -> bool:
    """Return whether the host goes on polling after the error: one that the service reports as its own, or a missing
    queue.
    """
    missing, status = 404, error.status or 0
    return isinstance(error, Throttled) or status >= _SERVER_ERROR or status == missing
