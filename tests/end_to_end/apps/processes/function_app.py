"""A sample app whose function does what its queue message says, and reports the process that it ran in."""

import json
import os
import signal
import time

import azure.functions as func

app = func.FunctionApp()


@app.queue_trigger(arg_name="item", queue_name="work", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="$return", queue_name="single", connection="AzureWebJobsStorage")
def work(item: func.QueueMessage) -> str:
    """Sleep, fail or die if the message says so; return the process, the times and the setting that it saw."""
    body = item.get_body().decode()
    began = time.monotonic()
    word, _, rest = body.partition(" ")
    if word == "sleep":
        time.sleep(float(rest.partition(" ")[0]))
    if word == "fail":
        raise RuntimeError("this one always fails")
    if word == "die" and item.dequeue_count == 1:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
    seen = {"pid": os.getpid(), "try": item.dequeue_count, "setting": os.environ.get("WORD_OF_THE_TEST", "")}
    return json.dumps({**seen, "body": body, "began": began, "ended": time.monotonic()})


@app.queue_trigger(arg_name="item", queue_name="many", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="$return", queue_name="single", connection="AzureWebJobsStorage")
def other(item: func.QueueMessage) -> str:
    """Return the process; the function is not one of the pool's."""
    return json.dumps({"pid": os.getpid(), "body": item.get_body().decode()})
