"""The options of every command, its help and its completion, by the conventions of command-line programs."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailroom_cli.cli import EXAMPLES, GROUPS, cli
from mailroom_cli.command_line import global_options
from tests.end_to_end.command import ROOT, settings_file

COMMANDS = [*(name for commands in GROUPS.values() for name in commands), "settings", "settings add"]


def run(*words: str, stdin: str | None = None, **environment: str) -> Result:
    return CliRunner(env={"MAILROOM_SETTINGS": None, **environment}).invoke(cli, list(words), input=stdin)


@pytest.fixture
def settings(tmp_path: Path) -> str:
    """Return a settings file without a mailbox and without a store."""
    return str(settings_file(tmp_path, "folder:mail", {}))


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Keep the level of Mailroom's log lines."""
    logger = logging.getLogger("mailroom")
    level = logger.level
    yield
    logger.setLevel(level)


def test_version() -> None:
    ran = run("--version")
    assert (ran.exit_code, ran.stdout) == (0, f"mailroom {version('mailroom')}\n")


SLOW_IMPORT = """
import signal, sys, time

# A process that a shell started in the background ignores the signal, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

class SlowFinder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            print("importing", file=sys.stderr, flush=True)
            time.sleep(60)

sys.meta_path.insert(0, SlowFinder())
"""
"""A `sitecustomize` module that makes an import last, so that the test can interrupt it."""


def test_ctrl_c_while_modules_are_imported_ends_it_without_a_traceback(settings: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_IMPORT)
    words = [sys.executable, "-m", "mailroom_cli", "status", "--settings", settings]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "Traceback" not in rest


def test_output_that_cannot_be_written_is_reported_in_one_line(settings: str) -> None:
    with Path("/dev/full").open("w") as full:  # each write fails as on a full disk
        for words in (("status",), ("status", "--json"), ("status", "-h")):
            ran = subprocess.run(
                [sys.executable, "-m", "mailroom_cli", *words, "--settings", settings],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                check=False,
            )
            assert (ran.returncode, ran.stderr) == (1, "the output cannot be written: No space left on device\n")


def test_the_help_lists_all_commands_in_groups_with_examples() -> None:
    for option in ("-h", "--help"):
        text = run(option).stdout
        titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
        assert titles == [*GROUPS, "Options", "Options of every command"]
        assert [name for name in COMMANDS if " " not in name and f"\n  {name} " not in text] == []
        assert "\n  Examples:\n    mailroom demo\n" in text
    assert run().output == text, "without a command, the help is printed"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_and_no_type_names(name: str) -> None:
    for option in ("-h", "--help"):
        ran = run(*name.split(), option)
        assert ran.exit_code == 0
        assert f"Usage: root {name} " in ran.stdout
        assert f"  Examples:\n    mailroom {name}" in ran.stdout or name == "settings"
        leaked = re.findall(r"<\w+.*?>|\bTEXT\b|\bPATH\b|\bINTEGER\b|\bBOOLEAN\b|\[required\]|\blist\[", ran.stdout)
        assert leaked == []
        assert max(map(len, ran.stdout.splitlines())) <= 80
        for every in ("-v, --verbose", "-q, --quiet", "--log-format text|json", "-h, --help"):
            assert every in ran.stdout


def test_the_examples_name_their_command_and_existing_options() -> None:
    for name, lines in EXAMPLES.items():
        text = run(name, "--help").stdout
        for line in lines:
            assert line.startswith(f"mailroom {name}")
            assert all(option in text for option in re.findall(r" (--?[a-z-]+)", line)), line


