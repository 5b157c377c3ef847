"""`mailroom demo` shows every kind of mail and every outcome, and then exits."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailroom_cli.cli import cli
from tests.end_to_end.command import ROOT, identity, mailboxes, mailroom, opened, run_mailroom, settings_file
from tests.end_to_end.in_process import columns
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail

TIMEOUT = 60
"""Seconds; the demo takes five on an idle machine."""

ROWS = [
    # The automatic kinds of rule 5.1, and a message that is not automatic.
    ("Invoice 2026-117", "\u2013", "routed to billing"),
    ("We have your message", "auto-reply", "routed to sales"),
    ("Out of office: your order", "out-of-office", "routed to sales"),
    ("Undelivered: your order", "bounce", "routed to sales"),
    ("Read: your order", "report", "routed to sales"),
    ("[dealers] Prices for oak", "list", "routed to billing"),
    # The outcomes of messages.
    ("To an alias that has no route", "\u2013", "routed to sales", "sales@example.com"),
    ("By Bcc, from a partner", "\u2013", "routed to partners by a wildcard"),
    ("Ten chairs, please", "\u2013", "duplicate", "sales@example.com"),
    ("For the press", "\u2013", "unhandled: no-route"),
    ("We answered ourselves", "auto-reply", "unhandled: loop"),
    ("You have won", "", "blocked: *@lottery.example"),
    ("For your eyes only", "", "unreadable"),
    ("", "", "oversized"),
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Return the lines that the demo prints, and its folder."""
    into = tmp_path_factory.mktemp("demo") / "mail"
    command = [sys.executable, "-m", "mailroom_cli", "demo", "--into", str(into)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines(), into


@pytest.mark.parametrize("row", ROWS, ids=[" ".join(row).strip() for row in ROWS])
def test_5_1_the_demo_shows_each_kind_and_each_outcome(shown: tuple[list[str], Path], row: tuple[str, ...]) -> None:
    lines, _ = shown
    pattern = r"^(?:support|office|contracts)\t" + "\t".join(map(re.escape, row)) + r"(?:\t|$)"
    assert [line for line in lines if re.match(pattern, line)], "\n".join(lines)


def test_every_path_that_the_demo_shows_exists(shown: tuple[list[str], Path]) -> None:
    lines, into = shown
    paths = [line.rsplit("\t", 1)[1] for line in lines if line.endswith(".json") and "\t" in line]
    assert len(paths) >= 24
    for path in paths:
        assert (into / path).is_file(), path


def test_the_demo_ends_with_a_summary(shown: tuple[list[str], Path]) -> None:
    lines, _ = shown
    counts = "23 collected, 16 routed, 3 duplicate, 3 unhandled, 1 blocked, 0 failed, 0 waiting; 2 skipped"
    assert [line for line in lines if re.fullmatch(rf"3 mailboxes polled: {counts}; [\d.]+ s", line)], lines


def test_the_commands_that_the_demo_prints_work(shown: tuple[list[str], Path]) -> None:
    """Each is pasted into a shell, after the demo's mail servers have stopped."""
    lines, into = shown
    commands = [line.strip() for line in lines if line.startswith("  ")]
    outputs = []
    for command in commands:
        assert command.endswith(f" --settings {into}/local.settings.json")
        ran = subprocess.run(
            command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert ran.returncode == 0, (command, ran.stderr)
        outputs.append(ran.stdout)
    status, find_output, explained = outputs
    assert status.startswith("All 3 mailboxes are healthy; nothing is waiting.\n")
    assert "total\tin all\t23\t16\t3\t3\t1\t0\t0\t0\t2\n" in status
    assert "\tFor the press\tunhandled\n" in find_output
    assert "press@example.com: no route matches it" in explained


def test_the_readme_shows_the_demo_as_it_is_on_a_terminal_of_80_columns(shown: tuple[list[str], Path]) -> None:
    _, into = shown
    blocks = re.findall(r"^```\n(\$ .*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    printed = [
        part.splitlines()
        for block in blocks
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)
        if part.startswith(".venv/bin/mailroom")
    ]
    assert [lines[0].split()[1] for lines in printed] == ["status", "find", "explain"]
    for command, *lines in printed:
        words = command.split()[1:]
        with columns(80):
            ran = CliRunner().invoke(cli, [*words, "--settings", f"{into}/local.settings.json"])
        actual = {without_times(line) for line in ran.stdout.splitlines()}
        assert [line for line in lines if line != "\N{HORIZONTAL ELLIPSIS}" and without_times(line) not in actual] == []
        assert max(map(len, lines)) <= 80


def without_times(line: str) -> str:
    return re.sub(r"(?:\d{4}-)?\d\d-\d\d \d\d:\d\d(?::\d\d)?", "TIME", line)


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_mailroom("demo", *words, timeout=TIMEOUT, cwd=folder, environment=environment)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != ".mailroom"
    }


def test_the_demo_does_not_touch_stored_mail(tmp_path: Path) -> None:
    """Run the demo twice next to folders with mail, and check that it writes nowhere else."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for name in ("mail", "mailroom-mail"):
        stores = opened(f"folder:{tmp_path / name}")
        assert stores.blobs.create("messages/ab/abc.eml", b"collected", content_type="message/rfc822")
        stores.close()
    before = files(tmp_path)
    for _ in range(2):
        done = run(tmp_path, TMPDIR=str(temporary))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "mailroom-demo/ has the messages" in done.stdout
        assert list(temporary.iterdir()) == []
        assert before.items() <= files(tmp_path).items()
    assert {path.name for path in tmp_path.iterdir()} == {"mail", "mailroom-mail", "mailroom-demo", "temporary"}


@pytest.mark.parametrize("inside", [True, False], ids=["the demo's folder", "another folder"])
def test_the_demo_does_not_clear_a_folder_with_real_mail(dovecot: Dovecot, tmp_path: Path, inside: bool) -> None:
    """Check a new folder, and a demo's folder into which real mail was drained later."""
    into = tmp_path / "store"
    if inside:
        assert run(tmp_path, "--into", "store").returncode == 0
    user = dovecot.user()
    user.deliver([plain_mail(1, to="sales@example.com")])
    # The demo and the settings template use the same name for this mailbox.
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


def test_the_demo_ignores_settings_in_the_environment(dovecot: Dovecot, tmp_path: Path) -> None:
    """Otherwise real mailboxes would be drained into a folder that the next demo clears."""
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
