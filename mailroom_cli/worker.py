"""The processes in which `run-once` and `serve` route messages into a folder.

With a storage account, a message waits for the network: the route requests that a process runs at once overlap these
waits. A folder has hardly any, and one request at a time is fastest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from functions_host.worker_pool import PoolConfig
from mailroom_cli.logging_setup import LogOptions, log_options
from mailroom_cli.telemetry import exported_telemetry
from shared.bootstrap import App, build_app, install_app
from shared.config import load_settings
from shared.errors import ConfigurationError
from shared.storage.base import QueueName
from shared.storage.factory import open_storage

PROCESS_COUNT = "FUNCTIONS_WORKER_PROCESS_COUNT"
"""The setting of Azure Functions with the number of worker processes."""

MAX_PROCESSES = 10
"""The largest value of the setting in Azure Functions."""

MAX_CORES = 4
"""Cores that are used without the setting: their processes are together about as fast as one mailbox is drained."""

PRELOAD = ("function_app", "mailroom_cli.worker", "shared.storage.folder.records")
"""Modules that every process needs."""


def worker_pool(app: App, settings_file: Path) -> PoolConfig | None:
    """Return how messages are routed in processes; None if mail or queues are in a storage account.

    Args:
        app: the app of this process, which `open_app` has opened.
        settings_file: its settings file.

    Raises:
        ConfigurationError: FUNCTIONS_WORKER_PROCESS_COUNT is invalid.
    """
    if app.settings.app_storage.folder is None or app.settings.mail_storage.folder is None:
        return None
    setup = partial(_worker_app, settings_file.resolve().parent, log_options())
    return PoolConfig({QueueName.ROUTE_REQUESTS.value}, process_count(os.environ), setup, PRELOAD)


def process_count(environment: Mapping[str, str]) -> int:
    """Return the number of processes: as set, or else one more than cores, since each of them also waits for the disk.

    With one core, no further process is started.

    Raises:
        ConfigurationError: the setting is invalid.
    """
    text = environment.get(PROCESS_COUNT, "").strip()
    if not text:
        cores = min(_cores(), MAX_CORES)
        return cores + 1 if cores > 1 else 1
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_PROCESSES:
        raise ConfigurationError(f"{PROCESS_COUNT} is invalid: set a whole number from 1 to {MAX_PROCESSES}")
    return int(text)


def _cores() -> int:
    """Return the number of cores that this process may use; only Linux says which."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _worker_app(base: Path, log: LogOptions) -> Iterator[None]:
    """Install the app in a worker process, with a connection to the storage of its own.

    Its environment has the values of the settings file, since `open_app` puts them there.

    Args:
        base: the folder that relative paths in settings refer to.
        log: how log lines are written.
    """
    log.apply()
    settings = load_settings(complete=False, base=base)
    storage = open_storage(settings.app_storage, settings.mail_storage, settings.mail_container)
    try:
        app = build_app(settings, storage)
        install_app(app)
        with exported_telemetry(settings.telemetry):
            try:
                yield
            finally:
                app.router.summary.flush()
    finally:
        storage.close()
