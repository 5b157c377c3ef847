"""Time the commands for operators on tables with many arrivals, and count their requests; fold the index meanwhile.

Azurite's tables have no index on the keys of entities: each query reads the whole table. `azurite_keys.cjs` makes it
compare the keys first, so that the time of a request does not depend on the table's size any more. The numbers of
requests and rows are those of the service, as far as it fills its pages.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Final, NamedTuple

from bench.child import ROOT
from bench.growth import Times, commands, run
from bench.report import progress, table
from bench.running import Bench, write_settings
from bench.storage_requests import Request, RequestLog, read
from shared.receipt_index_folding import fold
from shared.storage.base import Storage
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.grown_store import GrownStore, grown_store
from tests.servers import azurite

ACCOUNT: Final = "growth"

KEYS: Final = Path(__file__).with_name("azurite_keys.cjs")

REPORTED: Final = 10_000
"""Arrivals between two lines about the progress."""

UNFOLDED: Final = ("status", "find --limit 20", "find --id", "find --outcome failed", "find --sender")
"""Commands that are also measured before the index is folded."""


class Load(NamedTuple):
    """The requests of a command or a sweep, and the rows of tables that were read."""

    requests: int
    rows: int

    @classmethod
    def from_requests(cls, requests: Sequence[Request]) -> Load:
        """Count logged requests."""
        # A query of a whole table is among the others.
        queries = (request for request in requests if request.kind in {"table query", "table GET", "other"})
        return cls(len(requests), sum(request.items for request in queries if request.items))


def growth_tables(bench: Bench) -> None:
    """Fill tables with arrivals, fold their index as `sweep` does, and time and count the commands."""
    with azurite.running(bench.folder, [ACCOUNT], scripts=[KEYS]) as server:
        connection_string = server.connection_string(ACCOUNT)
        store = grown_store(bench.arrivals)
        with opened(connection_string) as storage:
            fill(storage, store)
            settings = tables_settings(bench.folder, connection_string)
            words = {**commands(store), "forget ID, a list": ["forget", commands(store)["explain ID"][1]]}
            first = {name: words[name] for name in UNFOLDED}
            show("before the index is folded", measure(first, settings, connection_string))
            sweep_until_folded(storage, store, settings, connection_string)
        show("with the index", measure(words, settings, connection_string))


@contextmanager
def opened(connection_string: str) -> Iterator[Storage]:
    """Yield the storage of an account."""
    location = StorageLocation.parse(connection_string, setting="AzureWebJobsStorage")
    storage = open_storage(location, location, "mail")
    try:
        yield storage
    finally:
        storage.close()


def fill(storage: Storage, store: GrownStore) -> None:
    """Write a store's records, in transactions of up to 100 changes, and the blobs of its unhandled arrivals."""
    began = time.perf_counter()
    store.write_blobs(storage.blobs)

    def report(written: int) -> None:
        if written % REPORTED == 0 or written == store.count:
            progress(f"growth: {written} arrivals written in {time.perf_counter() - began:.0f} s")

    store.write_records(storage.records, report)


def tables_settings(folder: Path, connection_string: str) -> Path:
    """Write settings for the account, and return their path."""
    mailboxes = {
        f"MAILBOXES__{name}__{setting}": value
        for name in ("support", "orders", "office")
        for setting, value in {
            "PROTOCOL": "imap",
            "HOST": "127.0.0.1",
            "ADDRESS": f"{name}@example.com",
            "PASSWORD": "any",
        }.items()
    }
    values = {"AzureWebJobsStorage": connection_string, "ROUTES__sales__ADDRESS": "sales@example.com", **mailboxes}
    return write_settings(folder, values)


def sweep_until_folded(storage: Storage, store: GrownStore, settings: Path, connection_string: str) -> None:
    """Fold the index as one sweep after another does, with `status` during the first one; print what each took."""
    rows: list[list[str]] = []
    while True:
        log = RequestLog(connection_string)
        began, cpu = time.perf_counter(), time.process_time()
        folded: list[int] = []
        with log.logging():
            sweep = Thread(target=lambda counts: counts.append(fold(storage.records, datetime.now(UTC))), args=[folded])
            sweep.start()
            if not rows:
                progress(f"growth: status during the first sweep, {_check_status(store, settings):.1f} s")
            sweep.join()
        if not folded[0]:
            break
        load = Load.from_requests(log.requests)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        rows.append([str(len(rows) + 1), str(folded[0]), f"{seconds:.0f}", f"{cpu:.1f}", *map(str, load)])
        progress(f"growth: a sweep folded {folded[0]} entries in {seconds:.0f} s")
    table("Sweeps that fold the index", ["sweep", "entries", "s", "s of CPU", "requests", "rows read"], rows)


def _check_status(store: GrownStore, settings: Path) -> float:
    """Check that `status` counts each arrival once. Return the seconds that it takes."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "mailroom_cli", "status", "--json", "--settings", str(settings)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    status = json.loads(ran.stdout)
    collected = sum(box["in_all"]["collected"] for box in (*status["mailboxes"], *status["other_mailboxes"]))
    if collected != store.count:
        raise SystemExit(f"benchmark: status counts {collected} of {store.count} arrivals")
    return time.perf_counter() - began


Measured = Mapping[str, tuple[Times, Load]]


def measure(words: Mapping[str, Sequence[str]], settings: Path, connection_string: str) -> Measured:
    """Run each command twice: alone for its times, and once to log its requests."""
    measured: dict[str, tuple[Times, Load]] = {}
    for name, options in words.items():
        times = run(options, settings)
        measured[name] = (times, count(options, settings, connection_string))
        progress(f"growth: {name}: {times[0]:.2f} s, {times[1]:.2f} s of CPU, {measured[name][1]}")
    return measured


def count(words: Sequence[str], settings: Path, connection_string: str) -> Load:
    """Return the requests of a command, and the rows that it reads."""
    log = settings.with_name("requests.json")
    where = [] if words == ["--version"] else ["--settings", str(settings)]
    command = [sys.executable, "-m", "bench.counted", str(log), connection_string, *words, *where]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode not in {0, 1} or "Traceback" in ran.stderr:
        raise SystemExit(f"benchmark: {json.dumps(words)} failed:\n{ran.stderr[-3_000:]}")
    return Load.from_requests(read(log))


def show(when: str, measured: Measured) -> None:
    """Print the measurements."""
    rows = [
        [name, f"{seconds:.2f}", f"{cpu:.2f}", *map(str, load)] for name, ((seconds, cpu), load) in measured.items()
    ]
    table(f"Commands on tables, {when}", ["command", "s", "s of CPU", "requests", "rows read"], rows)
