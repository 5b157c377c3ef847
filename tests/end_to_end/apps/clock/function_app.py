"""Timers."""

import os
import time
import typing

import azure.functions as func

app = func.FunctionApp()

RUNS: list[dict[str, typing.Any]] = []


def _ran(name: str, timer: func.TimerRequest) -> dict[str, typing.Any]:
    status = timer.schedule_status  # type: ignore[attr-defined]  # there, and left out of the abstract class
    run = {"name": name, "past_due": timer.past_due, "began": time.time(), "ended": 0.0, "status": status}
    RUNS.append(run)
    return run


@app.timer_trigger(arg_name="timer", schedule="%TICK%", run_on_startup=False)
@app.queue_output(arg_name="polls", queue_name="polls", connection="AzureWebJobsStorage")
def tick(timer: func.TimerRequest, polls: func.Out[typing.List[str]]) -> None:  # noqa: UP006  the engine refuses list[str]
    """Runs as long as TICK_SECONDS says, then puts a message."""
    run = _ran("tick", timer)
    time.sleep(float(os.environ.get("TICK_SECONDS", "0")))
    run["ended"] = time.time()
    polls.set(["look"])


@app.timer_trigger(arg_name="timer", schedule="0 0 4 1 1 *", run_on_startup=True)
def at_start(timer: func.TimerRequest) -> None:
    """Runs at start, and fails."""
    _ran("at_start", timer)
    raise RuntimeError("timers may fail")
