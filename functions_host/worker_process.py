"""A process that runs functions for the host, one at a time, as a language worker of the Functions host does.

The host sends a call through a pipe and receives the result. The process ends when the host closes the pipe or dies. It
ignores Ctrl-C, which a terminal sends to all processes of a command: the host decides when it ends.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Self

from functions_host.worker import Engine, InvocationResult
from functions_host.worker_messages import TypedData
from shared.errors import MailroomError

END_SECONDS = 5.0
"""Seconds that a process has to end after the pipe was closed; then it is killed."""

Setup = Callable[[], AbstractContextManager[object]]
"""Prepares a process for the app's functions. It can be pickled."""


class WorkerNotStarted(MailroomError):
    """A worker process could not be started, or could not load the app."""


class WorkerDied(MailroomError):
    """A worker process ended while it ran a function."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function.

    Attributes:
        function: its name.
        inputs: its input parameters.
        metadata: further values that the trigger supplies.
        traceparent: the trace that it belongs to; None starts a new trace.
    """

    function: str
    inputs: Mapping[str, TypedData]
    metadata: Mapping[str, TypedData] | None
    traceparent: str | None


class WorkerProcess:
    """A worker process, as the host sees it. Create it with `start`.

    Args:
        process: the process.
        connection: the host's end of the pipe.
    """

    def __init__(self, process: multiprocessing.process.BaseProcess, connection: Connection) -> None:
        self._process = process
        self._connection = connection
        self.is_alive = True

    @classmethod
    def start(cls, app_dir: Path, setup: Setup, preload: list[str]) -> Self:
        """Start a process, and return it once it has loaded the app.

        Args:
            app_dir: folder of `function_app.py`.
            setup: prepares the process; its context ends with the process.
            preload: modules that all processes share, where the system can fork a process that has imported them.

        Raises:
            WorkerNotStarted: the process ended, or could not load the app.
        """
        context = _context(preload)
        connection, other_end = context.Pipe()
        process = context.Process(  # type: ignore[attr-defined]  # each context has it, the base class does not say so
            target=_run, args=(other_end, app_dir, setup, dict(os.environ)), name="mailroom-worker", daemon=True
        )
        try:
            process.start()
        except Exception as error:
            connection.close()
            problem = f"{type(error).__name__}: {error}"
            raise WorkerNotStarted(f"a worker process cannot be started: {problem}") from error
        finally:
            other_end.close()
        worker = cls(process, connection)
        try:
            problem = connection.recv()
        except (OSError, EOFError):
            problem = f"it ended with exit code {worker._exit_code()}"
        if problem:
            worker.close()
            raise WorkerNotStarted(f"a worker process cannot load the app: {problem}")
        return worker

    def run(self, call: Call) -> InvocationResult:
        """Run a function and return its result. One thread at a time may wait here.

        Raises:
            WorkerDied: the process ended or was killed.
        """
        try:
            self._connection.send(call)
            result: InvocationResult = self._connection.recv()
        except (OSError, EOFError):
            self.is_alive = False
            raise WorkerDied(f"the worker process ended with exit code {self._exit_code()}") from None
        return result

    def kill(self) -> None:
        """End the process now, whatever it runs. `run` raises WorkerDied."""
        self.is_alive = False
        self._process.kill()

    def stop(self) -> None:
        """Let the process end after the function that it runs."""
        self.is_alive = False
        self._connection.close()

    def close(self) -> None:
        """End the process. It finishes the function that it runs, for `END_SECONDS` at the longest."""
        self.stop()
        self._process.join(END_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    def _exit_code(self) -> int | None:
        self._process.join(END_SECONDS)
        return self._process.exitcode


def _context(preload: list[str]) -> BaseContext:
    """Return how processes are started: by a fork of a process that has imported modules, where the system has that.

    This process itself has threads, and must not be forked.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *preload])
    return context


def _run(connection: Connection, app_dir: Path, setup: Setup, environment: Mapping[str, str]) -> None:
    """Run the calls that come through the pipe until the host closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The process was forked from one that may have been started with other settings.
    os.environ.clear()
    os.environ.update(environment)
    with connection, ExitStack() as stack:
        try:
            stack.enter_context(setup())
            runner = stack.enter_context(asyncio.Runner())
            engine = runner.run(Engine.start(app_dir))
        except MailroomError as error:
            connection.send(str(error))
            return
        stack.callback(engine.stop)
        engine.use_threads(1)
        # The pipe is closed when the host ends. A result that it does not wait for any more is dropped.
        with suppress(EOFError, ConnectionError):
            connection.send("")
            while True:
                call: Call = connection.recv()
                function = engine.function(call.function)
                result = engine.invoke(function, call.inputs, call.metadata, traceparent=call.traceparent)
                connection.send(runner.run(result))
