"""A sample app with timers."""

import os
import time
import typing

import azure.functions as func

app = func.FunctionApp()

RUNS: list[dict[str, typing.Any]] = []


def _ran(name: str, timer: func.TimerRequest) -> dict[str, typing.Any]:
    status = timer.schedule_status  # type: ignore[attr-defined]  # missing in the abstract class
    run = {"name": name, "past_due": timer.past_due, "began": time.time(), "ended": 0.0, "status": status}
    RUNS.append(run)
    return run


@app.timer_trigger(arg_name="timer", schedule="%TICK%", run_on_startup=False)
@app.queue_output(arg_name="polls", queue_name="polls", connection="AzureWebJobsStorage")
def tick(timer: func.TimerRequest, polls: func.Out[typing.List[str]]) -> None:  # noqa: UP006  the engine refuses list[str]
    """Run for TICK_SECONDS, then put a message."""
    run = _ran("tick", timer)
    time.sleep(float(os.environ.get("TICK_SECONDS", "0")))
    run["ended"] = time.time()
    polls.set(["look"])


@app.timer_trigger(arg_name="timer", schedule="0 0 4 1 1 *", run_on_startup=True)
def at_start(timer: func.TimerRequest) -> None:
    """Run at start, and fail."""
    _ran("at_start", timer)
    raise RuntimeError("timers may fail")
