"""The compiler, for tests that need it. Where none is installed, they are skipped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.bicep import MAIN, Compiler, find_compiler, running


@pytest.fixture(scope="session")
def compiler() -> Iterator[Compiler]:
    program = find_compiler()
    if program is None:
        pytest.skip("no Bicep compiler: install it (az bicep install), or set BICEP to its path")
    with running(program) as started:
        yield started


@pytest.fixture
def parameter_file(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a parameter file for main.bicep, and adds the required parameters."""

    def write(content: str) -> Path:
        defaults = {"environmentName": "'check'", "location": "'westeurope'"}
        lines = [f"param {name} = {value}" for name, value in defaults.items() if f"param {name} =" not in content]
        path = tmp_path / "given.bicepparam"
        # The compiler accepts relative paths only.
        path.write_text("\n".join([f"using '{os.path.relpath(MAIN, tmp_path)}'", *lines, content, ""]))
        return path

    return write
