"""Run scenarios in separate processes, since the worker engine can load one app per process only."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tests.servers import prepared_process
from tests.servers.logs import ServerLog

P = ParamSpec("P")
T = TypeVar("T")

APPS = Path(__file__).parent / "apps"
"""The sample apps: a folder with `function_app.py` and `host.json` each."""


def in_own_process(scenario: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function of a test module in a process, and return its result or raise its exception.

    The process has imported the app, and has loaded no app into the worker engine.
    """
    return in_own_process_for(120, scenario, *args, **kwargs)


def in_own_process_for(
    seconds: float, scenario: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do the same as `in_own_process` with a timeout in seconds."""
    return _run_in(prepared_process.context(), seconds, scenario, args, kwargs)


def in_new_interpreter(scenario: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do the same as `in_own_process` in a process that has imported nothing: to measure its start."""
    return _run_in(multiprocessing.get_context("spawn"), 120, scenario, args, kwargs)


def _run_in(
    context: BaseContext,
    seconds: float,
    scenario: Callable[..., Coroutine[Any, Any, T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> T:
    with tempfile.TemporaryDirectory() as log_folder:
        file = Path(log_folder) / "log"
        log = ServerLog("local host", file)
        try:
            with ProcessPoolExecutor(1, context) as pool:
                run = partial(_run, scenario, args, kwargs)
                return pool.submit(run, folder=Path.cwd(), environment=dict(os.environ), log=file).result(seconds)
        finally:
            log.close()


def _run(
    scenario: Callable[..., Coroutine[Any, Any, T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
) -> T:
    logging.getLogger("mailroom").addHandler(logging.FileHandler(log, delay=True))
    prepared_process.enter(folder, environment)
    os.environ.pop("PYTHON_THREADPOOL_THREAD_COUNT", None)
    return asyncio.run(scenario(*args, **kwargs))
