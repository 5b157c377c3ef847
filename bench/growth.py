"""Time the commands for operators in a folder with many arrivals, and what its indexes cost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from bench.child import ROOT
from bench.report import progress, table
from bench.running import Bench, write_settings
from shared.storage.folder.blobs import HIDDEN
from shared.storage.folder.in_use import DATABASE
from tests.contract.folders import opened_at
from tests.grown_store import GrownStore, grown_store

Times = tuple[float, float]
"""Seconds, and seconds of CPU."""


def growth(bench: Bench) -> None:
    """Fill a folder with arrivals, and time the commands."""
    with bench.new_folder() as folder:
        store = grown_store(bench.arrivals)
        began = time.perf_counter()
        settings = fill(folder, store)
        progress(f"growth: {bench.arrivals} arrivals written in {time.perf_counter() - began:.0f} s")
        measured = {name: run(words, settings) for name, words in commands(store).items()}
        size = (folder / HIDDEN / DATABASE).stat().st_size
    rows = [[name, f"{seconds:.2f}", f"{cpu:.2f}"] for name, (seconds, cpu) in measured.items()]
    table(
        f"A folder with {bench.arrivals} arrivals, database of {size / 1e6:.0f} MB", ["command", "s", "s of CPU"], rows
    )


def fill(folder: Path, store: GrownStore) -> Path:
    """Write a store into a folder, and return the path of its settings."""
    storage = opened_at(folder)
    store.write_records(storage.records)
    storage.close()
    store.write_files(folder)
    return write_settings(
        folder.parent,
        {
            "AzureWebJobsStorage": f"folder:{folder}",
            "MAILBOXES__support__PROTOCOL": "imap",
            "MAILBOXES__support__HOST": "127.0.0.1",
            "MAILBOXES__support__ADDRESS": "support@example.com",
            "MAILBOXES__support__PASSWORD": "any",
            "ROUTES__sales__ADDRESS": "sales@example.com",
        },
    )


def commands(store: GrownStore) -> Mapping[str, Sequence[str]]:
    """Return the words of each command, by its name. The arrival that is looked for is in the middle of the store."""
    middle = store.count // 2 // 20 * 20  # an unhandled one
    id_ = store.receipt(middle).message[:12]
    return {
        "--version": ["--version"],
        "status": ["status"],
        "find --limit 20": ["find", "--limit", "20"],
        "find --id": ["find", "--id", id_],
        "find --id --long": ["find", "--id", id_, "--long"],
        "find --message-id": ["find", "--message-id", store.message_id(middle)],
        "find --sender": ["find", "--sender", store.sender(middle)],
        "find --since 7d": ["find", "--since", "7d"],
        "find --outcome unhandled": ["find", "--outcome", "unhandled"],
        "find --outcome failed": ["find", "--outcome", "failed"],
        "find --mailbox": ["find", "--mailbox", "office"],
        "explain ID": ["explain", id_],
        "replay --dry-run ID": ["replay", id_, "--dry-run"],
        "replay --dry-run --since 7d": ["replay", "--dry-run", "--since", "7d", "--kind", "unhandled"],
        "replay --dry-run, all unhandled": ["replay", "--dry-run", "--since", "200d", "--kind", "unhandled"],
        "find --subject, all read": ["find", "--subject", "a subject that no message has"],
    }


def run(words: Sequence[str], settings: Path) -> Times:
    """Run a command as a process, and return its times."""
    where = [] if words == ["--version"] else ["--settings", str(settings)]
    before, began = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "mailroom_cli", *words, *where], cwd=ROOT, capture_output=True, text=True, check=False
    )
    seconds, after = time.perf_counter() - began, getrusage(RUSAGE_CHILDREN)
    # Exit status 1 of `find`: no message matches.
    if ran.returncode not in (0, 1) or "Traceback" in ran.stderr:
        raise SystemExit(f"benchmark: {json.dumps(words)} failed:\n{ran.stderr[-3_000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
