"""Jobs that are measured in a separate process: `python -m bench.child JOB`, with arguments as JSON on stdin.

Each job prints its measurements as one line of JSON.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

Measurement = dict[str, float]

SET_CHILD_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux's linux/prctl.h."""


def peer(name: str, target: list[Any]) -> Measurement:
    """Drain a mailbox with one of the peers."""
    from bench.peers import PEERS, Target  # noqa: PLC0415  a job loads only what it needs

    port, username, password, folder, source = target
    Path(folder).mkdir(parents=True)
    drain_target = Target(port, username, password, Path(folder), Path(source))
    return _measure(lambda: PEERS[name](drain_target))


def intake(values: dict[str, str]) -> Measurement:
    """Poll the mailbox `support` once: Mailroom's intake without routing."""
    from shared.bootstrap import build_app  # noqa: PLC0415
    from shared.config import load_settings  # noqa: PLC0415
    from shared.queue_messages import Poll, PollReason  # noqa: PLC0415

    # Imported before the measurement, like the modules of the peers.
    for protocol in ("imap", "pop3", "graph"):
        import_module(f"shared.mailboxes.{protocol}.mailbox")
    app = build_app(load_settings(values))

    def drain() -> int:
        drained = app.poller.poll(Poll("support", PollReason.MANUAL))
        return -1 if drained is None else drained.collected

    measurement = _measure(drain)
    app.storage.close()
    return measurement


def routing(values: dict[str, str]) -> Measurement:
    """Route all messages, one after the other, on this thread."""
    from shared.bootstrap import build_app  # noqa: PLC0415
    from shared.config import load_settings  # noqa: PLC0415
    from shared.queue_messages import RouteRequest  # noqa: PLC0415
    from shared.storage.base import QueueName  # noqa: PLC0415

    app = build_app(load_settings(values))
    queue = app.storage.queues[QueueName.ROUTE_REQUESTS]

    def route_all() -> int:
        count = 0
        while items := queue.receive(32, hidden_for=600):
            for item in items:
                app.router.route(RouteRequest.from_json(item.body))
                queue.delete(item)
                count += 1
        return count

    measurement = _measure(route_all)
    app.storage.close()
    return measurement


def whole(settings: str, connection_string: str, log: str, messages: int) -> Measurement:
    """Drain the mailbox and route the messages as `mailroom run-once` does, without the process's start."""
    from bench.storage_requests import RequestLog, count_groups  # noqa: PLC0415
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.run_once import drain_once  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415
    from mailroom_cli.terminal import open_console  # noqa: PLC0415

    for module in ("shared.mailboxes.imap.mailbox", "shared.storage.azure.blobs", "shared.storage.azure.records"):
        import_module(module)
    requests = RequestLog(connection_string)

    def drain() -> int:
        with ProgressReporter(open_console(stderr=True)) as progress, open_app(Path(settings), progress.drained) as app:
            summary = asyncio.run(drain_once(app, progress))
        assert not summary.failures, summary.failures
        return messages

    with requests.logging():
        measurement = _measure(drain)
    requests.write(Path(log))
    return {**measurement, **count_groups(requests.requests)}


def command(settings: str, messages: int) -> Measurement:
    """Run `mailroom run-once` as a process, and measure it with its start and end, and with its worker processes."""
    # The system gives this process the processes that outlive their parents (prctl(2)), so that their CPU time counts.
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1)
    began = time.perf_counter()
    line = [sys.executable, "-m", "mailroom_cli", "run-once", "--settings", settings]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if ran.returncode != 0:
        raise SystemExit(f"mailroom run-once failed:\n{ran.stderr[-3_000:]}")
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"messages": messages, "seconds": seconds, "cpu": used.ru_utime + used.ru_stime}


def naive(name: str, target: list[Any], connection_string: str) -> Measurement:
    """Drain the mailbox with the naive script."""
    from bench import naive as script  # noqa: PLC0415
    from bench.storage_requests import RequestLog, count_groups  # noqa: PLC0415

    drain: Callable[..., int] = getattr(script, name)
    requests = RequestLog(connection_string)
    with requests.logging():
        measurement = _measure(lambda: drain(*target, connection_string))
    return {**measurement, **count_groups(requests.requests)}


def bare(connection_string: str, log: str, messages: int, threads: int) -> Measurement:
    """Send the requests in a log with the SDKs' clients alone."""
    from bench.bare_requests import Replay  # noqa: PLC0415
    from bench.storage_requests import count_groups, read  # noqa: PLC0415

    replay = Replay(connection_string, read(Path(log)), threads)

    def send() -> int:
        replay.run()
        return messages

    measurement = _measure(send)
    return {**measurement, **count_groups(replay.sent)}


def startup(values: dict[str, str]) -> Measurement:
    """Load the worker engine, and start it with the app."""
    os.environ.update(values)
    began = time.perf_counter()
    from functions_host import Engine  # noqa: PLC0415  the import is measured

    loaded = time.perf_counter()
    engine = asyncio.run(Engine.start(ROOT))
    ended = time.perf_counter()
    responses = asyncio.run(_responses(engine))
    return {"load": loaded - began, "start": ended - loaded, "functions": len(engine.functions), **responses}


async def _responses(engine: Any) -> Measurement:
    """Return the seconds that the notification function takes for its first response and for its second."""
    from bench.notifications import notification  # noqa: PLC0415
    from functions_host.worker_messages import RpcHttp, TypedData  # noqa: PLC0415

    function = engine.function("graph_webhook")
    body = TypedData(bytes=notification(["support"]))
    seconds = []
    for _ in range(2):
        url = "http://127.0.0.1/api/graph_webhook"
        request = RpcHttp(method="POST", url=url, headers={}, params={}, query={}, body=body)
        began = time.perf_counter()
        result = await engine.invoke(function, {function.trigger.name: TypedData(http=request)})
        seconds.append(time.perf_counter() - began)
        assert result.error is None, result.error
        assert result.return_value.http.status_code == "202", result.return_value.http.status_code
        assert "polls" in result.outputs
    return {"first_response": seconds[0], "next_response": seconds[1]}


def _measure(work: Callable[[], int]) -> Measurement:
    """Run `work`, and return its messages, seconds, CPU seconds, and rise of peak memory in bytes."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the memory in use (proc(5))
    peak, cpu, began = _peak(), time.process_time(), time.perf_counter()
    count = work()
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return {"messages": count, "seconds": seconds, "cpu": used, "peak": _peak() - peak}


def _peak() -> int:
    """Return the largest resident set so far, in bytes (proc(5), VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


JOBS: dict[str, Callable[..., Measurement]] = {
    job.__name__: job for job in (peer, intake, routing, whole, command, naive, bare, startup)
}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](**json.load(sys.stdin))))
