"""A sample app whose functions do what their queue message says, and record their calls."""

import threading
import time
import typing

import azure.functions as func

app = func.FunctionApp()

SEEN: list[dict[str, typing.Any]] = []
_lock = threading.Lock()
_inside = 0


@app.queue_trigger(arg_name="item", queue_name="work", connection="AzureWebJobsStorage")
def work(item: func.QueueMessage, context: func.Context) -> None:
    """Record the message; raise or sleep if the message says so."""
    global _inside  # noqa: PLW0603  the tests measure it
    body = item.get_body().decode("utf-8", "replace")
    with _lock:
        _inside += 1
        SEEN.append(
            {
                "function": "work",
                "body": body,
                "id": item.id,
                "try": item.dequeue_count,
                "receipt": item.pop_receipt,
                "inserted": item.insertion_time,
                "expires": item.expiration_time,
                "at": time.monotonic(),
                "inside": _inside,
                "trace": context.trace_context.trace_parent,
            }
        )
    try:
        if body.startswith("sleep "):
            time.sleep(float(body.removeprefix("sleep ")))
        if body.startswith("fail"):
            raise RuntimeError("this one\nalways fails")
        if body.startswith("once ") and item.dequeue_count == 1:
            raise RuntimeError("only the first time")
    finally:
        with _lock:
            _inside -= 1


@app.queue_trigger(arg_name="item", queue_name="work-poison", connection="AzureWebJobsStorage")
def work_poison(item: func.QueueMessage) -> None:
    """Record a dead letter."""
    body = item.get_body().decode("utf-8", "replace")
    SEEN.append({"function": "work_poison", "body": body, "try": item.dequeue_count, "expires": item.expiration_time})
    if body == "fail for good":
        raise RuntimeError("here too")


@app.queue_trigger(arg_name="item", queue_name="many", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="out", queue_name="work", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="one", queue_name="single", connection="AzureWebJobsStorage")
def spread(item: func.QueueMessage, out: func.Out[typing.List[str]], one: func.Out[str]) -> None:  # noqa: UP006  the engine refuses list[str]
    """Put as many messages as the body says, and a text."""
    count = int(item.get_body())
    out.set([f"part {number} é" for number in range(count)])
    if count:
        one.set('["not a list but a text"]')


@app.queue_trigger(arg_name="item", queue_name="echo", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="$return", queue_name="single", connection="AzureWebJobsStorage")
async def echo(item: func.QueueMessage) -> str:
    """Put the received message, from a coroutine."""
    return item.get_body().decode()
