"""Commands for operators in a folder with 100,000 arrivals: what they find, and, in `make test-soak`, how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.growth import commands, fill, run
from shared.storage.folder.blobs import HIDDEN
from shared.storage.folder.in_use import DATABASE
from tests.end_to_end.command import ROOT
from tests.grown_store import GrownStore, grown_store
from tests.sizes import SOAK, size

ARRIVALS = size(2_000, soak=100_000)

LIMIT = 10.0
"""Seconds of CPU for a command that an index answers, on a slow and busy machine; it takes about one."""


@pytest.fixture(scope="module")
def store() -> GrownStore:
    return grown_store(ARRIVALS)


@pytest.fixture(scope="module")
def settings(store: GrownStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the store, and return the path of its settings."""
    return fill(tmp_path_factory.mktemp("growth") / "mail", store)


def mailroom(settings: Path, *words: str) -> str:
    command = [sys.executable, "-m", "mailroom_cli", *words, "--settings", str(settings)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_commands_find_what_was_stored(store: GrownStore, settings: Path) -> None:
    middle = ARRIVALS // 2 // 20 * 20
    receipt = store.receipt(middle)
    [history] = map(json.loads, mailroom(settings, "find", "--id", receipt.message[:12], "--json").splitlines())
    assert (history["arrival"], history["outcome"]) == (receipt.arrival, "unhandled")
    [line] = mailroom(settings, "find", "--message-id", store.message_id(middle)).splitlines()[1:]
    assert line.startswith(receipt.message[:8])
    sent = mailroom(settings, "find", "--sender", store.sender(middle)).splitlines()[1:]
    assert len(sent) == ARRIVALS // max(1, ARRIVALS // 20)
    newest = mailroom(settings, "find", "--limit", "20").splitlines()[1:]
    assert [line.split("\t")[0][:8] for line in newest] == [store.receipt(n).message[:8] for n in range(19, -1, -1)]
    status = json.loads(mailroom(settings, "status", "--json"))
    counts = [mailbox["in_all"] for mailbox in (*status["mailboxes"], *status["other_mailboxes"])]
    assert {name: sum(count[name] for count in counts) for name in ("collected", "routed", "unhandled", "blocked")} == {
        "collected": ARRIVALS,
        "routed": ARRIVALS * 92 // 100,
        "unhandled": ARRIVALS * 5 // 100,
        "blocked": ARRIVALS // 100,
    }
    preview = mailroom(settings, "replay", "--dry-run", "--since", "200d", "--kind", "unhandled", "--limit", "50")
    assert "new outcomes: 50 unhandled" in preview
    assert f"not previewed: {ARRIVALS // 20 - 50} older records" in preview


@pytest.mark.skipif(not SOAK, reason="only `make test-soak` has 100,000 arrivals")
def test_an_index_answers_at_100_000_arrivals(
    store: GrownStore, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {name: run(words, settings) for name, words in commands(store).items()}
    database = settings.parent / "mail" / HIDDEN / DATABASE
    with capsys.disabled():
        print(f"\n{ARRIVALS} arrivals, {database.stat().st_size / 1e6:.0f} MB")
        for name, (seconds, cpu) in times.items():
            print(f"{name:32} {seconds:6.2f} s  {cpu:6.2f} s of CPU")
    for name, (_, cpu) in times.items():
        assert cpu < LIMIT, name
