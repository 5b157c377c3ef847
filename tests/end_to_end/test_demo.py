"""`mailroom demo` ends by itself, and shows every kind of mail and everything that becomes of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.command import ROOT

WITHIN = 60
"""Seconds; it takes five on an idle machine."""

ROWS = [
    # The kinds of rule 5.1, and none.
    ("Invoice 2026-117", "\u2013", "routed to billing"),
    ("We have your message", "auto-reply", "routed to sales"),
    ("Out of office: your order", "out-of-office", "routed to sales"),
    ("Undelivered: your order", "bounce", "routed to sales"),
    ("Read: your order", "report", "routed to sales"),
    ("[dealers] Prices for oak", "list", "routed to billing"),
    # What may become of a message.
    ("To an alias that has no route", "\u2013", "routed to sales for sales@example.com"),
    ("By Bcc, from a partner", "\u2013", "routed to partners by a wildcard"),
    ("Ten chairs, please", "\u2013", "a duplicate, for sales@example.com"),
    ("For the press", "\u2013", "unhandled: no-route"),
    ("We answered ourselves", "auto-reply", "unhandled: loop"),
    ("You have won", "", "blocked: *@lottery.example"),
    ("For your eyes only", "", "unreadable"),
    ("", "", "oversized"),
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The lines that it prints, and the folder that it fills."""
    into = tmp_path_factory.mktemp("demo") / "mail"
    command = [sys.executable, "-m", "local", "demo", "--into", str(into)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines(), into


@pytest.mark.parametrize("row", ROWS, ids=[" ".join(row).strip() for row in ROWS])
def test_5_1_the_demonstration_shows_each_kind_and_each_fate(
    shown: tuple[list[str], Path], row: tuple[str, ...]
) -> None:
    lines, _ = shown
    pattern = r"^ +(?:support|office|contracts) +" + " +".join(map(re.escape, filter(None, row)))
    assert [line for line in lines if re.match(pattern, line)], "\n".join(lines)


def test_what_the_demonstration_shows_is_there(shown: tuple[list[str], Path]) -> None:
    lines, into = shown
    places = [line.rsplit(None, 1)[1] for line in lines if "\u2026" in line]
    assert len(places) >= 24
    for place in places:
        folder, _, name = place.partition("\u2026")
        assert list((into / folder).glob(f"*{name}")), place
