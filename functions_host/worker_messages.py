"""What stands for the protobuf messages between the Functions host and a worker.

The engine is handed this module as its `protos`. It builds its answers from these classes and reads its requests from
them, by attribute; a field that nobody set is None. The names are those of the host's gRPC contract
(FunctionRpc.proto). Cookies of HTTP responses are not among them: a function that sets one fails, and says so.
"""

from __future__ import annotations

from typing import Any


class Message:
    """Any message: holds what it is given, and None for the rest.

    Dunder names and names that begin with a capital raise AttributeError: the engine probes for the first as Python
    does, and tells `protos` from a message by asking both for `TypedData`.
    """

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name[:1].isupper():
            raise AttributeError(name)
        return None


class TypedData(Message):
    """One value, under the name of its kind: `string`, `bytes`, `json`, `http` or `int` and `double`."""

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802  the name that the engine calls
        """The one field that is set, or None."""
        del group
        return next(iter(self.__dict__), None)


class ParameterBinding(Message):
    """A parameter's `name` and its `data`."""

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802  the name that the engine calls
        """`data`: the other form, shared memory, is never used here."""
        del group
        return "data" if self.data is not None else None


class StatusResult(Message):
    """Whether a request went well: `status`, and the `exception` if it did not."""

    Failure = 0
    Success = 1


class BindingInfo(Message):
    """A binding's `type`, `direction` and `data_type`."""

    # The directions, and the data type that stands for "not said".
    out = 1
    inout = 2
    undefined = 0


class WorkerInitResponse(Message):
    """The answer to worker_init_request."""


class WorkerMetadata(Message):
    """Which worker it is."""


class RpcException(Message):
    """An exception as `message` (`Type: text`) and `stack_trace`."""


class FunctionMetadataResponse(Message):
    """The answer to functions_metadata_request."""


class RpcFunctionMetadata(Message):
    """What indexing found of a function: `name`, `function_id`, `raw_bindings` (JSON texts) and more."""


class RpcRetryOptions(Message):
    """A function's own retry policy, which the queue and HTTP triggers do not have."""


class FunctionLoadResponse(Message):
    """The answer to function_load_request."""


class InvocationResponse(Message):
    """The answer to invocation_request: `result`, `output_data`, `return_value`."""


class RpcHttp(Message):
    """An HTTP request or response."""
