"""Child processes that have already imported the app, as forks of a process that each pytest worker starts once.

A new interpreter spends up to a second of CPU time on imports before it does anything. A fork has the imports and
nothing else: no settings, no storage, no threads, no event loop.
"""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

PRELOADED = [
    "tests.servers.preloaded",
]
"""The modules that the forks have imported."""

SDK_WARNINGS = ("GetQueryParameters is deprecated", "This class is deprecated. Please use the generic")
"""Beginnings of the warnings that the Graph SDK causes when it is imported."""


def context() -> ForkServerContext:
    """Return the context of `multiprocessing` whose processes have imported the app."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(PRELOADED)
    return processes


def turn_warnings_into_errors() -> None:
    """Do what `-W error` does, with the exceptions of pyproject.toml."""
    warnings.simplefilter("error")
    for message in SDK_WARNINGS:
        warnings.filterwarnings("ignore", message, DeprecationWarning)


def enter(folder: Path, environment: Mapping[str, str]) -> None:
    """Give this process a current folder and environment variables, as a new process has them from the start."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    turn_warnings_into_errors()


def run_program(
    main: Callable[[], Any], arguments: list[str], folder: Path, environment: Mapping[str, str], output: Path
) -> None:
    """Run a program's main function in this process, with standard output and standard error in two files.

    Args:
        main: the function.
        arguments: the program's name and arguments.
        folder: the current folder.
        environment: all environment variables.
        output: a folder for the files `stdout` and `stderr`.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        with (output / name).open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    enter(folder, environment)
    sys.argv = arguments
    sys.path[0] = str(folder)
    try:
        main()
    finally:
        # `multiprocessing` ends a process without the exit handlers and without collecting garbage.
        atexit._run_exitfuncs()
        gc.collect()
