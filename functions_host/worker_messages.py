"""The messages between the host and the worker engine, in place of the protobuf classes.

The host passes this module to the engine as `protos`. The engine builds its responses from these classes and reads
requests by attribute. A field that is not set is None. The names are those of the host's gRPC contract
(FunctionRpc.proto). Cookies of HTTP responses are not supported: a function that sets one fails with an error.
"""

from __future__ import annotations

from typing import Any


class Message:
    """A message with the fields that it was created with; every other field is None.

    Dunder names and names that begin with a capital raise AttributeError. Python probes for dunder names, and the
    engine distinguishes `protos` from a message by the attribute `TypedData`.
    """

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name[:1].isupper():
            raise AttributeError(name)
        return None


class TypedData(Message):
    """One value; the name of its field is its type: `string`, `bytes`, `json`, `http`, `int` or `double`."""

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802  the engine calls it by this name
        """Return the name of the field that is set, or None."""
        del group
        return next(iter(self.__dict__), None)


class ParameterBinding(Message):
    """A parameter's `name` and its `data`."""

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802  the engine calls it by this name
        """Return `data` if it is set; the alternative, shared memory, is not supported."""
        del group
        return "data" if self.data is not None else None


class StatusResult(Message):
    """The `status` of a request, and its `exception` if it failed."""

    Failure = 0
    Success = 1


class BindingInfo(Message):
    """A binding's `type`, `direction` and `data_type`."""

    # out and inout are directions; undefined is a data type.
    out = 1
    inout = 2
    undefined = 0


class WorkerInitResponse(Message):
    """The response to worker_init_request."""


class WorkerMetadata(Message):
    """The worker's identity: runtime, version and bitness."""


class RpcException(Message):
    """An exception as `message` (`Type: text`) and `stack_trace`."""


class FunctionMetadataResponse(Message):
    """The response to functions_metadata_request."""


class RpcFunctionMetadata(Message):
    """The metadata of an indexed function: `name`, `function_id`, `raw_bindings` (JSON texts) and more."""


class RpcRetryOptions(Message):
    """A function's retry policy; functions with a queue or HTTP trigger have none."""


class FunctionLoadResponse(Message):
    """The response to function_load_request."""


class InvocationResponse(Message):
    """The response to invocation_request: `result`, `output_data`, `return_value`."""


class RpcHttp(Message):
    """An HTTP request or response."""
