"""The jobs that want a process of their own: `python -m bench.child JOB`, its arguments as JSON on stdin.

Each prints one line of JSON: what it measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

Told = dict[str, float]


def peer(name: str, target: list[Any]) -> Told:
    """Drain by one of the peers."""
    from bench.peers import PEERS, Target  # noqa: PLC0415  a job loads what it needs, and no more

    port, username, password, folder, source = target
    Path(folder).mkdir(parents=True)
    wanted = Target(port, username, password, Path(folder), Path(source))
    return _timed(lambda: PEERS[name](wanted))


def intake(values: dict[str, str]) -> Told:
    """Look at the mailbox `support` once: Mailroom's way in, without sorting."""
    from shared.bootstrap import build_app  # noqa: PLC0415
    from shared.config import load_settings  # noqa: PLC0415
    from shared.queue_messages import Poll, PollReason  # noqa: PLC0415

    for protocol in (
        "imap",
        "pop3",
        "graph",
    ):  # loaded when first needed; the peers have theirs before the clock starts
        import_module(f"shared.mailboxes.{protocol}")
    app = build_app(load_settings(values))

    def drain() -> int:
        drained = app.poller.poll(Poll("support", PollReason.MANUAL))
        return -1 if drained is None else drained.collected

    told = _timed(drain)
    app.storage.close()
    return told


def sorting(values: dict[str, str]) -> Told:
    """Sort what is announced, one after the other, on this thread."""
    from shared.bootstrap import build_app  # noqa: PLC0415
    from shared.config import load_settings  # noqa: PLC0415
    from shared.queue_messages import RouteRequest  # noqa: PLC0415
    from shared.storage.base import QueueName  # noqa: PLC0415

    app = build_app(load_settings(values))
    queue = app.storage.queues[QueueName.ROUTE_REQUESTS]

    def sort() -> int:
        count = 0
        while items := queue.receive(32, hidden_for=600):
            for item in items:
                app.router.route(RouteRequest.from_json(item.body))
                queue.delete(item)
                count += 1
        return count

    told = _timed(sort)
    app.storage.close()
    return told


def startup(values: dict[str, str]) -> Told:
    """Load the worker engine, and start it with the app."""
    os.environ.update(values)
    began = time.perf_counter()
    from functions_host import Engine  # noqa: PLC0415  this is what is timed

    loaded = time.perf_counter()
    engine = asyncio.run(Engine.start(ROOT))
    ended = time.perf_counter()
    answers = asyncio.run(_answers(engine))
    return {"load": loaded - began, "start": ended - loaded, "functions": len(engine.functions), **answers}


async def _answers(engine: Any) -> Told:
    """How long the notification function takes for its first answer, and for one after that."""
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
    return {"first_answer": seconds[0], "next_answer": seconds[1]}


def _timed(work: Callable[[], int]) -> Told:
    """Run it: messages, seconds, CPU seconds, and how many octets the peak of memory rose above what was in use."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is in use (proc(5))
    peak, cpu, began = _peak(), time.process_time(), time.perf_counter()
    count = work()
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return {"messages": count, "seconds": seconds, "cpu": used, "peak": _peak() - peak}


def _peak() -> int:
    """The largest resident set so far, in octets (proc(5), VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


JOBS: dict[str, Callable[..., Told]] = {job.__name__: job for job in (peer, intake, sorting, startup)}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](**json.load(sys.stdin))))
