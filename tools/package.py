"""Build the package that is deployed: `python -m tools.package FILE.zip`.

The script installs the locked dependencies for Azure (Linux on x86-64, Python 3.13), prunes them to what the app needs
(`tools.prune`), and puts them into `.python_packages`, where the Functions worker looks for them. `azd deploy` and
`func azure functionapp publish --no-build` send the source tree with this folder, without the files that `.funcignore`
lists. FILE.zip has the same content.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from packaging.utils import canonicalize_name
from pathspec import GitIgnoreSpec

from tools import prune

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".tools/package"

SITE_PACKAGES = Path(".python_packages/lib/site-packages")
"""Where the Functions worker looks for the app's dependencies (Microsoft: Build options for Python function apps)."""

PYTHON = (3, 13)
"""The Python version of the function app (infra/app/site.bicep)."""

MARKERS = {
    "python_version": "3.13",
    "python_full_version": "3.13.0",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}
"""Environment markers (PEP 508) of the function app."""

PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"),
)
"""Platforms of wheels that run on Azure. tools/lock.sh resolves the lock for the first."""

WORKER_ENGINE = "azure_functions_runtime"
"""The module that the Functions worker imports from the package, and that imports the app."""

Ignores = Callable[[str], bool]
"""Returns whether a relative path is ignored. Its parts are separated by `/`, and a folder ends with `/`."""


class PackageNotBuilt(Exception):
    """The package cannot be built; the text says why."""


def as_azd(lines: list[str]) -> Ignores:
    """Read the lines as azd does, with Git's rules.

    Source: azd's documentation, "Configure service packaging file inclusions". Whatever the file says, azd omits
    `.funcignore`, `local.settings.json` and folders named `.azure` (`createDeployableZip` in project_utils.go).
    """
    matches = GitIgnoreSpec.from_lines(lines).match_file
    return lambda path: matches(path) or bool(_AZD_OMITS.search(path))


_AZD_OMITS = re.compile(r"(^|/)(\.funcignore|local\.settings\.json|\.azure/)$")


def as_core_tools(lines: list[str]) -> Ignores:
    """Read the lines as Azure Functions Core Tools do.

    Each line is the beginning of a path from the root; `*` matches within a part of the path, `**` across parts.
    Source: `GitIgnoreParser` of Core Tools, which implements a part of Git's rules. Whatever the file says, Core Tools
    omit some names in every folder (`GetLocalFiles` in FileSystemHelpers.cs).

    Raises:
        ValueError: a line begins with `!`, which this function does not support.
    """
    patterns = [line.strip().removeprefix("/") for line in lines if line.strip() and not line.startswith("#")]
    if any(pattern.startswith("!") for pattern in patterns):
        raise ValueError(".funcignore: lines that begin with ! are not supported")
    expressions = (re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]+") for pattern in patterns)
    any_pattern = re.compile("|".join(expressions))
    return lambda path: any_pattern.match(path) is not None or bool(_CORE_TOOLS_OMIT.search(path))


_CORE_TOOLS_OMIT = re.compile(
    r"(^|/)(\.git/|\.vscode/|\.funcignore|\.gitignore|local\.settings\.json|project\.lock\.json)$", re.IGNORECASE
)


def packaged(root: Path = ROOT, read: Callable[[list[str]], Ignores] = as_azd) -> Iterator[Path]:
    """Yield the deployed files, relative to `root`.

    Args:
        root: the source tree.
        read: reads `.funcignore` as one of the two tools does.
    """
    ignores = read((root / ".funcignore").read_text().splitlines())
    for folder, inner, files in os.walk(root):
        here = Path(folder).relative_to(root)
        # Ignored folders are not entered: .venv has thousands of files.
        inner[:] = sorted(name for name in inner if not ignores(f"{(here / name).as_posix()}/"))
        yield from (here / name for name in sorted(files) if not ignores((here / name).as_posix()))


def app_files(root: Path = ROOT) -> list[Path]:
    """Return the deployed files without the dependencies, relative to `root`."""
    return [path for path in packaged(root) if path.parts[0] != SITE_PACKAGES.parts[0]]


