"""Run a queue function for one message, and delete, release or dead-letter the message afterwards.

The rules were measured with the WebJobs SDK (docs/reference/host.md):

- A message is hidden for ten minutes. While its function runs, that is renewed every five minutes.
- After a failed try, the message becomes visible again after `visibilityTimeout`. A timeout is a failed try.
- After the last failed try, the message is moved to the poison queue and expires there after seven days.
- A message that is not base64 is moved there at once, as it is. Its function is not called.
- On a poison queue, a failed message stays hidden for its ten minutes. The number of tries has no limit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from functions_host.function_index import Function, QueueTrigger
from functions_host.host_json import HostConfig
from functions_host.invoker import FunctionInvoker
from functions_host.storage_retry import HOST_RETRIES, RetryPolicy
from functions_host.worker import InvocationError
from functions_host.worker_messages import TypedData
from shared.errors import TransientError
from shared.storage.base import BodyEncoding, QueueItem

log = logging.getLogger("mailroom.host")

HIDDEN_FOR = 600.0
"""Seconds that a message is hidden while it runs."""

RENEW_EVERY = HIDDEN_FOR / 2
"""Seconds between two renewals of that time."""

MIN_RENEW_INTERVAL = 60.0
"""Shortest time in seconds until a failed renewal is tried again; the interval halves with each failure."""

POISON_TTL = 7 * 24 * 3600.0
"""Seconds after which a message on a poison queue expires."""

POISON_SUFFIX = "-poison"

_NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(slots=True)
class _Hidden:
    """A message that is hidden while its function runs, with its current receipt."""

    item: QueueItem


class MessageRunner:
    """Runs a queue function for single messages.

    Args:
        function: a function with a queue trigger.
        trigger: its trigger.
        invoker: runs the function.
        config: tries and the visibility timeout.

    Attributes:
        retries: how calls of the storage are retried.

    Raises:
        AppNotLoaded: the storage does not have the queue or its poison queue.
    """

    def __init__(self, function: Function, trigger: QueueTrigger, invoker: FunctionInvoker, config: HostConfig) -> None:
        self._function = function
        self._trigger = trigger
        self._name = trigger.queue
        self._queue = invoker.queue(function, trigger.queue)
        self._is_poison = self._name.endswith(POISON_SUFFIX)
        self._poison = None if self._is_poison else invoker.queue(function, self._name + POISON_SUFFIX)
        self._invoker = invoker
        self._config = config
        self.retries: RetryPolicy = HOST_RETRIES

    async def run(self, item: QueueItem) -> None:
        """Run the function for a received message.

        Raises:
            TransientError: the storage failed at every try to delete, release or move the message.
        """
        with self._invoker.operation():
            if item.encoding is BodyEncoding.NOT_BASE64:
                await self._reject(item)
            elif not self._is_poison and item.dequeue_count > self._config.max_dequeue_count:
                await self._dead_letter(item, "failed every try")  # the process ended during the last try
            else:
                await self._try(item)

    async def _try(self, item: QueueItem) -> None:
        limit = "" if self._is_poison else f" of {self._config.max_dequeue_count}"
        log_suffix = f", message {item.id}, try {item.dequeue_count}{limit}"
        if item.encoding is BodyEncoding.NOT_UTF8:
            invalid = InvocationError("DecodingFailed", "its text is not UTF-8")
            self._invoker.count_failure(self._function, log_suffix, invalid)
            error: InvocationError | None = invalid
        else:
            inputs = {self._trigger.name: TypedData(string=item.body)}
            async with self._kept_hidden(item) as hidden:
                result = await self._invoker.invoke(self._function, inputs, self.metadata(item), log_suffix=log_suffix)
            item, error = hidden.item, result.error
        if error is None:
            await self._settle("deleted", item, lambda: self._queue.delete(item))
        elif self._is_poison:
            pass  # neither released nor moved: it reappears when its ten minutes are over
        elif item.dequeue_count >= self._config.max_dequeue_count:
            await self._dead_letter(item, "failed every try")
        else:
            delay = self._config.visibility_timeout
            await self._settle("released", item, lambda: self._queue.release(item, delay=delay))

    async def _reject(self, item: QueueItem) -> None:
        if self._is_poison:
            log.warning(
                "queue %s: message %s is not base64; it stays hidden for %d s at a time until it expires",
                self._name,
                item.id,
                HIDDEN_FOR,
            )
        else:
            await self._dead_letter(item, "is not base64, so the function was not called,")

    async def _dead_letter(self, item: QueueItem, reason: str) -> None:
        poison = self._poison
        assert poison is not None
        await self._settle("moved to the poison queue", item, lambda: poison.forward(item, ttl=POISON_TTL))
        await self._settle("deleted", item, lambda: self._queue.delete(item))
        self._invoker.counts[self._function.name].poisoned += 1
        self._invoker.on_put(self._name + POISON_SUFFIX)
        log.error(
            "function %s, message %s %s and was moved to the queue %s%s",
            self._function.name,
            item.id,
            reason,
            self._name,
            POISON_SUFFIX,
        )

    async def _settle(self, action: str, item: QueueItem, call: Callable[[], None]) -> None:
        """Make a storage call for a finished message; `action` is a past participle for the log line."""
        failing = f"queue {self._name}: message {item.id} cannot be {action}"
        await self.retries.run(lambda: self._invoker.call_in_thread(call), failing)

    @asynccontextmanager
    async def _kept_hidden(self, item: QueueItem) -> AsyncIterator[_Hidden]:
        """Keep a message hidden for as long as the context lasts."""
        hidden, ended = _Hidden(item), asyncio.Event()
        renewing = asyncio.create_task(self._renew_until(ended, hidden))
        try:
            yield hidden
        finally:
            ended.set()
            await renewing  # a renewal under way changes the receipt, which deleting the message needs

    async def _renew_until(self, ended: asyncio.Event, hidden: _Hidden) -> None:
        interval = RENEW_EVERY
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), interval)
            if ended.is_set():
                return
            try:
                renewed = await self._invoker.call_in_thread(self._queue.renew, hidden.item, hidden_for=HIDDEN_FOR)
            except TransientError as error:
                interval = max(interval / 2, MIN_RENEW_INTERVAL)
                log.warning(
                    "queue %s: message %s cannot be hidden for longer, next try in %d s: %s",
                    self._name,
                    hidden.item.id,
                    interval,
                    error,
                )
                continue
            if renewed is None:
                log.warning("queue %s: message %s was received by another host", self._name, hidden.item.id)
                return
            hidden.item, interval = renewed, RENEW_EVERY

    def metadata(self, item: QueueItem) -> dict[str, TypedData]:
        """Return the message's metadata, as the queue trigger supplies it to the function."""
        # The storage protocol does not report expiry. Only messages on poison queues expire.
        expires = item.inserted + timedelta(seconds=POISON_TTL) if self._is_poison else _NEVER
        visible = datetime.now(UTC) + timedelta(seconds=HIDDEN_FOR)
        return {
            "QueueTrigger": TypedData(string=item.body),
            "Id": TypedData(string=item.id),
            "PopReceipt": TypedData(string=item.receipt),
            "DequeueCount": TypedData(json=str(item.dequeue_count)),
            "InsertionTime": TypedData(string=item.inserted.astimezone(UTC).isoformat()),
            "ExpirationTime": TypedData(string=expires.astimezone(UTC).isoformat()),
            "NextVisibleTime": TypedData(string=visible.isoformat()),
        }
