"""`mailroom demo` ends by itself, and shows every kind of mail and everything that becomes of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.command import ROOT, identity, mailboxes, mailroom, opened, settings_file
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail

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
    ("Ten chairs, please", "\u2013", "duplicate for sales@example.com"),
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
    command = [sys.executable, "-m", "mailroom_cli", "demo", "--into", str(into)]
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


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mailroom_cli", "demo", *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != ".mailroom"
    }


def test_the_demonstration_leaves_collected_mail_alone(tmp_path: Path) -> None:
    """It runs twice beside folders that settings files name, and leaves nothing elsewhere."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for name in ("mail", "mailroom-mail"):
        stores = opened(f"folder:{tmp_path / name}")
        assert stores.blobs.create("messages/ab/abc/raw.eml", b"collected", content_type="message/rfc822")
        stores.close()
    before = files(tmp_path)
    for _ in range(2):
        done = run(tmp_path, TMPDIR=str(temporary))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "mailroom-demo/messages" in done.stdout
        assert list(temporary.iterdir()) == []
        assert before.items() <= files(tmp_path).items()
    assert {path.name for path in tmp_path.iterdir()} == {"mail", "mailroom-mail", "mailroom-demo", "temporary"}


@pytest.mark.parametrize("inside", [True, False], ids=["a demonstration's folder", "another folder"])
def test_the_demonstration_does_not_clear_mail_that_was_collected(
    dovecot: Dovecot, tmp_path: Path, inside: bool
) -> None:
    """Also where a demonstration's own folder was collected into later."""
    into = tmp_path / "store"
    if inside:
        assert run(tmp_path, "--into", "store").returncode == 0
    user = dovecot.user()
    user.deliver([plain_mail(1, to="sales@example.com")])
    # The name that the settings template gives is also one of the demonstration's.
    settings = settings_file(tmp_path, "folder:store", mailboxes(dovecot, support=user))
    assert mailroom("run-once", settings=settings).returncode == 0
    assert user.left() == []
    before = files(into)
    done = run(tmp_path, "--into", "store")
    assert done.returncode == 2
    assert done.stderr.startswith("store ")
    assert "--into" in done.stderr
    assert files(into) == before
    assert identity(plain_mail(1, to="sales@example.com")) in " ".join(before)


def test_the_demonstration_does_not_take_settings_from_the_environment(dovecot: Dovecot, tmp_path: Path) -> None:
    """Real mailboxes would be emptied into a folder that is cleared."""
    user = dovecot.user()
    user.deliver([plain_mail(1)])
    environment = {
        **mailboxes(dovecot, real=user),
        "AzureWebJobsStorage": f"folder:{tmp_path / 'elsewhere'}",
        "MAIL_STORAGE": f"folder:{tmp_path / 'elsewhere'}",
        "POLL_SCHEDULE": "nonsense",
    }
    done = run(tmp_path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(user.left()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mailroom-demo"]
