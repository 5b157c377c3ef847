"""The systemd unit is valid, calls the command as it is, and matches its page."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from functions_host.host import GRACE
from mailroom_cli.cli import cli
from shared.config import load_settings

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging/systemd/mailroom.service"
SYSUSERS = ROOT / "packaging/systemd/mailroom.sysusers"
PAGE = (ROOT / "docs/how-to/systemd.md").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()

EXPOSURE = 20
"""Highest exposure that `systemd-analyze security` may find, in tenths."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def _service() -> dict[str, str]:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # keep capitals
    unit.read_string(UNIT.read_text())
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    return dict(unit["Service"])


def test_the_command_line_is_one_of_the_commands() -> None:
    program, *arguments = shlex.split(_service()["ExecStart"])
    assert re.search(rf'^{Path(program).name} = "mailroom_cli\.main:main"$', PROJECT, re.MULTILINE)
    ran = CliRunner().invoke(cli, arguments)
    # The file is missing here: the error shows that the command and its options exist.
    assert ran.exit_code == 2
    assert "/etc/mailroom/local.settings.json" in ran.output
    assert "option" not in ran.output.lower()
    refused = CliRunner().invoke(cli, [*arguments, "--no-such-option"])
    assert "no such option" in refused.output.lower()


def test_the_paths_are_those_of_the_page() -> None:
    service = _service()
    program, *_ = shlex.split(service["ExecStart"])
    secrets = service["EnvironmentFile"].removeprefix("-")
    store = f"/var/lib/{service['StateDirectory']}"
    assert f"make -C {program.removesuffix('/.venv/bin/mailroom')} " in PAGE
    for path in (program, secrets, store, "packaging/systemd/mailroom.service", "packaging/systemd/mailroom.sysusers"):
        assert path in PAGE
    settings = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert settings is not None
    values = json.loads(settings[1])["Values"]
    assert values["AzureWebJobsStorage"].startswith(f"folder:{store}/")
    environment = re.search(r"```\n(MAILBOXES__.*?)```", PAGE, re.DOTALL)
    assert environment is not None
    name, _, value = environment[1].strip().partition("=")
    loaded = load_settings({**values, name: value.strip('"')})
    assert loaded.app_storage.folder == Path(store) / "store"


def test_a_stop_leaves_time_for_running_functions_and_a_configuration_error_is_not_restarted() -> None:
    service = _service()
    assert float(service["TimeoutStopSec"]) >= GRACE + 10
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("always", "2")


@needs_systemd
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # systemd requires that the program exists, which it does where Mailroom is installed.
    unit.write_text(UNIT.read_text().replace("/opt/mailroom/.venv/bin/mailroom", sys.executable))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
def test_the_unit_is_restricted(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text())
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-300:]
    level = re.search(r"exposure level for mailroom\.service: ([\d.]+)", rated.stdout)
    assert level is not None
    assert f"rates its exposure at {level[1]}" in PAGE


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_the_account_is_created_as_the_unit_names_it(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    created = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", SYSUSERS], capture_output=True, text=True, check=False
    )
    assert created.returncode == 0, created.stderr
    service = _service()
    name, _, _, _, _, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, home) == (service["User"], f"/var/lib/{service['StateDirectory']}")
    assert shell.endswith("nologin")
    assert service["Group"] in (tmp_path / "etc/group").read_text()
