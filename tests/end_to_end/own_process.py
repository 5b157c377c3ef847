"""Scenarios in processes of their own: the worker engine holds one app a process, for good."""

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
    """Run a coroutine function of a test module in a new process: its result, or its exception."""
    return in_own_process_for(120, scenario, *args, **kwargs)


def in_own_process_for(
    seconds: float, scenario: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """The same, with so many seconds at the most."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, scenario, args, kwargs).result(seconds)


def _run(scenario: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    warnings.simplefilter("error")
    for of_the_graph_sdk in ("GetQueryParameters is deprecated", "This class is deprecated"):
        warnings.filterwarnings("ignore", of_the_graph_sdk, DeprecationWarning)
    os.environ.pop("PYTHON_THREADPOOL_THREAD_COUNT", None)
    return asyncio.run(scenario(*args, **kwargs))
