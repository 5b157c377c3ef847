"""The queue trigger: receive messages in batches, and run each of them.

A batch is received when at most `newBatchThreshold` messages are running. An empty queue is checked again after a wait
that grows (`poll_interval`). What happens to a message is in `message_runner`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from functions_host.function_index import Function, QueueTrigger
from functions_host.host_json import HostConfig
from functions_host.invoker import FunctionInvoker
from functions_host.message_runner import HIDDEN_FOR, MessageRunner
from functions_host.poll_interval import PollInterval
from functions_host.storage_retry import HOST_RETRIES, QueueStorageFailed, RetryPolicy, is_survived
from shared.errors import TransientError
from shared.storage.base import QueueItem

log = logging.getLogger("mailroom.host")

DRAIN_POLL_INTERVAL = 0.1
"""Seconds after which a queue is checked again while draining, if its messages may have been put just now."""

MAX_DRAIN_POLL_INTERVAL = 0.5
"""Longest time in seconds between two checks of an empty queue while draining. Each check is a request."""

DRAIN_TRIES = 7
"""Tries of a storage call after which draining ends with an error: about twelve seconds."""

PATIENT_DELAY = 30.0
"""Seconds until a host that stays up checks a queue again after storage failed."""


@dataclass(frozen=True, slots=True)
class ListenerPace:
    """How fast a listener works, and what it does when storage fails.

    Attributes:
        longest_wait: longest wait in seconds between two checks of an empty queue; None: as configured.
        wakes: `QueueListener.poll_within` shortens a wait.
        wakes_when_idle: `QueueListener.poll_soon` shortens a wait only while no function is running.
        runs_late: run the messages of a batch that arrives after the stop was requested. The Functions host does not.
        stays_up: retry without limit when storage fails, instead of reporting an error.
        gives_up: report every error after the last retry, even one that the Functions host survives.
        retries: how storage calls are retried.
    """

    longest_wait: float | None = None
    wakes: bool = False
    wakes_when_idle: bool = False
    runs_late: bool = False
    stays_up: bool = False
    gives_up: bool = False
    retries: RetryPolicy = HOST_RETRIES


DRAINING = ListenerPace(
    MAX_DRAIN_POLL_INTERVAL,
    wakes=True,
    wakes_when_idle=True,
    runs_late=True,
    gives_up=True,
    retries=RetryPolicy(DRAIN_TRIES, 0.2, is_patient=True),
)
"""The pace at which queues are drained."""


class QueueListener:
    """Runs one queue function for each message of its queue.

    Args:
        function: a function with a queue trigger.
        invoker: runs the function.
        config: batch size, tries and intervals.
        on_failure: called with an error that ends the host.

    Attributes:
        name: the queue's name.
        function: the function.
        runner: runs single messages.
        items: the messages that are running.
        empty_at: the invoker's revision when the queue was last found empty; -1 if it may hold messages.
        on_empty: called after the queue was found empty.
    """

    def __init__(
        self,
        function: Function,
        invoker: FunctionInvoker,
        config: HostConfig,
        on_failure: Callable[[QueueStorageFailed], None],
    ) -> None:
        trigger = function.trigger
        assert isinstance(trigger, QueueTrigger)
        self.name = trigger.queue
        self.queue = invoker.queue(function, trigger.queue)
        self.function = function
        self.runner = MessageRunner(function, trigger, invoker, config)
        self._invoker = invoker
        self._config = config
        self._on_failure = on_failure
        self._pace = ListenerPace()
        self._interval = PollInterval(config.max_polling_interval)
        self.items: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._next_poll = 0.0
        self._not_before = 0.0
        self.empty_at = -1
        self.on_empty: Callable[[], None] = lambda: None

    def poll_within(self, seconds: float) -> None:
        """Check the queue within `seconds` if the pace allows it, since it may hold messages."""
        if self._pace.wakes:
            self._interval.reset()
            self._next_poll = min(self._next_poll, asyncio.get_running_loop().time() + seconds)
            self._wake.set()

    def poll_soon(self) -> None:
        """Check the queue soon, since an operation has ended that may have put messages on it."""
        if not (self._pace.wakes_when_idle and self._invoker.active):
            self.poll_within(DRAIN_POLL_INTERVAL)

    def stop(self) -> None:
        """End the wait of a listener whose `stopping` returns true now."""
        self._wake.set()

    async def run(
        self, stopping: Callable[[], bool], group: asyncio.TaskGroup, pace: ListenerPace = ListenerPace()
    ) -> None:
        """Receive and run messages until `stopping` returns true. Each message runs as a task of `group`.

        Args:
            stopping: ends the listener when it returns true; called before each check of the queue.
            group: the tasks' group.
            pace: how fast to work.
        """
        self._pace = pace
        self.runner.retries = pace.retries
        self._interval = PollInterval(pace.longest_wait or self._config.max_polling_interval)
        loop = asyncio.get_running_loop()
        self._next_poll = loop.time()
        while not stopping():
            full = len(self.items) > self._config.new_batch_threshold
            delay = max(self._next_poll, self._not_before) - loop.time()
            if full or delay > 0:
                self._wake.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), None if full else delay)
                continue
            revision, self.empty_at = self._invoker.revision, -1
            try:
                items = await self._pace.retries.run(self._receive, f"queue {self.name} cannot be read")
            except TransientError as error:
                wait = self._wait_after(error)
                if wait is None:
                    return
                self._not_before = loop.time() + wait
                continue
            if items and stopping() and not pace.runs_late:
                log.warning(
                    "queue %s: %d messages arrived while the host stopped and were not run; they are hidden for %d s",
                    self.name,
                    len(items),
                    HIDDEN_FOR,
                )
                return
            self._start(items, group)
            if items:
                self._interval.reset()
                self._next_poll = loop.time()
            else:
                self.empty_at = revision
                self.on_empty()
                self._next_poll = loop.time() + self._interval.next()

    async def _receive(self) -> list[QueueItem]:
        return await self._invoker.call_in_thread(self.queue.receive, self._config.batch_size, hidden_for=HIDDEN_FOR)

    def _start(self, items: list[QueueItem], group: asyncio.TaskGroup) -> None:
        for item in items:
            task = group.create_task(self._run_message(item))
            self.items.add(task)
            task.add_done_callback(self._remove_task)

    async def _run_message(self, item: QueueItem) -> None:
        try:
            await self.runner.run(item)
        except TransientError as error:
            if self._pace.stays_up:
                log.warning("queue %s: message %s may run again within %d s: %s", self.name, item.id, HIDDEN_FOR, error)
            else:
                self._fail(f"message {item.id} may run again within {HIDDEN_FOR:g} s", error)

    def _wait_after(self, error: TransientError) -> float | None:
        """Return the seconds until the next check after every try to read the queue failed; None: the host ends."""
        if self._pace.stays_up:
            wait = PATIENT_DELAY
        elif is_survived(error) and not self._pace.gives_up:
            wait = self._interval.next()
        else:
            self._fail("it cannot be read", error)
            return None
        log.warning("queue %s cannot be read, next check in %.1f s: %s", self.name, wait, error)
        return wait

    def _fail(self, what: str, error: TransientError) -> None:
        self._on_failure(QueueStorageFailed(f"queue {self.name}: {what}: {error}"))

    def _remove_task(self, task: asyncio.Task[None]) -> None:
        self.items.discard(task)
        self._wake.set()
