"""Fixture for the queue trigger: the sample app `queues` over queues in memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from functions_host.host import DrainResult, Host
from functions_host.host_json import HostConfig
from tests.end_to_end.own_process import APPS
from tests.memory_queue import MemoryQueue, storage_with_queues

QUEUES = ("work", "work-poison", "many", "many-poison", "single", "echo", "echo-poison")
QUICK = HostConfig(batch_size=3, new_batch_threshold=1, max_polling_interval=0.2)


@dataclass
class ScenarioResult:
    """The result of a scenario: calls of the functions, messages that remain, log lines."""

    drained: DrainResult
    seen: list[dict[str, Any]]
    left: dict[str, list[str]]
    log: list[str] = field(default_factory=list)
    more: Any = None

    def calls_of(self, function: str) -> list[dict[str, Any]]:
        return [call for call in self.seen if call["function"] == function]


def seen() -> list[dict[str, Any]]:
    """Return the calls of the sample app's functions in this process."""
    return list(sys.modules["function_app"].SEEN)


class QueueLab:
    """Queues in memory, and the log of the host that runs on them."""

    def __init__(self) -> None:
        self.queues = {name: MemoryQueue() for name in QUEUES}
        self.stores = storage_with_queues(self.queues)
        self.log: list[str] = []

    def result(self, drained: DrainResult, more: Any = None) -> ScenarioResult:
        left = {name: [m.body for m in queue._messages.values()] for name, queue in self.queues.items()}
        return ScenarioResult(
            drained, seen(), {name: bodies for name, bodies in left.items() if bodies}, self.log, more
        )

    @contextmanager
    def logging(self) -> Iterator[None]:
        lines = self.log

        class Lines(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(record.getMessage())

        handler = Lines()
        logging.getLogger("mailroom.host").addHandler(handler)
        yield
        logging.getLogger("mailroom.host").removeHandler(handler)


async def drain(
    put: dict[str, list[str]], config: HostConfig = QUICK, failing: dict[str, Any] | None = None
) -> ScenarioResult:
    lab = QueueLab()
    for name, bodies in put.items():
        lab.queues[name].put_many(bodies)
    for name, failures in (failing or {}).items():
        lab.queues[name].failing = dict(failures)
    with lab.logging():
        async with Host.started(APPS / "queues", lab.stores, config) as host:
            return lab.result(await host.drain())
