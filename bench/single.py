"""What is measured once or a few times, in a fresh process: memory for a large message, and the worker's start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

from bench.child import Told
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
    """How far the peak of memory rises over one large message."""
    kinds: dict[str, Callable[[], bytes]] = {
        "an attachment": partial(with_attachment, 1, LARGE),
        "text alone": partial(plain_mail, 1, size=LARGE, to=RECIPIENT),
    }
    rows = []
    for kind, make in kinds.items():
        data = make()
        for protocol in ("imap", "pop3"):
            user = bench.delivered([data])
            with bench.place() as place:
                values = bench.values(user, f"folder:{place}", protocol=protocol)
                told = {"intake": in_child("intake", values=values), "sorting": in_child("sorting", values=values)}
            for step, one in told.items():
                progress(f"memory: {kind}, {protocol}, {step}: {one['peak'] / 1e6:.1f} MB")
                if step == "intake" or protocol == "imap":
                    name = f"{protocol} {step}, {kind}" if step == "intake" else f"{step}, {kind}"
                    wrong = "" if one["messages"] == 1 else "FAILED"
                    rows.append([name, f"{one['peak'] / 1e6:.1f}", f"{one['seconds']:.2f}", f"{one['cpu']:.2f}", wrong])
        for graph in _through_graph(bench, data):
            progress(f"memory: {kind}, graph, intake: {graph['peak'] / 1e6:.1f} MB")
            wrong = "" if graph["messages"] == 1 else "FAILED"
            figures = [f"{graph['peak'] / 1e6:.1f}", f"{graph['seconds']:.2f}", f"{graph['cpu']:.2f}", wrong]
            rows.append([f"graph intake, {kind}", *figures])
    title = f"Memory: by how much one message of {LARGE / 1e6:.0f} MB raises the peak of a fresh process, into a folder"
    table(title, ["", "MB", "s", "CPU s", ""], rows)


def _through_graph(bench: Bench, data: bytes) -> Iterator[Told]:
    """The intake of one message through the Graph simulator."""
    folder = bench.folder / "graph"
    ca = Ca()
    certificate, key = ca.server().write(folder, "graph")
    with GraphSimulator(certificate=certificate, key=key) as server, bench.place() as place:
        graph = Graph(server, server.register(), ca.write(folder))
        graph.box("support@example.com", data)
        values = graph.values(support="support@example.com") | {"AzureWebJobsStorage": f"folder:{place}"}
        yield in_child("intake", values=values)


def startup(bench: Bench) -> None:
    """How long the worker engine takes to come up with the app."""
    user = bench.dovecot.user()
    values = bench.values(user, f"folder:{bench.folder / 'startup'}") | graph_values()
    runs = []
    for run in range(1, STARTS + 1):
        began = time.perf_counter()
        told = in_child("startup", values=values)
        runs.append({**told, "process": time.perf_counter() - began})
        progress(f"start {run}: Engine.start {told['start']:.3f} s")
    names = {
        "import of the engine": "load",
        "Engine.start: index, load": "start",
        "the notification function's first answer": "first_answer",
        "its next answer": "next_answer",
        "the whole process, with Python's own start and end": "process",
    }
    rows = [[name, f"{median(run[key] for run in runs) * 1000:.1f}"] for name, key in names.items()]
    table(f"Start of the worker with {runs[0]['functions']:.0f} functions; medians of {STARTS}", ["", "ms"], rows)