def install_locked() -> Path:
    """Install the packages of requirements.txt for Azure, unless they are in the cache, and return their folder.

    Only wheels are installed: nothing is compiled. Each is checked against the hash in the lock.

    Raises:
        PackageNotBuilt: pip failed.
    """
    lock = ROOT / "requirements.txt"
    key = _digest([lock.read_bytes(), repr((PYTHON, PLATFORMS)).encode()])

    def install(folder: Path) -> None:
        command = [find_python(), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
        command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--target", str(folder)]
        command += ["--implementation", "cp", "--python-version", ".".join(map(str, PYTHON))]
        for platform in PLATFORMS:
            command += ["--platform", platform]
        _run([*command, "-r", str(lock)], f"the packages of {lock.name} could not be installed")

    return _cached("locked", key, install)


def dependencies() -> Path:
    """Return the folder with the pruned dependencies, which is built unless the cache has it.

    Raises:
        PackageNotBuilt: the dependencies cannot be installed, or Python 3.13 is missing.
        UnknownModule: the Graph SDK is not built as `tools.prune` expects.
    """
    return _cached("pruned", _current_pruning_key(), _prune)


def pruning_key(app: prune.App) -> str:
    """Return a digest of everything on which pruning depends: it takes most of a minute.

    Of the app these are all imports, and the code of the modules that use the Graph SDK.
    """
    files = ("requirements.txt", "pyproject.toml", "tools/prune.py", "tools/package.py")
    parts = [repr(sorted(app.imports())), *(ast.dump(app.trees[path]) for path in app.sdk_files())]
    return _digest([*(part.encode() for part in parts), *((ROOT / name).read_bytes() for name in files)])


@cache
def _current_pruning_key() -> str:
    return pruning_key(_app())


def _app() -> prune.App:
    return prune.App(ROOT, [path for path in app_files() if path.suffix == ".py"])


def build(target: Path, root: Path = ROOT, packages: Path | None = None) -> int:
    """Write the package.

    Args:
        target: the zip file; an existing file is overwritten.
        root: the source tree.
        packages: the folder with the dependencies; None: the package has none.

    Returns:
        Size of the package in bytes.
    """
    files = {path: root / path for path in app_files(root)}
    if packages is not None:
        files |= {SITE_PACKAGES / file.relative_to(packages): file for file in packages.rglob("*") if file.is_file()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, file in sorted(files.items()):
            # Without the time and mode of the file, equal content gives equal packages.
            entry = zipfile.ZipInfo(path.as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return target.stat().st_size


def size(folder: Path) -> tuple[int, int]:
    """Return the number of files in a folder, and their size in bytes."""
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return len(sizes), sum(sizes)


def find_python() -> str:
    """Return a Python with the version of the function app.

    Raises:
        PackageNotBuilt: none was found.
    """
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{PYTHON[0]}.{PYTHON[1]}*/bin/python3"))
    name = f"python{PYTHON[0]}.{PYTHON[1]}"
    for candidate in (sys.executable, *map(str, pyenv), shutil.which(name)):
        if candidate is None:
            continue
        check = [candidate, "-c", f"import sys; sys.exit(sys.version_info[:2] != {PYTHON})"]
        with suppress(PackageNotBuilt):
            _run(check, "another version")
            return candidate
    raise PackageNotBuilt(f"{name} was not found: install it (the package has bytecode for this version)")


def _prune(folder: Path) -> None:
    """Copy what the app needs of the locked packages, with the bytecode of the modules that it imports."""
    locked = install_locked()
    app = _app()
    site = prune.SitePackages(locked)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = prune.needed_distributions(app, site, project["dependencies"], MARKERS)
    reachable = prune.reachable_sdk(app, site)
    kept: set[Path] = set()
    for distribution in prune.installed_distributions(site):
        if canonicalize_name(distribution.metadata["Name"]) in needed:
            # Scripts are outside the folder: `../../bin/…`.
            files = {Path(str(file)) for file in distribution.files or [] if ".." not in file.parts}
            kept |= {file for file in files if file.parts[0] != prune.SDK or file in reachable}
    kept = {path for path in kept if path.suffix not in prune.NOT_RUN and (locked / path).is_file()}
    started = prune.imported_at_start(app, site, [WORKER_ENGINE])
    if not prune.uses_async_clients(app):
        kept = {path for path in kept if prune.ASYNC_CLIENTS not in path.parts or path in started}
    for path in sorted(kept):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(locked / path, folder / path)
    _trim_records(folder, kept)
    _compile(folder, kept & (started | reachable))


def _trim_records(folder: Path, kept: set[Path]) -> None:
    """Remove the files that were pruned from the lists of installed files; that of the SDK has 2.6 MB."""
    for record in folder.glob("*.dist-info/RECORD"):
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if Path(line.partition(",")[0]) in kept))


def _compile(folder: Path, files: Iterable[Path]) -> None:
    """Write bytecode beside modules.

    The deployed folder cannot be written, so that each instance would compile the modules again at its start. Python
    does not compare this bytecode with its source (PEP 552, unchecked hash): the package's times are not the files'.
    """
    script = "import py_compile, sys\nfor name in sys.stdin.read().splitlines(): py_compile.compile(name, dfile=name, "
    script += "doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
    names = "\n".join(sorted(path.as_posix() for path in files))
    _run([find_python(), "-c", script], "the bytecode could not be written", folder, names)


def _run(command: list[str], failure: str, folder: Path = ROOT, text: str = "") -> None:
    """Run a command of this script with a text as its standard input.

    Raises:
        PackageNotBuilt: it failed; with `failure` and the end of its output.
    """
    ran = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode:
        raise PackageNotBuilt(f"{failure}:\n{ran.stderr[-2000:]}")


def _cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of this name and key in the cache, made if necessary. Folders with another key are removed."""
    folder = CACHE / f"{name}-{key}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / f"{name}.lock"):
        if not folder.is_dir():
            for other in CACHE.glob(f"{name}-*"):
                shutil.rmtree(other)
            unfinished = CACHE / f"unfinished-{name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _digest(contents: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def main() -> None:
    """Build `.python_packages` and the package, and print their size."""
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit("usage: python -m tools.package FILE.zip")
    target = Path(sys.argv[1])
    try:
        packages = dependencies()
    except (PackageNotBuilt, prune.UnknownModule) as error:
        sys.exit(f"package: {error}")
    shutil.rmtree(ROOT / SITE_PACKAGES.parts[0], ignore_errors=True)
    shutil.copytree(packages, ROOT / SITE_PACKAGES)
    count, total = size(packages)
    print(f"{SITE_PACKAGES}: {count} files, {total / 1e6:.1f} MB")  # noqa: T201
    print(f"{target}: {build(target, packages=packages) / 1e6:.1f} MB")  # noqa: T201


if __name__ == "__main__":
    main()
