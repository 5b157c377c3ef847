"""The pages on deploying describe every parameter, alert and file of infra/, and their commands are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.infra.bicep import INFRA, ROOT

PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", INFRA / "README.md"])
TEXT = "\n".join(path.read_text() for path in PAGES)
README = (INFRA / "README.md").read_text()

BY_COMMAND = {"environmentName", "location", "principalId"}
"""Parameters that azd or the command line sets."""


def test_every_parameter_is_described() -> None:
    parameters = set(re.findall(r"^param (\w+) ", (INFRA / "main.bicep").read_text(), re.MULTILINE))
    assert [name for name in sorted(parameters - BY_COMMAND) if f"`{name}`" not in TEXT] == []


def test_the_table_of_alerts_is_complete() -> None:
    rules = re.findall(r"^    name: '([a-z-]+)'$", (INFRA / "app/alerts.bicep").read_text(), re.MULTILINE)
    table = README.partition("## Alerts\n")[2].partition("| parameter |")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == sorted(
        [*rules, "unreachable"], key=lambda name: table.index(f"| `{name}` |")
    )


def test_every_file_is_in_the_table_of_files() -> None:
    files = [*INFRA.glob("*/*.bicep"), *INFRA.glob("*.bicep")]
    names = [str(path.relative_to(INFRA)) for path in files]
    assert [name for name in names if f"`{name}`" not in README] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_core_tools_are_told_the_language_and_how_to_build(page: Path) -> None:
    """They read it from local.settings.json: github.com/Azure/azure-functions-core-tools/issues/3611."""
    for command in re.findall(r"func azure functionapp publish[^`\n#]*", page.read_text()):
        if command.strip() != "func azure functionapp publish":
            assert "--python --no-build" in command or "--python --build remote" in command, command


@pytest.mark.parametrize("page", ["docs/how-to/deploying.md", "docs/how-to/github.md", "infra/README.md"])
def test_the_list_of_what_was_never_run_is_linked(page: str) -> None:
    assert "first-deployment.md)" in (ROOT / page).read_text()


def test_no_page_sends_a_reader_to_the_log_stream() -> None:
    """With `telemetryMode` OpenTelemetry it stays empty."""
    sentences = re.findall(r"[^.|]*log\s+stream[^.|]*", TEXT)
    assert sentences
    assert [words for words in sentences if "stays empty" not in words and "shows nothing" not in words] == []
