"""A lab for the queue trigger: the sample app `queues` over queues in memory, and what a scenario brings home."""

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
from tests.memory_queue import MemoryQueue, stores_of

QUEUES = ("work", "work-poison", "many", "single", "echo", "echo-poison")
QUICK = HostConfig(batch_size=3, new_batch_threshold=1, max_polling_interval=0.2)


@dataclass
class Told:
    """What a scenario brings home."""

    drained: DrainResult
    seen: list[dict[str, Any]]
    left: dict[str, list[str]]
    log: list[str] = field(default_factory=list)
    more: Any = None

    def of(self, function: str) -> list[dict[str, Any]]:
        return [call for call in self.seen if call["function"] == function]


class Lab:
    """The queues, and what is read off them afterwards."""

    def __init__(self) -> None:
        self.queues = {name: MemoryQueue() for name in QUEUES}
        self.stores = stores_of(self.queues)
        self.log: list[str] = []

    def told(self, drained: DrainResult, more: Any = None) -> Told:
        seen = list(sys.modules["function_app"].SEEN)
        left = {name: [m.body for m in queue._messages.values()] for name, queue in self.queues.items()}
        return Told(drained, seen, {name: bodies for name, bodies in left.items() if bodies}, self.log, more)

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


async def drain(put: dict[str, list[str]], config: HostConfig = QUICK, failing: dict[str, Any] | None = None) -> Told:
    lab = Lab()
    for name, bodies in put.items():
        lab.queues[name].put_many(bodies)
    for name, failures in (failing or {}).items():
        lab.queues[name].failing = dict(failures)
    with lab.logging():
        async with Host.started(APPS / "queues", lab.stores, config) as host:
            return lab.told(await host.drain())
