"""The deployment package contains the app and what it imports, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from mailroom_cli.commands.settings.template import STORE
from mailroom_cli.demo import DEMO_FOLDER
from tests.infra.bicep import ROOT
from tests.infra.test_locks import PROJECT
from tests.unit.test_layers import imports
from tools.package import (
    MARKERS,
    PLATFORMS,
    PYTHON,
    SITE_PACKAGES,
    Ignores,
    app_files,
    as_azd,
    as_core_tools,
    build,
    dependencies,
    install_locked,
    packaged,
    pruning_key,
    size,
)
from tools.prune import App, SitePackages, needed_distributions, reachable_sdk

MAX_KB = 1024
"""Largest size of the package without dependencies; a larger one has other files than the app's."""

MAX_UNPACKED_MB = 60
"""Largest size of the app with its dependencies, unpacked."""

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


def test_azd_builds_the_package_before_it_deploys_it() -> None:
    text = (ROOT / "azure.yaml").read_text()
    assert "remoteBuild: false\n" in text
    assert re.search(r"prepackage:\n +shell: sh\n +run: make package\n", text)


def test_every_package_is_either_deployed_or_named_above() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/*.py")}
    assert folders == {"poll_timer", "graph_webhook", "route_message", "shared", *NOT_DEPLOYED} - {"docs", "infra"}


def test_the_app_imports_nothing_that_is_not_deployed() -> None:
    deployed = [path for path in app_files() if path.suffix == ".py"]
    modules = {module.partition(".")[0] for path in deployed for module in imports(ROOT / path)}
    assert modules.isdisjoint(NOT_DEPLOYED)


def test_azd_and_core_tools_deploy_the_same_files() -> None:
    assert set(packaged(read=as_core_tools)) == set(packaged(read=as_azd))


def ignores(read: Callable[[list[str]], Ignores]) -> Ignores:
    return read((ROOT / ".funcignore").read_text().splitlines())


@pytest.mark.parametrize("read", [as_azd, as_core_tools])
def test_hidden_files_are_not_deployed(read: Callable[[list[str]], Ignores]) -> None:
    """Each is named in .funcignore, since .python_packages is hidden, too, and is deployed."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    hidden = {name.partition("/")[0] + ("/" if "/" in name else "") for name in tracked if name.startswith(".")}
    untracked = {line for line in (ROOT / ".gitignore").read_text().split() if line.startswith(".")}
    assert {".github/", ".gitignore"} <= hidden
    assert ".venv/" in untracked
    for name in sorted(hidden | untracked | {".git", ".git/", ".vscode/", ".idea/", ".env", ".env.local"}):
        assert ignores(read)(name), name


@pytest.mark.slow
@pytest.mark.parametrize("read", [as_azd, as_core_tools])
def test_the_dependencies_are_deployed_completely(read: Callable[[list[str]], Ignores]) -> None:
    is_ignored, packages = ignores(read), dependencies()
    names = [(SITE_PACKAGES / path.relative_to(packages)).as_posix() for path in packages.rglob("*")]
    folders = {f"{parent.as_posix()}/" for name in names for parent in Path(name).parents if parent != Path()}
    assert any("/__pycache__/" in name for name in names), "with bytecode"
    assert not [name for name in sorted({*names, *folders}) if is_ignored(name)]


@pytest.mark.slow
def test_the_package_is_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path / "package.zip", packages=dependencies())
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries) / 1e6
    packed = (tmp_path / "package.zip").stat().st_size / 1e6
    files, locked = size(install_locked())
    with capsys.disabled():
        print(f"\nwith dependencies: {len(entries)} files, {unpacked:.1f} MB, {packed:.1f} MB packed", end="")
        print(f"; all locked packages: {files} files, {locked / 1e6:.1f} MB")
    assert unpacked < MAX_UNPACKED_MB


def test_equal_sources_give_equal_packages(tmp_path: Path) -> None:
    module = tmp_path / "packages/library.py"
    module.parent.mkdir()
    for name, mode, seconds in (("one", 0o600, 1e9), ("two", 0o755, 1.1e9)):
        module.write_text("value = 1\n")
        module.chmod(mode)
        os.utime(module, (seconds, seconds))
        build(tmp_path / f"{name}.zip", packages=module.parent)
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.read(f"{SITE_PACKAGES.as_posix()}/library.py") == b"value = 1\n"
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.slow
def test_every_distribution_is_described_and_is_the_locked_one() -> None:
    packages = dependencies()
    locked = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    versions = {
        canonicalize_name(distribution.metadata["Name"]): distribution.version
        for distribution in distributions(path=[str(packages)])
    }
    assert versions.items() <= locked.items()
    omitted = set(locked) - set(versions)
    assert omitted == {"aiohttp", "aiohappyeyeballs", "aiosignal", "attrs", "frozenlist"}, "of asynchronous clients"
    for record in packages.glob("*.dist-info/RECORD"):
        for line in record.read_text().splitlines():
            assert (packages / line.partition(",")[0]).is_file(), line


@pytest.mark.slow
def test_bytecode_is_for_the_deployed_python_and_not_compared_with_its_source() -> None:
    """The second word of the header is 1 (PEP 552): the times of the unpacked files do not make it invalid."""
    packages = dependencies()
    files = list(packages.rglob("*.pyc"))
    assert len(files) > 500
    for file in files:
        module, tag, _ = file.name.split(".")
        assert tag == f"cpython-{PYTHON[0]}{PYTHON[1]}"
        assert (file.parent.parent / f"{module}.py").is_file()
        assert file.read_bytes()[4:8] == (1).to_bytes(4, "little")
    sdk = {path.relative_to(packages) for path in (packages / "msgraph").rglob("*.py")}
    assert len(sdk) == sum(file.is_relative_to(packages / "msgraph") for file in files), "all of the SDK"


def deployed_app(tmp_path: Path, **changes: str) -> App:
    """Return the app with changed or additional files."""
    files = [path for path in app_files() if path.suffix == ".py"]
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    for name, text in changes.items():
        (tmp_path / f"shared/{name}.py").write_text(text)
    return App(tmp_path, [*files, *(Path(f"shared/{name}.py") for name in changes)])


@pytest.mark.slow
def test_the_dependencies_are_pruned_again_if_imports_or_uses_of_the_graph_sdk_change(tmp_path: Path) -> None:
    key = pruning_key(deployed_app(tmp_path))
    errors = (ROOT / "shared/errors.py").read_text()
    assert pruning_key(deployed_app(tmp_path, errors=errors + "\nVALUE = sum([1]).real\n")) == key
    assert pruning_key(deployed_app(tmp_path, errors=errors + "\nimport wave\n")) != key
    client = (ROOT / "shared/mailboxes/graph/client.py").read_text()
    use = "\n\ndef use(builder):\n    return builder.calendars\n"
    assert pruning_key(deployed_app(tmp_path, errors=errors, **{"mailboxes/graph/client": client + use})) != key


@pytest.mark.slow
def test_what_the_app_uses_of_the_sdk_is_computed(tmp_path: Path) -> None:
    """A request that is added to the app brings its modules into the package without a change of any list."""
    site = SitePackages(install_locked())
    today = {path.as_posix() for path in reachable_sdk(deployed_app(tmp_path / "today"), site)}
    assert 25 < len(today) < 100
    assert "msgraph/generated/models/subscription.py" in today
    assert "msgraph/generated/models/message.py" not in today, "responses are not read into models"
    user = "from msgraph.generated.users.item.user_item_request_builder import UserItemRequestBuilder\n"
    calendars = deployed_app(tmp_path / "calendars", more=f"{user}def f(user): return user.calendars\n")
    added = {path.as_posix() for path in reachable_sdk(calendars, site)} - today
    assert "msgraph/generated/users/item/calendars/calendars_request_builder.py" in added
    assert all("calendars" in path for path in added)


@pytest.mark.soak
def test_an_app_that_reads_responses_into_models_gets_the_models(tmp_path: Path) -> None:
    """Five thousand modules are read, which takes minutes."""
    user = "from msgraph.generated.users.item.user_item_request_builder import UserItemRequestBuilder\n"
    app = deployed_app(tmp_path, more=f"{user}async def f(user): return await user.get()\n")
    reachable = {path.as_posix() for path in reachable_sdk(app, SitePackages(install_locked()))}
    assert {"msgraph/generated/models/user.py", "msgraph/generated/models/message.py"} <= reachable


@pytest.mark.slow
def test_asynchronous_clients_are_deployed_if_the_app_imports_one(tmp_path: Path) -> None:
    site = SitePackages(install_locked())
    required = PROJECT["dependencies"]
    assert "aiohttp" not in needed_distributions(deployed_app(tmp_path / "today"), site, required, MARKERS)
    app = deployed_app(tmp_path / "async", more="from azure.storage.blob.aio import BlobClient\n")
    assert {"aiohttp", "frozenlist"} <= needed_distributions(app, site, required, MARKERS)


def test_the_package_is_built_for_the_python_of_the_function_app() -> None:
    version = ".".join(map(str, PYTHON))
    site = (ROOT / "infra/app/site.bicep").read_text()
    assert re.search(rf"runtime: \{{\s+name: 'python'\s+version: '{re.escape(version)}'", site)
    assert MARKERS["python_version"] == version
    lock = (ROOT / "tools/lock.sh").read_text()
    assert f"--python-version {version} --python-platform x86_64-manylinux_2_28" in lock
    assert PLATFORMS[0] == "manylinux_2_28_x86_64"


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
        (tmp_path / name / "messages/ab").mkdir(parents=True)
        (tmp_path / name / "messages/ab/abc.eml").write_text("mail")
        (tmp_path / name / ".mailroom").mkdir()
        (tmp_path / name / ".mailroom/state.sqlite3").write_text("records")
    kept = {Path("function_app.py"), Path("mailroom_code/kept.py")}
    assert set(packaged(tmp_path, read)) == kept


def test_no_mail_is_committed() -> None:
    ignores = as_azd((ROOT / ".gitignore").read_text().splitlines())
    for name in (STORE.removeprefix("./"), DEMO_FOLDER):
        assert ignores(f"{name}/messages/ab/abc.eml")
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
