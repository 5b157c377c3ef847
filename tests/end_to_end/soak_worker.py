"""Drain a mailbox several times in one process: `python -m tests.end_to_end.soak_worker SETTINGS`.

For each line on standard input, the worker drains all mailboxes as `mailroom run-once` does, and prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from mailroom_cli.app_context import open_app
from mailroom_cli.commands.run_once import drain_once
from mailroom_cli.progress import ProgressReporter
from mailroom_cli.terminal import open_console
from mailroom_cli.worker import worker_pool
from shared.storage.folder.in_use import DATABASE


def main() -> None:
    """Drain once for each line on standard input."""
    with (
        ProgressReporter(open_console(stderr=True)) as progress,
        open_app(settings := Path(sys.argv[1]), progress.drained) as app,
    ):
        for _ in sys.stdin:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the memory in use (proc(5))
            cpu, began = time.process_time(), time.perf_counter()
            summary = asyncio.run(drain_once(app, progress, pool=worker_pool(app, settings)))
            measurement = {
                "messages": summary.collected,
                "failures": list(summary.failures),
                "seconds": time.perf_counter() - began,
                "cpu": time.process_time() - cpu,
                **_open_files(),
                **_status(),
            }
            gc.collect()
            measurement["blocks"] = sys.getallocatedblocks()
            print(json.dumps(measurement), flush=True)


def _open_files() -> dict[str, int]:
    """Return the number of open file descriptors of the database, and that of all others."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor with which this folder was listed
            targets.append(link.readlink())
    database = sum(target.name.startswith(DATABASE) for target in targets)
    return {"database_files": database, "other_files": len(targets) - database}


def _status() -> dict[str, int]:
    """Return the resident memory and its peak, in bytes, and the number of threads (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {
        "memory": int(values["VmRSS"].split()[0]) * 1024,
        "peak": int(values["VmHWM"].split()[0]) * 1024,
        "threads": int(values["Threads"]),
    }


if __name__ == "__main__":
    main()
