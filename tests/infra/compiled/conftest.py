"""The compiler, for tests that need it. Where none is installed, they are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.infra.bicep import INFRA
from tools.bicep import Compiler, find_compiler, running


@pytest.fixture(scope="session")
def compiler() -> Iterator[Compiler]:
    program = find_compiler()
    if program is None:
        pytest.skip("no Bicep compiler: install it (az bicep install), or set BICEP to its path")
    with running(program) as started:
        yield started


@pytest.fixture
def parameter_file(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a parameter file for main.bicep; lines about the same parameter replace these."""

    def write(content: str) -> Path:
        defaults = {"environmentName": "'check'", "location": "'westeurope'"}
        lines = [f"param {name} = {value}" for name, value in defaults.items() if f"param {name} =" not in content]
        path = tmp_path / "given.bicepparam"
        main = Path("/".join([".."] * len(tmp_path.parts[1:]))) / (INFRA / "main.bicep").relative_to("/")
        path.write_text("\n".join([f"using '{main}'", *lines, content, ""]))
        return path

    return write
