"""tools/bicep.sh: which compiler it runs, and its result without a compiler."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.bicep import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the only folder on PATH; it has a shell and no Bicep compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shell = shutil.which("sh")
    assert shell is not None
    (folder / "sh").symlink_to(shell)
    return folder


@pytest.fixture
def run(path: Path) -> Run:
    """Return a function that runs the script with only PATH and its arguments as environment variables."""

    def started(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "tools/bicep.sh"],
            cwd=ROOT,
            env={"PATH": str(path), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return started


def compiler(target: Path, exit_code: int = 0) -> Path:
    """Write a program that records its arguments in a file next to it, and exits with a status."""
    target.parent.mkdir(exist_ok=True)
    target.write_text(
        f'#!/bin/sh\necho "$@" >>{target}.called\necho "{target.parent.name} failed" >&2\nexit {exit_code}\n'
    )
    target.chmod(0o755)
    return target


def calls(target: Path) -> list[str]:
    """Return the arguments of each call of a program that `compiler` wrote."""
    recorded = Path(f"{target}.called")
    return recorded.read_text().splitlines() if recorded.exists() else []


@pytest.mark.parametrize("ci", [{}, {"CI": ""}], ids=["CI not set", "CI empty"])
def test_without_a_compiler_the_check_prints_one_line_and_passes(run: Run, ci: dict[str, str]) -> None:
    ran = run(**ci)
    assert ran.returncode == 0
    [line] = (ran.stdout + ran.stderr).splitlines()
    assert "infra/ was not compiled" in line
    assert "BICEP" in line


def test_without_a_compiler_the_check_fails_in_ci(run: Run) -> None:
    ran = run(CI="true")
    assert ran.returncode == 1
    assert "infra/ was not compiled" in ran.stderr


@pytest.mark.parametrize("ci", [{}, {"CI": "true"}], ids=["locally", "in CI"])
def test_an_error_of_the_compiler_on_path_fails_the_check(run: Run, path: Path, ci: dict[str, str]) -> None:
    rejecting = compiler(path / "bicep", exit_code=1)
    ran = run(**ci)
    assert ran.returncode == 1
    assert "bin failed" in ran.stderr, "the compiler's own errors are shown"
    assert "infra/ does not compile" in ran.stderr
    assert calls(rejecting) == ["build --stdout infra/main.bicep"]


def test_the_check_passes_if_the_compiler_succeeds(run: Run, path: Path) -> None:
    accepting = compiler(path / "bicep")
    assert run(CI="true").returncode == 0
    assert calls(accepting) == ["build --stdout infra/main.bicep"]


def test_the_variable_overrides_path(run: Run, path: Path, tmp_path: Path) -> None:
    accepting, rejecting = compiler(path / "bicep"), compiler(tmp_path / "named" / "bicep", exit_code=1)
    ran = run(BICEP=str(rejecting))
    assert ran.returncode == 1
    assert str(rejecting) in ran.stderr, "the error names the compiler"
    assert calls(accepting) == []
    assert calls(rejecting) == ["build --stdout infra/main.bicep"]


def test_a_variable_without_a_program_fails_the_check(run: Run, path: Path, tmp_path: Path) -> None:
    accepting = compiler(path / "bicep")
    assert run(BICEP=str(tmp_path / "missing")).returncode == 1
    assert calls(accepting) == []


def test_make_check_runs_the_script() -> None:
    ran = subprocess.run(["make", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "tools/bicep.sh" in ran.stdout.split()
