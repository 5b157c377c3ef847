"""The drains: the same mailbox again and again, each way in turn, medians of the runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median

from bench.child import Told
from bench.mix import mix
from bench.report import progress, table
from bench.running import Bench, in_child, once
from tests.servers import azurite
from tests.servers.dovecot import User

Way = Callable[[User, Path], Told]

INTAKE = "Mailroom, intake"
ONCE = "Mailroom, intake and sorting (mailroom run-once)"


def imap(bench: Bench) -> None:
    """IMAP on loopback, plaintext, into the folder storage, beside the peers."""
    source = bench.delivered(mix(bench.messages))
    ways: dict[str, Way] = {
        INTAKE: partial(_intake, bench),
        "pipelined, bare socket": partial(_peer, bench, source, "pipelined"),
        "imaplib, one by one": partial(_peer, bench, source, "imaplib_one_by_one"),
        "imapclient, batches of 100": partial(_peer, bench, source, "imapclient_in_batches"),
        "(the wire alone)": partial(_peer, bench, source, "wire_alone"),
        "(the files alone, 16 threads)": partial(_peer, bench, source, "files_alone"),
    }
    _show(f"IMAP, {_size(source)}, into a folder", _alternate(bench, source, ways), INTAKE)


def pop3(bench: Bench) -> None:
    """POP3 on loopback, plaintext, into the folder storage, beside poplib."""
    source = bench.delivered(mix(bench.messages))
    ways: dict[str, Way] = {
        INTAKE: partial(_intake, bench, protocol="pop3"),
        "poplib, one by one": partial(_peer, bench, source, "poplib_one_by_one"),
    }
    _show(f"POP3, {_size(source)}, into a folder", _alternate(bench, source, ways), INTAKE)


def whole(bench: Bench) -> None:
    """The whole path, sorting included, from IMAP into the folder storage."""
    source = bench.delivered(mix(bench.whole_messages, seed=2))
    ways: dict[str, Way] = {INTAKE: partial(_intake, bench), ONCE: partial(_once, bench)}
    _show(f"IMAP, {_size(source)}, whole path into a folder", _alternate(bench, source, ways), INTAKE)


def azure(bench: Bench) -> None:
    """The same into Azurite."""
    source = bench.delivered(mix(bench.azure_messages, seed=3))
    accounts = iter(names := [f"bench{n}" for n in range(bench.runs * 2)])
    with azurite.running(bench.folder, names) as server:

        def taken(user: User, _: Path) -> Told:
            return in_child("intake", values=bench.values(user, server.connection_string(next(accounts))))

        def all_the_way(user: User, place: Path) -> Told:
            values = bench.values(user, server.connection_string(next(accounts)))
            return once(place.parent, values, bench.azure_messages)

        measured = _alternate(bench, source, {INTAKE: taken, ONCE: all_the_way})
    _show(f"IMAP, {_size(source)}, whole path into Azurite, which shares the machine", measured, INTAKE)


def _intake(bench: Bench, user: User, place: Path, *, protocol: str = "imap") -> Told:
    return in_child("intake", values=bench.values(user, f"folder:{place}", protocol=protocol))


def _once(bench: Bench, user: User, place: Path) -> Told:
    return once(place.parent, bench.values(user, f"folder:{place}"), bench.whole_messages)


def _peer(bench: Bench, source: User, name: str, user: User, place: Path) -> Told:
    port = bench.dovecot.pop3 if name.startswith("pop") else bench.dovecot.imap
    target = [port, user.name, user.password, str(place), str(source.home / "new")]
    return in_child("peer", name=name, target=target)


def _alternate(bench: Bench, source: User, ways: Mapping[str, Way]) -> dict[str, list[Told]]:
    """Each way once, then each again: what slows the machine for a while slows them all."""
    measured: dict[str, list[Told]] = {name: [] for name in ways}
    expected = len(source.files())
    for run in range(1, bench.runs + 1):
        for name, way in ways.items():
            user = bench.again(source)
            with bench.place() as place:
                told = way(user, place)
            measured[name].append(told)
            wrong = "" if told["messages"] == expected else f" BUT TOOK {told['messages']:.0f} OF {expected}"
            left = len(user.files())
            wrong += f" BUT LEFT {left}" if left and not name.startswith("(") else ""
            progress(f"run {run}: {name}: {told['messages'] / told['seconds']:.0f} msg/s{wrong}")
            for file in user.files():
                file.unlink()
    return measured


def _show(title: str, measured: Mapping[str, list[Told]], base: str) -> None:
    rates = {name: median(told["messages"] / told["seconds"] for told in runs) for name, runs in measured.items()}
    rows = []
    for name, runs in measured.items():
        each = [told["messages"] / told["seconds"] for told in runs]
        cpu = median(told["cpu"] for told in runs)
        spread = f"{min(each):.0f} to {max(each):.0f}"
        rows.append([name, f"{rates[name]:.0f}", spread, f"{cpu:.2f}", f"{rates[base] / rates[name]:.2f}"])
    table(f"{title}; medians of {len(measured[base])}", ["", "msg/s", "all runs", "CPU s", f"{base} ÷ this"], rows)


def _size(source: User) -> str:
    sizes = [file.stat().st_size for file in source.files()]
    return f"{len(sizes)} messages, {sum(sizes) / 1e6:.0f} MB"
