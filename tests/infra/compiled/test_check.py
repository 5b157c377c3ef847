"""`python -m tools.bicep`, which `make check` runs: its result with a compiler, and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

import tools.bicep
from tests.infra.bicep import INFRA, ROOT
from tools.bicep import VERSION, Compiler, find_compiler

Run = Callable[..., subprocess.CompletedProcess[str]]
Check = Callable[..., tuple[int, str]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of infra/ and tools/, with one installation."""
    shutil.copytree(INFRA, tmp_path / "infra")
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(tmp_path / "infra/params/settings")
    for path in (tmp_path / "infra/params").iterdir():
        if not path.name.startswith("smallest"):
            path.unlink()
    return tmp_path


@pytest.fixture
def run(tree: Path) -> Run:
    """Return a function that runs the check in the copy. None unsets an environment variable."""

    def started(*arguments: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CI": None, **variables}
        return subprocess.run(
            [sys.executable, "-m", "tools.bicep", *arguments],
            cwd=tree,
            env={name: value for name, value in environment.items() if value is not None},
            capture_output=True,
            text=True,
            check=False,
        )

    return started


@pytest.mark.parametrize("ci", [None, ""], ids=["CI not set", "CI empty"])
def test_without_a_compiler_the_check_prints_one_line_and_passes(run: Run, tmp_path: Path, ci: str | None) -> None:
    ran = run(PATH=str(tmp_path), BICEP=None, CI=ci)
    assert ran.returncode == 0
    [line] = (ran.stdout + ran.stderr).splitlines()
    assert "infra/ was not compiled" in line
    assert "BICEP" in line


def test_without_a_compiler_the_check_fails_in_ci(run: Run, tmp_path: Path) -> None:
    ran = run(PATH=str(tmp_path), BICEP=None, CI="true")
    assert ran.returncode == 1
    assert "infra/ was not compiled" in ran.stderr


def test_a_variable_without_a_program_fails_the_check(run: Run, tmp_path: Path) -> None:
    ran = run(BICEP=str(tmp_path / "missing"))
    assert ran.returncode == 1
    assert str(tmp_path / "missing") in ran.stderr


def test_make_check_runs_the_check() -> None:
    ran = subprocess.run(["make", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "-m tools.bicep" in ran.stdout


def test_ci_installs_the_version_that_wrote_the_snapshots() -> None:
    assert f"az bicep install --version v{VERSION}\n" in (ROOT / ".github/workflows/ci.yml").read_text()


@pytest.mark.usefixtures("compiler")
def test_the_check_passes_without_output(run: Run) -> None:
    ran = run(CI="true", BICEP=find_compiler())
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


FAULTS = {
    "wrong property": ("app/storage.bicep", "allowSharedKeyAccess:", "allowSharedKeyAcess:", "BCP089"),
    "old API version": ("app/vault.bicep", "vaults@2026-05-15", "vaults@2023-07-01", "use-recent-api-versions"),
    "warning": ("mail/data.bicep", "param lock bool", "param lock bool\nparam unused string = ''", "no-unused-params"),
    "untyped parameter": ("app/alerts.bicep", "emails string[]", "emails array", "use-user-defined-types"),
    "layout": (
        "app/identity.bicep",
        "  location: location",
        "    location: location",
        "differs from what the compiler",
    ),
    "changed resource": ("app/storage.bicep", "'polls'", "'mailbox-polls'", '-      "name": "stapp'),
}
"""File, text, replacement, and a part of the check's message."""


@pytest.fixture
def check(tree: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Return a function that runs the check in the copy, and returns its exit code and what it wrote.

    It uses the compiler that all tests share: a new one takes five seconds for the check.
    """
    for name in ("ROOT", "INFRA", "MAIN", "_MODULE_FILES"):
        monkeypatch.setattr(tools.bicep, name, tree / getattr(tools.bicep, name).relative_to(ROOT))
    monkeypatch.setattr(tools.bicep, "running", lambda program: nullcontext(compiler))

    def run_main(*arguments: str) -> tuple[int, str]:
        code = tools.bicep.main([*arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run_main


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_fails(check: Check, tree: Path, fault: str) -> None:
    name, text, replacement, message = FAULTS[fault]
    path = tree / "infra" / name
    assert text in path.read_text()
    path.write_text(path.read_text().replace(text, replacement, 1))
    code, output = check()
    assert code == 1
    assert message in output
    assert "infra/ fails the checks above" in output


def test_a_snapshot_without_its_parameter_file_fails_the_check(check: Check, tree: Path) -> None:
    (tree / "infra/params/old.snapshot.json").write_text("{}")
    code, output = check()
    assert code == 1
    assert "infra/params/old.snapshot.json: has no parameter file; delete it" in output


def test_writing_makes_the_check_pass(check: Check, tree: Path) -> None:
    path = tree / "infra/app/identity.bicep"
    path.write_text(path.read_text().replace("  location: location", "      location: location"))
    (tree / "infra/params/smallest.snapshot.json").unlink()
    assert check("--write") == (0, "")
    assert path.read_text() == (INFRA / "app/identity.bicep").read_text()
    written = (tree / "infra/params/smallest.snapshot.json").read_text()
    assert written == (INFRA / "params/smallest.snapshot.json").read_text()
