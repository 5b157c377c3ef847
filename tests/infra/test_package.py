"""The deployment package contains the app and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mailroom_cli.commands.settings.template import STORE
from mailroom_cli.demo import DEMO_FOLDER
from tests.infra.bicep import ROOT
from tests.unit.test_layers import imports
from tools.package import Ignores, as_azd, as_core_tools, build, packaged

MAX_KB = 1024
"""Largest size of the package. Dependencies are installed in Azure, so that a larger package has other files."""

NOT_DEPLOYED = ("mailroom_cli", "functions_host", "graph_simulator", "bench", "fuzz", "tests", "tools", "docs", "infra")

INDEX = """
import asyncio, json
from pathlib import Path
import shared
from functions_host.worker import Engine

engine = asyncio.run(Engine.start(Path.cwd()))
print(json.dumps([shared.__file__, sorted(f.name for f in engine.functions)]))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    target = tmp_path / "package.zip"
    build(target)
    return target


def test_the_package_contains_only_the_app(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
    size = package.stat().st_size / 1024
    with capsys.disabled():
        print(f"\nthe package: {size:.0f} KB, {len(names)} files")
    tops = {name.partition("/")[0] for name in names}
    folders = {"poll_timer", "graph_webhook", "route_message", "shared"}
    assert tops == {*folders, "function_app.py", "host.json", "requirements.txt"}
    code = {path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")}
    assert set(names) == {*code, "function_app.py", "host.json", "requirements.txt"}
    assert size < MAX_KB


@pytest.mark.parametrize("folder", NOT_DEPLOYED)
@pytest.mark.parametrize("read", [as_azd, as_core_tools])
def test_nothing_of_these_folders_is_deployed(read: Callable[[list[str]], Ignores], folder: str) -> None:
    assert any((ROOT / folder).iterdir()), "the folder exists"
    assert not [path for path in packaged(read=read) if path.parts[0] == folder]


def test_every_package_is_either_deployed_or_named_above() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/*.py")}
    assert folders == {"poll_timer", "graph_webhook", "route_message", "shared", *NOT_DEPLOYED} - {"docs", "infra"}


def test_the_app_imports_nothing_that_is_not_deployed() -> None:
    deployed = [path for path in packaged() if path.suffix == ".py"]
    modules = {module.partition(".")[0] for path in deployed for module in imports(ROOT / path)}
    assert modules.isdisjoint(NOT_DEPLOYED)


def test_azd_and_core_tools_deploy_the_same_files() -> None:
    assert set(packaged(read=as_core_tools)) == set(packaged(read=as_azd))


@pytest.mark.parametrize("read", [as_azd, as_core_tools])
def test_no_mail_is_deployed(tmp_path: Path, read: Callable[[list[str]], Ignores]) -> None:
    """Check the default folders of the demo and of the settings template, for both tools."""
    assert STORE == "./mailroom-mail"
    names = [STORE.removeprefix("./"), DEMO_FOLDER]
    for file in ("function_app.py", ".funcignore", "mailroom_code/kept.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("")
    (tmp_path / ".funcignore").write_text((ROOT / ".funcignore").read_text())
    for name in names:
        (tmp_path / name / "messages/ab/abc").mkdir(parents=True)
        (tmp_path / name / "messages/ab/abc/raw.eml").write_text("mail")
        (tmp_path / name / ".mailroom").mkdir()
        (tmp_path / name / ".mailroom/state.sqlite3").write_text("records")
    kept = {Path("function_app.py"), Path("mailroom_code/kept.py")}
    assert set(packaged(tmp_path, read)) == kept


def test_no_mail_is_committed() -> None:
    ignores = as_azd((ROOT / ".gitignore").read_text().splitlines())
    for name in (STORE.removeprefix("./"), DEMO_FOLDER):
        assert ignores(f"{name}/messages/ab/abc/raw.eml")
        assert ignores(f"{name}/.mailroom/state.sqlite3")


def test_the_package_has_the_projects_host_json_and_requirements(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        assert json.loads(archive.read("host.json"))["version"] == "2.0"
        assert archive.read("requirements.txt") == (ROOT / "requirements.txt").read_bytes()


def test_the_package_is_a_complete_app(package: Path, tmp_path: Path) -> None:
    app_dir = tmp_path / "app"
    with zipfile.ZipFile(package) as archive:
        archive.extractall(app_dir)
    ran = subprocess.run(
        [sys.executable, "-c", INDEX],
        cwd=app_dir,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "POLL_SCHEDULE": "0 * * * * *"},
    )
    shared, functions = json.loads(ran.stdout.splitlines()[-1])
    assert Path(shared).is_relative_to(app_dir)
    assert {"poll_timer", "poll_mailbox", "graph_webhook", "route_message"} <= set(functions)
