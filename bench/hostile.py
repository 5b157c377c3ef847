"""`python -m bench.hostile`: what each kind of hostile mail costs, and the worst five. Asserts nothing.

Each measurement runs in a process of its own: memory that one kind leaves allocated would hide what the next one needs.
With `--mapped`, each kind is read from a mapped file, as a large message is. The limits are those of
`test_hostile_kinds.py`, `test_hostile_stored.py` and `test_large_messages.py`.
"""

from __future__ import annotations

import argparse
import json
import mmap
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.child import ROOT
from bench.report import progress, table
from bench.running import machine
from tests.unit.mime.hostile import KINDS

MEGABYTE: Final = 1_000_000
WORST: Final = 5
REPEATED: Final = 10
"""Kinds, the slowest, that are measured again: other work on the machine makes a kind slower, never faster."""

RUNS: Final = 3
LONGEST: Final = 600
"""Seconds after which a measurement is aborted."""

WARM_UP: Final = b"From: a@b.example\nContent-Type: text/html\n\n<p>x"


@dataclass(frozen=True, slots=True)
class Cost:
    """What it costs to read one kind of message: parsing, JSON and fingerprints.

    Attributes:
        seconds: CPU time, user and system, for a megabyte.
        memory: bytes of the peak above the base.
    """

    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class Written:
    """What intake and routing write for one kind of message.

    Attributes:
        size: bytes received.
        written: bytes of all blobs.
        limit: bytes that may be written.
        writes: number of blob writes.
        most_writes: number of blob writes that are allowed.
        seconds: CPU time of intake and routing for a megabyte.
    """

    size: int
    written: int
    limit: int
    writes: int
    most_writes: int
    seconds: float


_Figures = TypeVar("_Figures", Cost, Written)


