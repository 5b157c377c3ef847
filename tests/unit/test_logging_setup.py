"""What `configure_logging` writes to standard error, in separate processes, since logging is set up once a process."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import logging
from mailroom_cli.logging_setup import configure_logging
from shared.observability.log_context import bind
configure_logging({arguments})
log = logging.getLogger("mailroom.test")
with bind(mailbox="support", folder="INBOX", message="9f86d081" * 8):
    log.debug("a detail")
    log.info("collected from ann@example.com")
    log.error("the server says \\x9b2J \\u202e")
try:
    raise ValueError("a secret")
except ValueError:
    log.exception("a failure")
"""


def log_lines(arguments: str, more: str = "") -> list[str]:
    """Run the program with the arguments of `configure_logging`, and return what it logged."""
    program = PROGRAM.replace("{arguments}", arguments).replace("log = ", f"{more}\nlog = ", 1)
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"TZ": "Asia/Kathmandu", "PYTHONPATH": str(ROOT)},
    )
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_json_is_one_object_per_line_with_the_fields() -> None:
    began = datetime.now(UTC)
    lines = log_lines("1, False, 'json'")
    info, error, failure = [json.loads(line) for line in lines]
    assert {**info, "time": None} == {
        "time": None,
        "level": "INFO",
        "logger": "mailroom.test",
        "message": "collected from (address)",
        "mailbox": "support",
        "folder": "INBOX",
        "id": "9f86d081" * 8,
    }
    assert info["time"].endswith("Z")
    assert abs((datetime.fromisoformat(info["time"]) - began).total_seconds()) < 60
    assert error["message"] == "the server says \x9b2J \u202e"
    assert "\x9b" not in "".join(lines)
    assert "\u202e" not in "".join(lines)
    assert (failure["level"], failure["message"]) == ("ERROR", "a failure")
    assert "ScrubbedError: ValueError" in failure["exception"]
    assert "a secret" not in failure["exception"].replace('raise ValueError("a secret")', "")


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    ("verbosity", "quiet", "levels"),
    [
        (0, False, ["ERROR", "ERROR"]),
        (1, False, ["INFO", "ERROR", "ERROR"]),
        (2, False, ["DEBUG", "INFO", "ERROR", "ERROR"]),
        (3, False, ["DEBUG", "INFO", "ERROR", "ERROR"]),
        (2, True, ["ERROR", "ERROR"]),
    ],
)
def test_levels(log_format: str, verbosity: int, quiet: bool, levels: list[str]) -> None:
    lines = log_lines(f"{verbosity}, {quiet}, {log_format!r}")
    if log_format == "json":
        assert [json.loads(line)["level"] for line in lines] == levels
    else:
        assert [line.split()[1] for line in lines if " mailroom.test: " in line] == levels


@pytest.mark.parametrize(("quiet", "expected"), [(False, 3), (True, 2)])
def test_serve_lowers_the_level_unless_the_command_is_quiet(quiet: bool, expected: int) -> None:
    lines = log_lines(f"0, {quiet}, 'text'", "logging.getLogger('mailroom').setLevel(logging.INFO)")
    assert len([line for line in lines if " mailroom.test: " in line]) == expected


@pytest.mark.parametrize(("verbosity", "shown"), [(0, False), (1, True)])
def test_a_librarys_warnings_of_retries_are_details(verbosity: int, shown: bool) -> None:
    again = f"configure_logging({verbosity}, False, 'text')"  # it runs for the group, and for the command
    lines = log_lines("0, False, 'text'", f"{again}\nlogging.getLogger('urllib3.connectionpool').warning('Retrying')")
    assert any("Retrying" in line for line in lines) is shown


def test_text_has_times_in_utc() -> None:
    time = log_lines("1, False, 'text'")[0].split()[0]
    assert time.endswith("Z")
    assert abs((datetime.fromisoformat(time) - datetime.now(UTC)).total_seconds()) < 60
