"""What is deployed: the app, and nothing else."""

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
from tools.package import Ignores, as_azd, as_core_tools, build, packaged

MOST_KB = 1024
"""Packages come in Azure, so that more than this is something that crept in."""

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


def test_the_app_is_in_it_and_nothing_else(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert size < MOST_KB


def test_both_tools_send_the_same() -> None:
    assert set(packaged(read=as_core_tools)) == set(packaged(read=as_azd))


@pytest.mark.parametrize("read", [as_azd, as_core_tools])
def test_no_mail_is_deployed(tmp_path: Path, read: Callable[[list[str]], Ignores]) -> None:
    """The folders that the demonstration and the settings template name are in neither tool's package."""
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


def test_its_host_json_and_requirements_are_ours(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        assert json.loads(archive.read("host.json"))["version"] == "2.0"
        assert archive.read("requirements.txt") == (ROOT / "requirements.txt").read_bytes()


def test_what_is_in_it_is_an_app(package: Path, tmp_path: Path) -> None:
    place = tmp_path / "app"
    with zipfile.ZipFile(package) as archive:
        archive.extractall(place)
    ran = subprocess.run(
        [sys.executable, "-c", INDEX],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "POLL_SCHEDULE": "0 * * * * *"},
    )
    shared, functions = json.loads(ran.stdout.splitlines()[-1])
    assert Path(shared).is_relative_to(place)
    assert {"poll_timer", "poll_mailbox", "graph_webhook", "route_message"} <= set(functions)
