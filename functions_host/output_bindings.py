"""Queue output bindings: convert the values of output parameters to queue messages."""

from __future__ import annotations

import json
from collections.abc import Mapping

from functions_host.function_index import Function
from functions_host.worker_messages import TypedData


def message_bodies(data: TypedData) -> list[str]:
    """Return the messages in an output value.

    A JSON list has one message for each item. A string, bytes or other JSON is one message.

    Raises:
        ValueError: bytes are not UTF-8, or the value's type cannot become a message.
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
            raise ValueError(f"a value of type {kind} cannot become a queue message")


def messages_by_queue(
    function: Function, outputs: Mapping[str, TypedData], return_value: TypedData | None
) -> dict[str, list[str]]:
    """Return the messages that an invocation produced, by queue.

    Raises:
        ValueError: see `message_bodies`.
    """
    messages: dict[str, list[str]] = {}
    for output in function.outputs:
        data = return_value if output.name == "$return" else outputs.get(output.name)
        bodies = message_bodies(data) if data is not None else []
        if bodies:
            messages.setdefault(output.queue, []).extend(bodies)
    return messages
