"""Run the local host as a process until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

from functions_host.host import Host
from functions_host.host_mode import AS_IN_AZURE, HostMode
from functions_host.http_server import HttpConfig
from functions_host.storage_retry import QueueStorageFailed
from functions_host.timer_status import TimerStatuses
from shared.storage.base import Storage

log = logging.getLogger("mailroom.host")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_host(
    app_dir: Path,
    storage: Storage,
    http: HttpConfig | None = None,
    *,
    statuses: TimerStatuses | None = None,
    ready: Callable[[int], None] | None = None,
    mode: HostMode = AS_IN_AZURE,
) -> None:
    """Start the host and serve until Ctrl-C or SIGTERM; a second signal ends the process at once.

    Functions that still run after the host's grace period are abandoned, and the process exits with status 1.

    Args:
        app_dir: folder of `function_app.py` and `host.json`.
        storage: the app's own storage.
        http: address and keys of the HTTP server; None serves no HTTP.
        statuses: keeps the timers' status across restarts.
        ready: called with the HTTP port once all triggers are running.
        mode: deviations from the Functions host.

    Raises:
        AppNotLoaded, ConfigurationError, QueueStorageFailed: see `Host.started` and `Host.serve`.
    """

    async def serve(stop: asyncio.Event) -> int:
        async with Host.started(app_dir, storage, statuses=statuses, mode=mode) as host:
            return await host.serve(stop, http, ready)

    try:
        abandoned = run_until_signalled(serve)
    except QueueStorageFailed as error:
        if not error.abandoned:
            raise
        log.error("%s", error)  # noqa: TRY400  the text says it all
        abandoned = error.abandoned
    if abandoned:
        logging.shutdown()
        os._exit(1)  # a regular exit would wait for the threads of the abandoned functions


def run_until_signalled(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run `main(stop)` in an event loop and return its result.

    The first SIGINT or SIGTERM sets `stop`, the second ends the process. Call it in the main thread, once a process.
    """

    async def guarded() -> int:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def on_signal(number: int, frame: FrameType | None) -> None:
            del frame
            if stop.is_set():
                os._exit(128 + number)
            stop.set()
            loop.call_soon_threadsafe(lambda: None)  # wakes the event loop, so that it sees `stop`

        previous_handlers = {number: signal.signal(number, on_signal) for number in SIGNALS}
        try:
            return await main(stop)
        finally:
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)

    return asyncio.run(guarded())
