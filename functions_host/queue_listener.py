"""The queue trigger: receives messages, runs the function, and deletes, releases or dead-letters each message.

The rules are those of the Functions host's queue extension:

- A batch is received when at most `newBatchThreshold` messages are running.
- A message is hidden for ten minutes while it runs.
- After a failed try, the message becomes visible again after `visibilityTimeout`.
- After the last failed try, the message is moved to the poison queue and expires there after seven days.
- Without a poison queue, a failed message stays hidden for the rest of the ten minutes.

One rule differs: the Functions host extends the ten minutes while a function runs, but the storage protocol has no such
call. If a function takes longer, its message is run a second time in parallel.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from functions_host.function_index import Function, QueueTrigger
from functions_host.host_json import HostConfig
from functions_host.invoker import TIMED_OUT, FunctionInvoker
from functions_host.worker_messages import TypedData
from shared.errors import TransientError
from shared.storage.base import QueueItem

log = logging.getLogger("mailroom.host")

HIDDEN_FOR = 600.0
"""Seconds that a message is hidden while it runs."""

POISON_TTL = 7 * 24 * 3600.0
"""Seconds after which a message on a poison queue expires."""

MIN_POLL_INTERVAL = 0.1
"""Seconds until an empty queue is checked again; the interval doubles with each check that finds it empty."""

MAX_BACKOFF = 30.0
"""Longest time in seconds between two tries to read a queue that fails, unless the storage requests a longer one."""

SETTLE_TRIES = 3
"""Tries to delete, release or move a finished message; after that, it reappears when its ten minutes are over."""

SETTLE_BACKOFF = 0.5
"""Seconds before the second of those tries; the third waits twice as long."""

_NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class QueueListener:
    """Runs one queue function for each message of its queue.

    Args:
        function: a function with a queue trigger.
        invoker: runs the function.
        config: batch size, tries and intervals.

    Attributes:
        name: the queue's name.
        items: the messages that are running.
        empty_at: the invoker's revision when the queue was last found empty; -1 if it may hold messages.
    """

    def __init__(self, function: Function, invoker: FunctionInvoker, config: HostConfig) -> None:
        trigger = function.trigger
        assert isinstance(trigger, QueueTrigger)
        self.name = trigger.queue
        self.queue = invoker.queue(function, trigger.queue)
        self._poison = invoker.poison_queue(trigger.queue)
        self._parameter = trigger.name
        self.function = function
        self._invoker = invoker
        self._config = config
        self._max_interval = config.max_polling_interval
        self._max_failures: int | None = None
        self.items: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._next_poll = 0.0
        self._not_before = 0.0
        self._interval = MIN_POLL_INTERVAL
        self._failures = 0
        self.empty_at = -1

    def poll_within(self, seconds: float) -> None:
        """Check the queue within `seconds`, since it may hold messages."""
        self._interval = MIN_POLL_INTERVAL
        self._next_poll = min(self._next_poll, time.monotonic() + seconds)
        self._wake.set()

    async def run(
        self,
        stopping: Callable[[], bool],
        group: asyncio.TaskGroup,
        *,
        max_interval: float | None = None,
        max_failures: int | None = None,
    ) -> None:
        """Receive and run messages until `stopping` returns true. Each message runs as a task of `group`.

        Args:
            stopping: ends the listener when it returns true; called before each check of the queue.
            group: the tasks' group.
            max_interval: longest time in seconds between two checks of an empty queue; None uses the configured one.
            max_failures: failed checks in a row after which to raise; None retries without limit.

        Raises:
            TransientError: the queue could not be read `max_failures` times in a row.
        """
        self._max_interval = max_interval or self._config.max_polling_interval
        self._max_failures = max_failures
        while not stopping():
            full = len(self.items) > self._config.new_batch_threshold
            delay = max(self._next_poll, self._not_before) - time.monotonic()
            if full or delay > 0:
                self._wake.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), None if full else delay)
                continue
            self._next_poll = time.monotonic() + await self._receive_batch(group)

    async def _receive_batch(self, group: asyncio.TaskGroup) -> float:
        """Receive a batch, start its messages, and return the seconds until the next check."""
        revision, self.empty_at = self._invoker.revision, -1
        try:
            items = await self._invoker.call_in_thread(
                self.queue.receive, self._config.batch_size, hidden_for=HIDDEN_FOR
            )
        except TransientError as error:
            self._failures += 1
            if self._max_failures is not None and self._failures >= self._max_failures:
                raise
            if self._failures.bit_count() == 1:  # log powers of two only: the 1st, 2nd, 4th, 8th failure
                log.warning("queue %s cannot be read, failure %d in a row: %s", self.name, self._failures, error)
            backoff = max(error.retry_after or 0.0, min(MIN_POLL_INTERVAL * 2.0**self._failures, MAX_BACKOFF))
            self._not_before = time.monotonic() + backoff
            return backoff
        self._failures = 0
        for item in items:
            task = group.create_task(self._handle(item))
            self.items.add(task)
            task.add_done_callback(self._remove_task)
        if items:
            self._interval = MIN_POLL_INTERVAL
            return 0
        self.empty_at = revision
        return self._next_interval()

    def _next_interval(self) -> float:
        """Return the seconds until the next check, and double the interval for the check after it."""
        interval = min(self._interval, self._max_interval)
        self._interval = min(self._interval * 2, self._max_interval)
        return interval

    def _remove_task(self, task: asyncio.Task[None]) -> None:
        self.items.discard(task)
        self._wake.set()

    async def _handle(self, item: QueueItem) -> None:
        with self._invoker.operation():
            max_tries = self._config.max_dequeue_count
            if item.dequeue_count > max_tries:  # the process ended during the message's last try
                await self._dead_letter(item)
                return
            log_suffix = f", message {item.id}, try {item.dequeue_count} of {max_tries}"
            inputs = {self._parameter: TypedData(string=item.body)}
            result = await self._invoker.invoke(self.function, inputs, self.metadata(item), log_suffix=log_suffix)
            if result.error is None:
                await self._settle("deleted", item, lambda: self.queue.delete(item))
            elif result.error.kind == TIMED_OUT:
                pass  # the function may still be running: the message stays hidden until its ten minutes are over
            elif item.dequeue_count >= max_tries:
                await self._dead_letter(item)
            elif self._poison is not None:
                delay = self._config.visibility_timeout
                await self._settle("released", item, lambda: self.queue.release(item, delay=delay))

    async def _dead_letter(self, item: QueueItem) -> None:
        poison = self._poison
        if poison is None:
            log.error(
                "function %s, message %s failed every try, and the queue %s has no poison queue: the message stays",
                self.function.name,
                item.id,
                self.name,
            )
            return
        moved = await self._settle(
            "moved to the poison queue", item, lambda: poison.put_many([item.body], ttl=POISON_TTL)
        )
        if moved:
            await self._settle("deleted", item, lambda: self.queue.delete(item))
            self._invoker.counts[self.function.name].poisoned += 1
            self._invoker.on_put(f"{self.name}-poison")
            log.error(
                "function %s, message %s failed every try and was moved to the queue %s-poison",
                self.function.name,
                item.id,
                self.name,
            )

    async def _settle(self, action: str, item: QueueItem, call: Callable[[], None]) -> bool:
        """Make a storage call for a finished message, retry it if it fails, and return whether it succeeded.

        Args:
            action: past participle for the log line, such as "deleted".
            item: the message.
            call: the storage call.
        """
        for attempt in range(1, SETTLE_TRIES + 1):
            try:
                await self._invoker.call_in_thread(call)
            except TransientError as error:
                last_error = error
            else:
                return True
            if attempt < SETTLE_TRIES:
                await asyncio.sleep(SETTLE_BACKOFF * 2 ** (attempt - 1))
        log.warning(
            "queue %s: message %s could not be %s and may run again within %d s: %s",
            self.name,
            item.id,
            action,
            HIDDEN_FOR,
            last_error,
        )
        return False

    def metadata(self, item: QueueItem) -> dict[str, TypedData]:
        """Return the message's metadata, as the queue trigger supplies it to the function."""
        # The storage protocol does not report expiry. Only messages on poison queues expire.
        expires = item.inserted + timedelta(seconds=POISON_TTL) if self.name.endswith("-poison") else _NEVER
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