def main() -> None:
    """Measure every kind, or those that are named, and print the worst."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="all without")
    parser.add_argument("--megabytes", type=int, default=1, help="size of each message (1)")
    parser.add_argument("--mapped", action="store_true", help="parse each message from a mapped file, and nothing else")
    arguments = parser.parse_args()
    kinds, size = arguments.kinds or list(KINDS), arguments.megabytes * MEGABYTE
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"unknown kinds: {', '.join(unknown)}")
    print(f"{machine()}; {len(kinds)} kinds of {arguments.megabytes} MB, {time.strftime('%Y-%m-%d')}")
    job = "mapped" if arguments.mapped else "cost"
    costs = dict(_costs(job, kinds, size))
    for kind in sorted(costs, key=lambda kind: costs[kind].seconds)[-REPEATED:]:
        again = [costs[kind], *(Cost(*_in_child(job, kind, size)) for _ in range(RUNS - 1))]
        costs[kind] = replace(costs[kind], seconds=min(cost.seconds for cost in again))
    table("CPU time", ("kind", "s/MB"), _worst(costs, lambda cost: cost.seconds, "{:.2f}"))
    table("Memory", ("kind", "MB above base"), _worst(costs, lambda cost: cost.memory / MEGABYTE, "{:.0f}"))
    if not arguments.mapped:
        _print_written(dict(_written(kinds, size)))


def _print_written(figures: dict[str, Written]) -> None:
    factors = sorted(figures, key=lambda kind: figures[kind].written / figures[kind].size)[: -WORST - 1 : -1]
    shares = sorted(figures, key=lambda kind: figures[kind].written / figures[kind].limit)[: -WORST - 1 : -1]
    for title, chosen in (("Bytes written", factors), ("Bytes written, nearest to the limit", shares)):
        rows = [
            (
                kind,
                f"{figures[kind].written / figures[kind].size:.2f}",
                f"{figures[kind].limit / figures[kind].size:.2f}",
            )
            for kind in chosen
        ]
        table(title, ("kind", "times the size", "limit"), rows)
    chosen = sorted(figures, key=lambda kind: figures[kind].writes)[: -WORST - 1 : -1]
    table(
        "Blob writes",
        ("kind", "writes", "limit"),
        [(kind, str(figures[kind].writes), str(figures[kind].most_writes)) for kind in chosen],
    )
    table("CPU time of intake and routing", ("kind", "s/MB"), _worst(figures, lambda item: item.seconds, "{:.2f}"))


def _worst(figures: dict[str, _Figures], by: Callable[[_Figures], float], form: str) -> list[tuple[str, str]]:
    return [
        (kind, form.format(by(figures[kind])))
        for kind in sorted(figures, key=lambda kind: by(figures[kind]))[: -WORST - 1 : -1]
    ]


def _costs(job: str, kinds: Iterable[str], size: int) -> Iterator[tuple[str, Cost]]:
    for kind in kinds:
        cost = Cost(*_in_child(job, kind, size))
        progress(f"{kind}: {cost.seconds:.2f} s/MB, {cost.memory / MEGABYTE:.0f} MB")
        yield kind, cost


def _written(kinds: Iterable[str], size: int) -> Iterator[tuple[str, Written]]:
    for kind in kinds:
        figures = Written(*_in_child("routed", kind, size))
        factor, share = figures.written / figures.size, 100 * figures.written / figures.limit
        progress(
            f"{kind}: {factor:.2f} times the size, {share:.0f} % of the limit, "
            f"{figures.writes} of {figures.most_writes} writes, {figures.seconds:.2f} s/MB"
        )
        yield kind, figures


def _in_child(job: str, kind: str, size: int) -> list[Any]:
    command = [sys.executable, "-c", "from bench import hostile; hostile.child()", job, kind, str(size)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONGEST)
    if ran.returncode != 0:
        raise SystemExit(f"benchmark: {job} of {kind!r} failed:\n{ran.stderr[-3_000:]}")
    figures: list[Any] = json.loads(ran.stdout.splitlines()[-1])
    return figures


def child() -> None:
    """Measure one kind in this process and print the figures as JSON."""
    job, kind, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    print(json.dumps({"cost": _cost, "mapped": _mapped, "routed": _routed}[job](kind, size)))


def _cost(kind: str, size: int) -> list[float]:
    from tests.unit.mime.test_hostile_kinds import read, resident  # noqa: PLC0415  the parent does not need it

    read(WARM_UP)
    data = KINDS[kind](size)
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # proc(5): resets VmHWM
    before, started = resident("VmRSS"), time.process_time()
    read(data)
    return [(time.process_time() - started) / len(data) * MEGABYTE, resident("VmHWM") - before]


def _mapped(kind: str, size: int) -> list[float]:
    """Parse a mapped file and read every attachment, as `test_large_messages.py` does."""
    from shared.mime.parser import parse  # noqa: PLC0415
    from tests.unit.mime.test_hostile_kinds import resident  # noqa: PLC0415

    parse(WARM_UP)
    with (
        _file(kind, size) as path,
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
        before, started = resident("VmRSS"), time.process_time()
        message = parse(data)
        for attachment in message.attachments:
            for _ in attachment.chunks():
                pass
        return [(time.process_time() - started) / len(data) * MEGABYTE, resident("VmHWM") - before]


@contextmanager
def _file(kind: str, size: int) -> Iterator[Path]:
    """A file of one kind, built in another process: building it takes several times its size in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "message"
        build = "import sys; from pathlib import Path; from tests.unit.mime.hostile import KINDS; "
        build += "Path(sys.argv[3]).write_bytes(KINDS[sys.argv[1]](int(sys.argv[2])))"
        subprocess.run([sys.executable, "-c", build, kind, str(size), str(path)], cwd=ROOT, check=True)
        yield path


def _routed(kind: str, size: int) -> list[float]:
    from tests.integration import test_hostile_stored  # noqa: PLC0415
    from tests.integration.routing_fixture import RoutingFixture  # noqa: PLC0415

    data = KINDS[kind](size)
    with tempfile.TemporaryDirectory() as folder:
        world = RoutingFixture(Path(folder))
        started = time.process_time()
        stored = test_hostile_stored.stored(world, data)
        seconds = time.process_time() - started
        world.stores.close()
    written = Written(
        stored.size,
        stored.written,
        stored.max_written,
        stored.writes,
        stored.max_writes,
        seconds / stored.size * MEGABYTE,
    )
    return list(astuple(written))


if __name__ == "__main__":
    main()
