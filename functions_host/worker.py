"""Drive `azure_functions_runtime`: index the app, load its functions, invoke them.

The engine keeps its state at module level and imports the app by the name `function_app`. A process can therefore load
one app only. A second start of the same app in the same process uses the first start's index.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import azure_functions_runtime as runtime

from functions_host import worker_messages
from functions_host.function_index import AppNotLoaded, Function, read_functions
from functions_host.worker_messages import Message, ParameterBinding, StatusResult, TypedData

log = logging.getLogger("mailroom.host")

THREAD_COUNT_SETTING = "PYTHON_THREADPOOL_THREAD_COUNT"
"""The setting that gives the size of the thread pool in which the engine runs sync functions."""


@dataclass(frozen=True, slots=True)
class InvocationError:
    """The exception that a function raised.

    Attributes:
        kind: name of the exception's type.
        text: text of the exception.
        trace: traceback; for logs at debug level, never for a client.
    """

    kind: str
    text: str
    trace: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class InvocationResult:
    """The result of an invocation.

    Attributes:
        outputs: the values of the function's output parameters.
        return_value: the return value, as the return binding encodes it.
        error: the function's exception; None if it succeeded.
    """

    outputs: Mapping[str, TypedData] = field(default_factory=dict)
    return_value: TypedData | None = None
    error: InvocationError | None = None


def new_traceparent() -> str:
    """Return the traceparent of a new, sampled trace (W3C Trace Context, section 3.2)."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


class Engine:
    """The process's app, loaded into the worker engine. Create it with `start`.

    Args:
        functions: the functions that indexing found.
        app_dir: folder of `function_app.py`.
    """

    _indexed: tuple[Path, list[Any]] | None = None

    def __init__(self, functions: tuple[Function, ...], app_dir: Path) -> None:
        self.functions = functions
        self.app_dir = app_dir

    @classmethod
    async def start(cls, app_dir: Path) -> Self:
        """Index and load the app in `app_dir`.

        Raises:
            AppNotLoaded: the app cannot be indexed; the text is the engine's.
            ConfigurationError: a setting that a binding names is missing.
        """
        app_dir = _resolve(app_dir)
        if Engine._indexed is None:
            Engine._indexed = (app_dir, await _index(app_dir))
        indexed_dir, indexed = Engine._indexed
        if indexed_dir != app_dir:
            raise AppNotLoaded(
                f"this process has already loaded the app in {indexed_dir}; start a separate process for {app_dir}"
            )
        runtime.start_threadpool_executor()
        return cls(read_functions(indexed, os.environ), app_dir)

    def use_threads(self, count: int) -> None:
        """Let `count` sync functions run at once, unless PYTHON_THREADPOOL_THREAD_COUNT sets another number."""
        setting = os.environ.setdefault(THREAD_COUNT_SETTING, str(count))
        if setting.isdecimal() and int(setting) < count:
            log.warning(
                "%s is %s, but the triggers may start %d functions at once: some functions will wait",
                THREAD_COUNT_SETTING,
                setting,
                count,
            )
        runtime.start_threadpool_executor()

    def function(self, name: str) -> Function:
        """Return the function named `name`.

        Raises:
            KeyError: the app has no such function.
        """
        return {function.name: function for function in self.functions}[name]

    async def invoke(
        self,
        function: Function,
        inputs: Mapping[str, TypedData],
        metadata: Mapping[str, TypedData] | None = None,
        *,
        traceparent: str | None = None,
    ) -> InvocationResult:
        """Run a function once and return its result. An exception of the function is returned, not raised.

        Args:
            function: one of `functions`.
            inputs: the function's input parameters.
            metadata: further values that the trigger supplies.
            traceparent: the trace that the invocation belongs to; None starts a new trace.
        """
        request = Message(
            invocation_id=str(uuid.uuid4()),
            function_id=function.id,
            input_data=[ParameterBinding(name=name, data=data) for name, data in inputs.items()],
            trigger_metadata=dict(metadata or {}),
            trace_context=Message(trace_parent=traceparent or new_traceparent(), trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0),
        )
        response = await runtime.invocation_request(_to_worker_request(invocation_request=request))
        if response.result.status != StatusResult.Success:
            return InvocationResult(error=_to_invocation_error(response.result.exception))
        return InvocationResult({item.name: item.data for item in response.output_data}, response.return_value)

    @staticmethod
    def stop() -> None:
        """Close the thread pool of the sync functions. Functions that are running finish."""
        pool = runtime.get_threadpool_executor()
        if pool is not None:
            pool.shutdown(wait=False)


async def _index(app_dir: Path) -> list[Any]:
    if not (app_dir / "function_app.py").is_file():
        raise AppNotLoaded(f"{app_dir} has no function_app.py")
    sys.path.insert(0, str(app_dir))
    with _without_auth_level_advice():
        request = Message(capabilities={}, function_app_directory=str(app_dir))
        response = await runtime.worker_init_request(_to_worker_request(worker_init_request=request))
    if response.result.status != StatusResult.Success:
        raise AppNotLoaded(f"the app in {app_dir} cannot be indexed: {_to_invocation_error(response.result.exception)}")
    imported_from = _resolve(Path(str(sys.modules["function_app"].__file__))).parent
    if imported_from != app_dir:
        raise AppNotLoaded(
            f"this process has already imported function_app from {imported_from}; "
            f"start a separate process for {app_dir}"
        )
    metadata = await runtime.functions_metadata_request(_to_worker_request(functions_metadata_request=Message()))
    indexed = list(metadata.function_metadata_results or ())
    for function in indexed:
        load = Message(function_id=function.function_id, metadata=function)
        await runtime.function_load_request(_to_worker_request(function_load_request=load))
    return indexed


def _resolve(path: Path) -> Path:
    """Return the absolute path without symbolic links; a function of its own, since it blocks (ruff ASYNC240)."""
    return path.resolve()


def _to_worker_request(**request: Message) -> Message:
    return Message(request=Message(**request), properties={"host": "127.0.0.1", "protos": worker_messages})


def _to_invocation_error(exception: Any) -> InvocationError:
    kind, _, text = str(exception.message).partition(": ")
    return InvocationError(kind, text, str(exception.stack_trace))


@contextmanager
def _without_auth_level_advice() -> Iterator[None]:
    """Suppress the engine's warning, on the root logger, that an app without HTTP functions has no auth level."""

    def is_kept(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Auth level is not applied")

    root = logging.getLogger()
    root.addFilter(is_kept)
    try:
        yield
    finally:
        root.removeFilter(is_kept)