@pytest.mark.parametrize(
    "words",
    [("-v", "status"), ("status", "-v"), ("--verbose", "status", "--log-format", "text"), ("status", "-v", "-q")],
)
def test_verbose_before_or_after_the_command(
    settings: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    calls = record_logging(monkeypatch)
    assert run(*words, "--settings", settings).exit_code == 0
    assert calls[-1] == (1, "-q" in words, "text")


def test_options_before_and_after_the_command_add_up(settings: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_logging(monkeypatch)
    assert run("-v", "--log-format", "json", "status", "-v", "-q", "--settings", settings).exit_code == 0
    assert calls[-1] == (2, True, "json")
    assert run("-vv", "settings", "-q", "--check", "--settings", settings).exit_code == 0
    assert calls[-1] == (2, True, "text")
    assert run("status", "--settings", settings).exit_code == 0
    assert calls[-1] == (0, False, "text"), "nothing is kept from another run"


def test_an_unknown_log_format_is_refused(settings: str) -> None:
    ran = run("status", "--log-format", "xml", "--settings", settings)
    assert ran.exit_code == 2
    assert "xml" in ran.stderr


def record_logging(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool, str]]:
    calls: list[tuple[int, bool, str]] = []
    monkeypatch.setattr(global_options, "configure_logging", lambda *arguments: calls.append(arguments))
    return calls


def test_quiet_omits_progress_and_notes(tmp_path: Path) -> None:
    values = {
        f"MAILBOXES__support__{key}": value for key, value in {"PRESET": "gmail-imap", "ADDRESS": "a@b.example"}.items()
    }
    settings = str(settings_file(tmp_path, "folder:mail", values))
    for words in (("-q", "check"), ("check", "--quiet")):
        ran = run(*words, "--settings", settings)
        assert ran.exit_code == 1
        assert "WRONG MAILBOXES__support__PASSWORD" in ran.stdout or "WRONG mailbox support" in ran.stdout
        assert "note" not in ran.stdout
    added = ("settings", "add", "office", "--preset", "gmail-imap", "--address", "c@d.example")
    loud = run(*added, "--settings", str(tmp_path / "new.json"))
    assert "Next: mailroom check office" in loud.stderr
    quiet = run(*added, "-q", "--settings", str(tmp_path / "other.json"))
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_the_settings_file_can_be_named_by_a_variable(settings: str, tmp_path: Path) -> None:
    ran = run("status", MAILROOM_SETTINGS=settings)
    assert ran.exit_code == 0, ran.output
    assert "No mailbox is configured" in ran.stdout
    other = settings_file(tmp_path / "..", "nonsense", {})
    assert run("status", "--settings", settings, MAILROOM_SETTINGS=str(other)).exit_code == 0, "the option wins"
    other.unlink()


def test_the_variable_is_for_checking_and_not_for_a_new_file(settings: str) -> None:
    assert run("settings", MAILROOM_SETTINGS=settings).stdout.startswith("// Mailroom's settings on this machine")
    assert f"ok    {settings}\n" in run("settings", "--check", MAILROOM_SETTINGS=settings).stdout


def test_an_error_of_the_settings_file_says_that_a_variable_names_it(tmp_path: Path) -> None:
    missing, broken = tmp_path / "missing.json", tmp_path / "broken.json"
    broken.write_text("{")
    for file, problem in ((missing, "does not exist; create one"), (broken, "is not JSON")):
        ran = run("status", MAILROOM_SETTINGS=str(file))
        assert ran.exit_code == 2
        assert ran.stderr.startswith(f"{file} (from MAILROOM_SETTINGS): {problem}")
        assert run("status", "--settings", str(file)).stderr.startswith(f"{file}: {problem}")


def test_status_as_json(settings: str) -> None:
    status = json.loads(run("status", "--json", "--settings", settings).stdout)
    assert (status["healthy"], status["mailboxes"], status["outbox"]["messages"]) == (True, [], 0)
    assert set(status["queues"].values()) == {0}


def test_check_as_json(tmp_path: Path) -> None:
    values = {"MAILBOXES__support__PRESET": "gmail-imap", "MAILBOXES__support__ADDRESS": "a@b.example"}
    ran = run("check", "--json", "--settings", str(settings_file(tmp_path, "folder:mail", values)))
    checked = json.loads(ran.stdout)
    assert (ran.exit_code, checked["passed"]) == (1, False)
    wrong = [finding for finding in checked["findings"] if finding["result"] == "wrong"]
    assert [finding["mailbox"] for finding in wrong] == ["support"]
    assert "MAILBOXES__support__PASSWORD" in wrong[0]["text"]


def test_the_names_of_mailboxes_are_completed(tmp_path: Path) -> None:
    values = {f"MAILBOXES__{name}__HOST": "mail.example.com" for name in ("support", "sales", "office")}
    settings = str(settings_file(tmp_path, "folder:mail", values))
    for words, completed in ((("check", "s"), ["sales", "support"]), (("enable", ""), ["office", "sales", "support"])):
        ran = CliRunner().invoke(
            cli,
            [],
            prog_name="mailroom",
            env={
                "MAILROOM_SETTINGS": settings,
                "_MAILROOM_COMPLETE": "complete_bash",
                "COMP_WORDS": f"mailroom {' '.join(words)}",
                "COMP_CWORD": "2",
            },
        )
        assert ran.stdout.split() == completed, ran.output


def test_the_completion_script_can_be_shown_and_installed() -> None:
    text = run("--help").stdout
    assert "--install-completion" in text
    assert "--show-completion" in text
    ran = CliRunner().invoke(cli, [], prog_name="mailroom", env={"_MAILROOM_COMPLETE": "source_bash"})
    assert ran.exit_code == 0
    assert "_MAILROOM_COMPLETE=complete_bash" in ran.stdout
