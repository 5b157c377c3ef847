"""The queue trigger: takes messages, runs the function, deletes what succeeded and gives up on what keeps failing.

The rules are those of the host's queue extension: a batch is taken when no more than `newBatchThreshold` messages are
running; a message is hidden for ten minutes while it runs; after a try that failed it is visible again when
`visibilityTimeout` is over; the last try moves it to the poison queue, where it lives seven days; a queue without a
poison queue leaves a failed message hidden for the rest of the ten minutes. One thing differs: the host renews the ten
minutes while a function runs on, and the storage's Protocol has no call for that. A message whose function takes longer
is run again beside it.
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
"""Seconds that a message lives on a poison queue."""

FIRST_WAIT = 0.1
"""Seconds to the next look at a queue that was found empty; each empty look doubles them."""

LONGEST_TROUBLE = 30.0
"""Seconds between two looks at a queue that cannot be read, at most, unless the storage asks for more."""

SETTLE_TRIES = 3
"""How often a finished message is deleted, released or moved before it is left to its ten minutes."""

SETTLE_WAIT = 0.5
"""Seconds before the second of those tries; twice as many before the third."""

_NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class QueueListener:
    """Feeds one queue function.

    Args:
        function: with a queue trigger.
        running: runs it.
        config: how many at once, how often, how long between.
    """

    def __init__(self, function: Function, running: FunctionInvoker, config: HostConfig) -> None:
        trigger = function.trigger
        assert isinstance(trigger, QueueTrigger)
        self.name = trigger.queue
        self.queue = running.queue(function, trigger.queue)
        self._poison = running.poison_queue(trigger.queue)
        self._parameter = trigger.name
        self.function = function
        self._running = running
        self._config = config
        self._longest = config.max_polling_interval
        self._patience: int | None = None
        self.items: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._next_look = 0.0
        self._not_before = 0.0
        self._wait = FIRST_WAIT
        self._trouble = 0
        self.found_empty_at = -1

    def poll_within(self, seconds: float) -> None:
        """Look at the queue no later than in so many seconds: something may be on it."""
        self._wait = FIRST_WAIT
        self._next_look = min(self._next_look, time.monotonic() + seconds)
        self._wake.set()

    async def run(
        self,
        stopping: Callable[[], bool],
        group: asyncio.TaskGroup,
        *,
        longest_wait: float | None = None,
        patience: int | None = None,
    ) -> None:
        """Take messages until `stopping`; each runs as a task of the group, and is in `items` while it does.

        Args:
            stopping: asked before each look.
            group: what runs ends with it.
            longest_wait: seconds between two looks at an empty queue, at most; None: as configured.
            patience: after how many failed looks in a row to raise; None: never.

        Raises:
            TransientError: the queue cannot be read, and patience is over.
        """
        self._longest = longest_wait or self._config.max_polling_interval
        self._patience = patience
        while not stopping():
            full = len(self.items) > self._config.new_batch_threshold
            pause = max(self._next_look, self._not_before) - time.monotonic()
            if full or pause > 0:
                self._wake.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), None if full else pause)
                continue
            self._next_look = time.monotonic() + await self._take(group)

    async def _take(self, group: asyncio.TaskGroup) -> float:
        """Take a batch: seconds to the next look."""
        stamp, self.found_empty_at = self._running.stamp, -1
        try:
            items = await self._running.off_loop(self.queue.receive, self._config.batch_size, hidden_for=HIDDEN_FOR)
        except TransientError as error:
            self._trouble += 1
            if self._patience is not None and self._trouble >= self._patience:
                raise
            if self._trouble.bit_count() == 1:  # the 1st, 2nd, 4th, 8th … time
                log.warning("queue %s cannot be read (%d in a row): %s", self.name, self._trouble, error)
            wait = max(error.retry_after or 0.0, min(FIRST_WAIT * 2.0**self._trouble, LONGEST_TROUBLE))
            self._not_before = time.monotonic() + wait
            return wait
        self._trouble = 0
        for item in items:
            task = group.create_task(self._handle(item))
            self.items.add(task)
            task.add_done_callback(self._ended)
        if items:
            self._wait = FIRST_WAIT
            return 0
        self.found_empty_at = stamp
        return self._later()

    def _later(self) -> float:
        wait = min(self._wait, self._longest)
        self._wait = min(self._wait * 2, self._longest)
        return wait

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.items.discard(task)
        self._wake.set()

    async def _handle(self, item: QueueItem) -> None:
        with self._running.work():
            last = self._config.max_dequeue_count
            if item.dequeue_count > last:  # a run before this one was cut off in its last try
                await self._give_up(item)
                return
            about = f", message {item.id}, try {item.dequeue_count} of {last}"
            inputs = {self._parameter: TypedData(string=item.body)}
            result = await self._running.invoke(self.function, inputs, self.metadata(item), about=about)
            if result.error is None:
                await self._settled("deleted", item, lambda: self.queue.delete(item))
            elif result.error.kind == TIMED_OUT:
                pass  # it may be running still: left hidden, visible again by itself
            elif item.dequeue_count >= last:
                await self._give_up(item)
            elif self._poison is not None:
                delay = self._config.visibility_timeout
                await self._settled("released", item, lambda: self.queue.release(item, delay=delay))

    async def _give_up(self, item: QueueItem) -> None:
        poison = self._poison
        if poison is None:
            log.error(
                "function %s, message %s: given up on, and %s has no poison queue: it stays there",
                self.function.name,
                item.id,
                self.name,
            )
            return
        moved = await self._settled(
            "moved to the poison queue", item, lambda: poison.put_many([item.body], ttl=POISON_TTL)
        )
        if moved:
            await self._settled("deleted", item, lambda: self.queue.delete(item))
            self._running.counts[self.function.name].poisoned += 1
            self._running.on_put(f"{self.name}-poison")
            log.error(
                "function %s, message %s: given up on, moved to %s-poison", self.function.name, item.id, self.name
            )

    async def _settled(self, what: str, item: QueueItem, call: Callable[[], None]) -> bool:
        """Do to a finished message what is due, a few times if the storage is ill."""
        for attempt in range(1, SETTLE_TRIES + 1):
            try:
                await self._running.off_loop(call)
            except TransientError as error:
                problem = error
            else:
                return True
            if attempt < SETTLE_TRIES:
                await asyncio.sleep(SETTLE_WAIT * 2 ** (attempt - 1))
        log.warning(
            "queue %s, message %s could not be %s, and will run again when its %d s are over: %s",
            self.name,
            item.id,
            what,
            HIDDEN_FOR,
            problem,
        )
        return False

    def metadata(self, item: QueueItem) -> dict[str, TypedData]:
        """What the trigger tells of a message besides its body."""
        # The Protocol does not tell when a message expires. What is put lives for good, but for what is given up on.
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
