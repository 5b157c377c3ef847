"""Run the app on the local host in a separate process; the Graph simulator runs in the test's process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from functions_host.host import Host
from functions_host.host_mode import HostMode
from functions_host.http_server import HttpConfig
from shared import bootstrap
from shared.bootstrap import build_app
from shared.config import load_settings
from tests.end_to_end.command import ROOT
from tests.end_to_end.own_process import in_own_process_for

FAST = HostMode(fast_hops=True)

RENEW_EVERY = 2.0
"""Seconds between two runs of `renew_subscriptions`; in Azure, it runs every five minutes."""


@contextmanager
def running(
    values: Mapping[str, str],
    port: int,
    folder: Path,
    *,
    renew_every: float | None = RENEW_EVERY,
    mode: HostMode = FAST,
) -> Iterator[None]:
    """Serve the functions while the context lasts, and raise the host's exception at its end.

    Args:
        values: the app settings.
        port: HTTP port.
        folder: folder for a file that stops the process.
        renew_every: seconds between two runs of `renew_subscriptions`; None never runs it.
        mode: deviations from the Functions host.
    """
    stop = folder / "stop"
    failed: list[BaseException] = []

    def run() -> None:
        try:
            in_own_process_for(900, _serve, dict(values), port, str(stop), renew_every, mode)
        except BaseException as error:  # noqa: BLE001  raised in the test's thread
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.touch()
        thread.join()
    if failed:
        raise failed[0]


async def _serve(values: dict[str, str], port: int, stop: str, seconds: float | None, mode: HostMode) -> None:
    os.environ.update(values)
    logging.getLogger("mailroom").setLevel(logging.INFO)
    app = build_app(load_settings())
    bootstrap.install_app(app)
    ending = asyncio.Event()
    async with Host.started(ROOT, app.storage, mode=mode) as host:
        serving = asyncio.create_task(host.serve(ending, HttpConfig(port=port)))
        renewing = asyncio.create_task(_renew(host, seconds))
        while not await asyncio.to_thread(Path(stop).exists):
            await asyncio.sleep(0.1)
            if serving.done():
                break
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        ending.set()
        await serving
    app.storage.close()


async def _renew(host: Host, seconds: float | None) -> None:
    while seconds is not None:
        await host.run_function("renew_subscriptions")
        await asyncio.sleep(seconds)
