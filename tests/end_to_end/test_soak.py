"""A soak: 100,000 messages (`make test-soak`) through the whole path into a folder, by one process, in portions.

`SOAK_MESSAGES` sets another number of messages, a multiple of 200. Set `TMPDIR` to measure a disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from shared.receipts import State
from shared.storage.base import QueueName, Table
from tests.end_to_end.command import ROOT, mailboxes, opened, settings_file
from tests.end_to_end.soak import HEADER, RECIPIENT, Portion, mail, outcomes, soak
from tests.servers.dovecot import Dovecot
from tests.sizes import size

MESSAGES = int(os.environ.get("SOAK_MESSAGES") or size(200, soak=100_000))
PORTIONS = 10

MEASURED = 5_000
"""Messages from which the rate and the memory of a portion mean something."""

MEMORY = 100_000_000
"""Bytes by which the resident memory may grow after the second portion.

The threads' arenas keep what was freed (mallopt(3), M_ARENA_MAX): it grew by 41 MB in 24,000 messages, while the memory
in use did not grow.
"""

BLOCKS = 20_000
"""Blocks by which Python's memory in use may grow after the second portion: that of its caches, which are bounded."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the worker reads /proc of Linux")


def test_many_messages_in_one_process(dovecot: Dovecot, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user, folder = dovecot.user(), tmp_path / "mail"
    values = {**mailboxes(dovecot, support=user), "ROUTES__sales__ADDRESS": RECIPIENT}
    values["FUNCTIONS_WORKER_PROCESS_COUNT"] = "1"  # whose memory, files and threads are measured
    settings = settings_file(tmp_path, f"folder:{folder}", values)
    step = MESSAGES // PORTIONS
    portions: list[Portion] = []
    show(capsys, f"\n{MESSAGES} messages in {PORTIONS} portions\n{HEADER}")
    with soak(settings, user, folder) as run:
        for start in range(0, MESSAGES, step):
            portions.append(run.drain(range(start, start + step)))
            show(capsys, str(portions[-1]))
            assert not portions[-1].failures
            assert portions[-1].messages == step

    assert not user.files(), "every message was removed from the mailbox"
    check_store(folder)
    status = json.loads(timed(capsys, "status", "--json", settings=settings))
    [support] = status["mailboxes"]
    assert support["in_all"] == dict.fromkeys(support["in_all"], 0) | {"collected": MESSAGES} | outcomes(MESSAGES)
    assert (status["outbox"]["messages"], {*status["queues"].values()}) == (0, {0})
    message = hashlib.sha256(mail(MESSAGES // 2)).hexdigest()
    found = timed(capsys, "find", "--id", message[:16], "--json", settings=settings)
    assert {json.loads(line)["message"] for line in found.splitlines()} == {message}
    found = timed(capsys, "find", "--sender", f"sender{MESSAGES // 2 + 1}@example.net", "--json", settings=settings)
    assert len(found.splitlines()) == 1
    check_growth(portions)


def check_store(folder: Path) -> None:
    """Check that each message has one receipt with a final state, and that nothing waits."""
    storage = opened(f"folder:{folder}")
    counts = storage.records.count(Table.RECEIPTS, ("state", "outcome"))
    assert counts == {(State.ROUTED.value, outcome): count for outcome, count in outcomes(MESSAGES).items()}
    stored = Counter(str(receipt.values["message"]) for receipt in storage.records.scan(Table.RECEIPTS))
    assert stored == Counter(hashlib.sha256(mail(number)).hexdigest() for number in range(MESSAGES))
    assert not list(storage.records.scan(Table.OUTBOX))
    assert {name: storage.queues[name].length() for name in QueueName} == dict.fromkeys(QueueName, 0)
    kinds = Counter(
        path.partition("/")[0]
        for prefix in ("routed/", "duplicates/", "unhandled/", "failed/")
        for path in storage.blobs.list(prefix)
    )
    expected = outcomes(MESSAGES)
    assert kinds == {
        "routed": expected["routed"],
        "duplicates": expected["duplicate"],
        "unhandled": expected["unhandled"],
    }
    storage.close()


def check_growth(portions: list[Portion]) -> None:
    """Check that nothing grows with the number of messages, except what is stored."""
    first, second, *_, last = portions
    assert last.other_files <= second.other_files
    assert last.database_files <= 2 * last.threads + 1
    assert last.blocks <= second.blocks + BLOCKS
    if MESSAGES >= MEASURED:
        assert last.threads <= second.threads
        assert last.memory <= second.memory + MEMORY
        assert last.rate >= first.rate / 4


def timed(capsys: pytest.CaptureFixture[str], *words: str, settings: Path) -> str:
    """Run a command as a process, print its time, and return its output."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "mailroom_cli", *words, "--settings", str(settings)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    show(capsys, f"{' '.join(words[:2]):20} {time.perf_counter() - began:6.2f} s")
    return ran.stdout


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print at once."""
    with capsys.disabled():
        print(text, flush=True)
