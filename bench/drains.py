"""Drain the same mailbox by Mailroom and its peers, alternately, and print the medians of the runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from bench.child import Measurement
from bench.mix import mix
from bench.report import progress, table
from bench.running import Bench, in_child, once, write_settings
from bench.storage_requests import GROUPS
from tests.servers import azurite
from tests.servers.dovecot import User

Drain = Callable[[User, Path], Measurement]

INTAKE = "Mailroom, intake"
ONCE = "Mailroom, intake and routing (mailroom run-once)"
WHOLE = "Mailroom, intake and routing"


def imap(bench: Bench) -> None:
    """Drain IMAP without TLS on the loopback address into folder storage, and compare with the peers."""
    source = bench.create_user(mix(bench.messages))
    drains: dict[str, Drain] = {
        INTAKE: partial(_intake, bench),
        "pipelined, bare socket": partial(_peer, bench, source, "pipelined"),
        "imaplib, one by one": partial(_peer, bench, source, "imaplib_one_by_one"),
        "imapclient, batches of 100": partial(_peer, bench, source, "imapclient_in_batches"),
        "(only the wire)": partial(_peer, bench, source, "wire_only"),
        "(only the files, 16 threads)": partial(_peer, bench, source, "files_only"),
    }
    _show(f"IMAP, {_size(source)}, into a folder", _alternate(bench, source, drains), INTAKE)


def pop3(bench: Bench) -> None:
    """Drain POP3 without TLS on the loopback address into folder storage, and compare with poplib."""
    source = bench.create_user(mix(bench.messages))
    drains: dict[str, Drain] = {
        INTAKE: partial(_intake, bench, protocol="pop3"),
        "poplib, one by one": partial(_peer, bench, source, "poplib_one_by_one"),
    }
    _show(f"POP3, {_size(source)}, into a folder", _alternate(bench, source, drains), INTAKE)


def whole(bench: Bench) -> None:
    """Drain IMAP into folder storage and route the messages."""
    source = bench.create_user(mix(bench.whole_messages, seed=2))
    drains: dict[str, Drain] = {INTAKE: partial(_intake, bench), ONCE: partial(_once, bench)}
    _show(f"IMAP, {_size(source)}, whole path into a folder", _alternate(bench, source, drains), INTAKE)


def azure(bench: Bench) -> None:
    """Drain IMAP into Azurite and route the messages; compare with a naive script, and with the bare requests."""
    source = bench.create_user(mix(bench.azure_messages, seed=3))
    log = bench.folder / "requests.json"
    accounts = iter(names := [f"bench{n}" for n in range(bench.runs * 6)])
    with azurite.running(bench.folder, names) as server:

        def account() -> str:
            return server.connection_string(next(accounts))

        def intake(user: User, _: Path) -> Measurement:
            return in_child("intake", values=bench.values(user, account()))

        def whole(user: User, folder: Path) -> Measurement:
            storage = account()
            settings = write_settings(folder.parent, bench.values(user, storage))
            options = {"log": str(log), "messages": bench.azure_messages}
            return in_child("whole", settings=str(settings), connection_string=storage, **options)

        def naive(name: str, user: User, _: Path) -> Measurement:
            target = [bench.dovecot.imap, user.name, user.password]
            return in_child("naive", name=name, target=target, connection_string=account())

        def bare(threads: int, _user: User, _folder: Path) -> Measurement:
            options = {"log": str(log), "messages": bench.azure_messages, "threads": threads}
            return in_child("bare", connection_string=account(), **options)

        drains: dict[str, Drain] = {
            WHOLE: whole,
            INTAKE: intake,
            "naive script, one by one": partial(naive, "one_by_one"),
            "naive script, 16 threads": partial(naive, "in_threads"),
            "(the same requests by the SDKs alone, one by one)": partial(bare, 1),
            "(the same requests by the SDKs alone, 16 threads)": partial(bare, 16),
        }
        measured = _alternate(bench, source, drains)
    _show_requests(f"IMAP, {_size(source)}, into Azurite, which shares the machine", measured)


def _intake(bench: Bench, user: User, folder: Path, *, protocol: str = "imap") -> Measurement:
    return in_child("intake", values=bench.values(user, f"folder:{folder}", protocol=protocol))


def _once(bench: Bench, user: User, folder: Path) -> Measurement:
    return once(folder.parent, bench.values(user, f"folder:{folder}"), bench.whole_messages)


def _peer(bench: Bench, source: User, name: str, user: User, folder: Path) -> Measurement:
    port = bench.dovecot.pop3 if name.startswith("pop") else bench.dovecot.imap
    target = [port, user.name, user.password, str(folder), str(source.home / "new")]
    return in_child("peer", name=name, target=target)


def _alternate(bench: Bench, source: User, drains: Mapping[str, Drain]) -> dict[str, list[Measurement]]:
    """Alternate the drains in each run, so that a slow phase of the machine affects all of them."""
    measured: dict[str, list[Measurement]] = {name: [] for name in drains}
    expected = len(source.files())
    for run in range(1, bench.runs + 1):
        for name, drain in drains.items():
            user = bench.copy_user(source)
            with bench.new_folder() as folder:
                measurement = drain(user, folder)
            measured[name].append(measurement)
            drained, remaining = measurement["messages"], len(user.files())
            warning = "" if drained == expected else f" BUT DRAINED {drained:.0f} OF {expected}"
            warning += f" BUT {remaining} REMAIN" if remaining and not name.startswith("(") else ""
            progress(f"run {run}: {name}: {drained / measurement['seconds']:.0f} msg/s{warning}")
            for file in user.files():
                file.unlink()
    return measured


def _show(title: str, measured: Mapping[str, list[Measurement]], base: str) -> None:
    rates = {
        name: median(measurement["messages"] / measurement["seconds"] for measurement in runs)
        for name, runs in measured.items()
    }
    rows = []
    for name, runs in measured.items():
        run_rates = [measurement["messages"] / measurement["seconds"] for measurement in runs]
        cpu = median(measurement["cpu"] for measurement in runs)
        spread = f"{min(run_rates):.0f} to {max(run_rates):.0f}"
        rows.append([name, f"{rates[name]:.0f}", spread, f"{cpu:.2f}", f"{rates[base] / rates[name]:.2f}"])
    table(f"{title}; medians of {len(measured[base])}", ["", "msg/s", "all runs", "CPU s", f"{base} ÷ this"], rows)


def _show_requests(title: str, measured: Mapping[str, list[Measurement]]) -> None:
    """Print requests and CPU time for a message, and the ratios to Mailroom's whole path."""

    def middle(name: str, value: Callable[[Measurement], float]) -> float:
        return median(value(measurement) for measurement in measured[name])

    def rate(measurement: Measurement) -> float:
        return measurement["messages"] / measurement["seconds"]

    def cpu(measurement: Measurement) -> float:
        return measurement["cpu"] * 1000 / measurement["messages"]

    rows = []
    for name in measured:
        groups = [_per_message(measured[name], group) for group in ("requests", *GROUPS)]
        rows.append(
            [
                name,
                f"{middle(name, rate):.0f}",
                f"{middle(name, cpu):.1f}",
                f"{middle(WHOLE, rate) / middle(name, rate):.2f}",
                f"{middle(WHOLE, cpu) / middle(name, cpu):.2f}",
                *groups,
            ]
        )
    head = ["", "msg/s", "CPU ms/msg", "msg/s: whole ÷ this", "CPU: whole ÷ this", "requests/msg", *GROUPS]
    table(f"{title}; medians of {len(measured[WHOLE])}", head, rows)


def _per_message(runs: Sequence[Measurement], count: str) -> str:
    """Return the median of a count for a message; empty if it was not measured."""
    counts = [run[count] / run["messages"] for run in runs if count in run]
    return f"{median(counts):.2f}" if counts else ""


def _size(source: User) -> str:
    sizes = [file.stat().st_size for file in source.files()]
    return f"{len(sizes)} messages, {sum(sizes) / 1e6:.0f} MB"
