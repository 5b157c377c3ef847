"""The driver of `azure_functions_runtime`: index the app, load its functions, invoke them.

The engine keeps its state at module level and imports the app by the name `function_app`: a process has one app, for
good. A second start of the same app in the same process finds the first one's index.
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

THREADS = "PYTHON_THREADPOOL_THREAD_COUNT"
"""The setting from which the engine sizes the pool that its sync functions run in."""


@dataclass(frozen=True, slots=True)
class InvocationError:
    """A function's exception.

    Attributes:
        kind: its type's name.
        text: its text.
        trace: where it was raised; for logs at debug level, never for a client.
    """

    kind: str
    text: str
    trace: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class InvocationResult:
    """What came of an invocation.

    Attributes:
        outputs: what the function set on its output parameters.
        return_value: what it returned, as its return binding encodes it.
        error: its exception; None if it ended well.
    """

    outputs: Mapping[str, TypedData] = field(default_factory=dict)
    return_value: TypedData | None = None
    error: InvocationError | None = None


def new_traceparent() -> str:
    """The traceparent of a new, sampled trace (W3C Trace Context, section 3.2)."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


class Engine:
    """The process's app on the worker engine. Made by `start`.

    Args:
        functions: as indexed.
    """

    _indexed: tuple[Path, list[Any]] | None = None

    def __init__(self, functions: tuple[Function, ...]) -> None:
        self.functions = functions

    @classmethod
    async def start(cls, app_dir: Path) -> Self:
        """Index and load the app in `app_dir`.

        Raises:
            AppNotLoaded: it cannot be indexed; the text is the engine's.
            ConfigurationError: a setting that a binding names is missing.
        """
        app_dir = _real(app_dir)
        if Engine._indexed is None:
            Engine._indexed = (app_dir, await _index(app_dir))
        home, indexed = Engine._indexed
        if home != app_dir:
            raise AppNotLoaded(f"this process has loaded the app in {home}; {app_dir} needs a process of its own")
        runtime.start_threadpool_executor()
        return cls(read_functions(indexed, os.environ))

    def use_threads(self, wanted: int) -> None:
        """Let `wanted` sync functions run at once, unless PYTHON_THREADPOOL_THREAD_COUNT says otherwise."""
        given = os.environ.setdefault(THREADS, str(wanted))
        if given.isdecimal() and int(given) < wanted:
            log.warning(
                "%s is %s, and the triggers may start %d functions at once: some will wait", THREADS, given, wanted
            )
        runtime.start_threadpool_executor()

    def function(self, name: str) -> Function:
        """The function of that name.

        Raises:
            KeyError: there is none.
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
        """Run a function once. Its exception comes back in the result; nothing is raised for it.

        Args:
            function: one of `functions`.
            inputs: its input parameters.
            metadata: what the trigger tells besides.
            traceparent: the trace that it belongs to; a new one if None.
        """
        request = Message(
            invocation_id=str(uuid.uuid4()),
            function_id=function.id,
            input_data=[ParameterBinding(name=name, data=data) for name, data in inputs.items()],
            trigger_metadata=dict(metadata or {}),
            trace_context=Message(trace_parent=traceparent or new_traceparent(), trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0),
        )
        response = await runtime.invocation_request(_wrapped(invocation_request=request))
        if response.result.status != StatusResult.Success:
            return InvocationResult(error=_failure(response.result.exception))
        return InvocationResult({item.name: item.data for item in response.output_data}, response.return_value)

    @staticmethod
    def stop() -> None:
        """Close the pool of the sync functions. What runs in it goes on to its end."""
        pool = runtime.get_threadpool_executor()
        if pool is not None:
            pool.shutdown(wait=False)


async def _index(app_dir: Path) -> list[Any]:
    if not (app_dir / "function_app.py").is_file():
        raise AppNotLoaded(f"there is no function_app.py in {app_dir}")
    sys.path.insert(0, str(app_dir))
    with _without_auth_level_advice():
        request = Message(capabilities={}, function_app_directory=str(app_dir))
        answer = await runtime.worker_init_request(_wrapped(worker_init_request=request))
    if answer.result.status != StatusResult.Success:
        raise AppNotLoaded(f"the app in {app_dir} cannot be indexed: {_failure(answer.result.exception)}")
    found_in = _real(Path(str(sys.modules["function_app"].__file__))).parent
    if found_in != app_dir:
        raise AppNotLoaded(f"function_app was imported from {found_in} before; {app_dir} needs a process of its own")
    metadata = await runtime.functions_metadata_request(_wrapped(functions_metadata_request=Message()))
    indexed = list(metadata.function_metadata_results or ())
    for found in indexed:
        load = Message(function_id=found.function_id, metadata=found)
        await runtime.function_load_request(_wrapped(function_load_request=load))
    return indexed


def _real(path: Path) -> Path:
    return path.resolve()


def _wrapped(**request: Message) -> Message:
    return Message(request=Message(**request), properties={"host": "127.0.0.1", "protos": worker_messages})


def _failure(exception: Any) -> InvocationError:
    kind, _, text = str(exception.message).partition(": ")
    return InvocationError(kind, text, str(exception.stack_trace))


@contextmanager
def _without_auth_level_advice() -> Iterator[None]:
    """An app without HTTP functions is told, as a warning on the root logger, that it has no auth level. We know."""

    def wanted(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Auth level is not applied")

    root = logging.getLogger()
    root.addFilter(wanted)
    try:
        yield
    finally:
        root.removeFilter(wanted)
