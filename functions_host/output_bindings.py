"""Queue output bindings: what a function set on its output parameters, put on the queues."""

from __future__ import annotations

import json
from collections.abc import Mapping

from functions_host.function_index import Function
from functions_host.worker_messages import TypedData


def bodies(data: TypedData) -> list[str]:
    """The messages in an output: a text or bytes is one; a JSON list has one in each item, other JSON is one.

    Raises:
        ValueError: bytes that are no UTF-8, or a kind that no message is made of.
    """
    match data.WhichOneof("data"):
        case None:
            return []
        case "string":
            return [str(data.string)]
        case "bytes":
            return [bytes(data.bytes).decode("utf-8")]
        case "json":
            value = json.loads(data.json)
            items = value if isinstance(value, list) else [value]
            return [item if isinstance(item, str) else json.dumps(item) for item in items]
        case kind:
            raise ValueError(f"a queue message cannot be made of {kind}")


def by_queue(function: Function, outputs: Mapping[str, TypedData], returned: TypedData | None) -> dict[str, list[str]]:
    """The messages that an invocation put out, by queue.

    Raises:
        ValueError: see `bodies`.
    """
    put: dict[str, list[str]] = {}
    for output in function.outputs:
        data = returned if output.name == "$return" else outputs.get(output.name)
        messages = bodies(data) if data is not None else []
        if messages:
            put.setdefault(output.queue, []).extend(messages)
    return put
