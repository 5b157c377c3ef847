"""Run scenarios in separate processes, since the worker engine can load one app per process only."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import warnings
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

APPS = Path(__file__).parent / "apps"
"""The sample apps: a folder with `function_app.py` and `host.json` each."""


def in_own_process(scenario: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function of a test module in a new process, and return its result or raise its exception."""
    return in_own_process_for(120, scenario, *args, **kwargs)


def in_own_process_for(
    seconds: float, scenario: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do the same as `in_own_process` with a timeout in seconds."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, scenario, args, kwargs).result(seconds)


def _run(scenario: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    warnings.simplefilter("error")
    for graph_sdk_warning in ("GetQueryParameters is deprecated", "This class is deprecated"):
        warnings.filterwarnings("ignore", graph_sdk_warning, DeprecationWarning)
    os.environ.pop("PYTHON_THREADPOOL_THREAD_COUNT", None)
    return asyncio.run(scenario(*args, **kwargs))
