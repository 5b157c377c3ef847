"""Measurements in a new process: memory for a large message, and the start of the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

from bench.child import Measurement
from bench.mix import RECIPIENT, with_attachment
from bench.notifications import graph_values
from bench.report import progress, table
from bench.running import Bench, in_child
from graph_simulator import GraphSimulator
from tests.servers.certificates import Ca
from tests.servers.graph import Graph
from tests.servers.mail import plain_mail

LARGE = 100_000_000
STARTS = 5


def memory(bench: Bench) -> None:
    """Print by how much a large message raises the peak of memory."""
    kinds: dict[str, Callable[[], bytes]] = {
        "an attachment": partial(with_attachment, 1, LARGE),
        "text only": partial(plain_mail, 1, size=LARGE, to=RECIPIENT),
    }
    rows = []
    for kind, make in kinds.items():
        data = make()
        for protocol in ("imap", "pop3"):
            user = bench.create_user([data])
            with bench.new_folder() as folder:
                values = bench.values(user, f"folder:{folder}", protocol=protocol)
                steps = {"intake": in_child("intake", values=values), "routing": in_child("routing", values=values)}
            for step, measurement in steps.items():
                progress(f"memory: {kind}, {protocol}, {step}: {measurement['peak'] / 1e6:.1f} MB")
                if step == "intake" or protocol == "imap":
                    name = f"{protocol} {step}, {kind}" if step == "intake" else f"{step}, {kind}"
                    rows.append([name, *_cells(measurement)])
        for measurement in _through_graph(bench, data):
            progress(f"memory: {kind}, graph, intake: {measurement['peak'] / 1e6:.1f} MB")
            rows.append([f"graph intake, {kind}", *_cells(measurement)])
    title = f"Rise of peak memory in a new process for a message of {LARGE / 1e6:.0f} MB, stored in a folder"
    table(title, ["", "MB", "s", "CPU s", ""], rows)


def _cells(measurement: Measurement) -> list[str]:
    """Return the table cells of a measurement."""
    failed = "" if measurement["messages"] == 1 else "FAILED"
    megabytes = f"{measurement['peak'] / 1e6:.1f}"
    return [megabytes, f"{measurement['seconds']:.2f}", f"{measurement['cpu']:.2f}", failed]


def _through_graph(bench: Bench, data: bytes) -> Iterator[Measurement]:
    """Yield the measurement of the intake of a message through the Graph simulator."""
    certificates = bench.folder / "graph"
    ca = Ca()
    certificate, key = ca.server().write(certificates, "graph")
    with GraphSimulator(certificate=certificate, key=key) as server, bench.new_folder() as folder:
        graph = Graph(server, server.register(), ca.write(certificates))
        graph.box("support@example.com", data)
        values = graph.values(support="support@example.com") | {"AzureWebJobsStorage": f"folder:{folder}"}
        yield in_child("intake", values=values)


def startup(bench: Bench) -> None:
    """Print how long the worker engine takes to load the app."""
    user = bench.dovecot.user()
    values = bench.values(user, f"folder:{bench.folder / 'startup'}") | graph_values()
    runs = []
    for run in range(1, STARTS + 1):
        began = time.perf_counter()
        measurement = in_child("startup", values=values)
        runs.append({**measurement, "process": time.perf_counter() - began})
        progress(f"start {run}: Engine.start {measurement['start']:.3f} s")
    names = {
        "import of the engine": "load",
        "Engine.start: index, load": "start",
        "first response of the notification function": "first_response",
        "its next response": "next_response",
        "whole process, including start and end of Python": "process",
    }
    rows = [[name, f"{median(run[key] for run in runs) * 1000:.1f}"] for name, key in names.items()]
    table(f"Start of the worker with {runs[0]['functions']:.0f} functions; medians of {STARTS}", ["", "ms"], rows)
