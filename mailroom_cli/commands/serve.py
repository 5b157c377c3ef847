"""`mailroom serve`: run the functions on this machine until stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from functions_host.host_mode import HostMode
from functions_host.http_server import HttpConfig
from functions_host.process import run_host
from functions_host.timer_status import StatusBlobs, StatusFolder, TimerStatuses
from functions_host.worker_pool import PoolConfig
from mailroom_cli.app_context import storage_lines
from mailroom_cli.commands.run_once import ROOT
from mailroom_cli.terminal import say
from shared.bootstrap import App
from shared.observability.exporter import start
from shared.storage.folder.blobs import HIDDEN
from shared.storage.folder.modes import FileModes
from shared.storage.location import StorageLocation

TIMERS = "timers"
"""The folder, in the store's own folder, with the status of the timers."""


def serve_app(
    app: App, port: int, *, fast_hops: bool = False, stay_up: bool = False, pool: PoolConfig | None = None
) -> None:
    """Run timers, queues and HTTP until a signal ends the process, as the Functions host would in Azure.

    Args:
        app: the installed app, which the functions find.
        port: HTTP port on the loopback address.
        fast_hops: start the next function at once when a message is put for it (see `HostMode`).
        stay_up: retry when queue storage fails, instead of ending.
        pool: the processes that route messages; None: this one alone.

    Raises:
        QueueStorageFailed: queue storage failed in a way that ends the Functions host.
    """

    def ready(http_port: int) -> None:
        for line in storage_lines(app.settings):
            say(line)
        names = ", ".join(app.settings.mailboxes) or "none"
        say(f"Serving; mailboxes: {names}; HTTP on 127.0.0.1:{http_port}. Ctrl-C stops.")

    app.release_dead()
    start(app.settings.telemetry)
    with _timer_statuses(app.settings.app_storage) as statuses:
        run_host(
            ROOT,
            app.storage,
            HttpConfig(port=port),
            statuses=statuses,
            ready=ready,
            mode=HostMode(fast_hops=fast_hops, stay_up=stay_up, pool=pool),
        )


@contextmanager
def _timer_statuses(location: StorageLocation) -> Iterator[TimerStatuses]:
    """Yield where the timers' status is kept: with the queues and leases, in the app's own storage."""
    if location.folder is not None:
        yield StatusFolder(location.folder / HIDDEN / TIMERS, FileModes(location.file_mode))
        return
    from shared.storage.azure.accounts import StorageAccount  # noqa: PLC0415  a folder needs no Azure SDK

    account = StorageAccount(location)
    try:
        yield StatusBlobs(account)
    finally:
        account.close()
